"""tokenize: text → token ids, with a report of lengths and of what truncation drops."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq

from tuneline import layout
from tuneline.checkpoints import TOKENIZER_FILES, find_checkpoint, load_tokenizer
from tuneline.layout import SPLITS, split_file, staged
from tuneline.log import report
from tuneline.params import Sections
from tuneline.parquet import read_batches, write_rows
from tuneline.tokenizing import Lengths, batches_of_features, check_max_length

SECTIONS = ("task", "model", "tokenize")
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("input_ids", pa.list_(pa.int32())),
        ("token_type_ids", pa.list_(pa.int8())),
        ("labels", pa.int64()),
    ]
)


def run(params: Sections) -> None:
    checkpoint = find_checkpoint(params.model)
    max_length = params.tokenize.max_length
    check_max_length(max_length, checkpoint.config)
    tokenizer = load_tokenizer(checkpoint.folder)
    labels = params.task.labels(_label_rows())
    reports = {}
    with staged(layout.TOKENIZED) as [tokenized]:
        tokenized.mkdir()
        for split in SPLITS:
            source = split_file(layout.VALIDATED, split)
            if pq.ParquetFile(source).metadata.num_rows == 0:
                write_rows(split_file(tokenized, split), [], SCHEMA)
                continue
            lengths = Lengths(max_length)
            features = batches_of_features(params.task, tokenizer, read_batches(source), labels, lengths)
            write_rows(split_file(tokenized, split), features, SCHEMA)
            reports[split] = lengths.report()
        vocabulary = tokenized / layout.VOCABULARY.name
        vocabulary.mkdir()
        for name in TOKENIZER_FILES:
            if (checkpoint.folder / name).is_file():
                shutil.copyfile(checkpoint.folder / name, vocabulary / name)
        (vocabulary / "labels.json").write_text(json.dumps(labels, ensure_ascii=False, indent=2) + "\n")
        (tokenized / layout.TOKENS.name).write_text(json.dumps(reports, indent=2) + "\n")
    train = reports["train"]
    report(
        "tokenize",
        f"{sum(r['rows'] for r in reports.values()):,} rows, mean {train['mean']} tokens, "
        f"{sum(r['rows_truncated'] for r in reports.values()):,} cut at {max_length} "
        f"({train['tokens_dropped_share']:.1%} of the training tokens lost)",
    )


def _label_rows() -> list[dict[str, str]]:
    """The distinct gold cells of the training rows."""
    table = pq.read_table(split_file(layout.VALIDATED, "train"), columns=["label"])
    return [{"label": label} for label in table["label"].unique().to_pylist()]
