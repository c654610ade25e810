"""tokenize: text → token ids, with a report of lengths and of what truncation drops."""

import json
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow.parquet as pq

from tuneline import layout
from tuneline.checkpoints import TOKENIZER_FILES, find_checkpoint, load_tokenizer
from tuneline.layout import SPLITS, split_file, staged
from tuneline.log import report, warn
from tuneline.params import Sections
from tuneline.parquet import read_batches, schema_of, write_rows
from tuneline.tasks.base import Row, Task
from tuneline.tokenizing import Lengths, batches_of_features, check_lengths, limits_of

SECTIONS = ("task", "model", "tokenize")


def run(params: Sections) -> None:
    checkpoint = find_checkpoint(params.model)
    task, max_length = params.task, params.tokenize.max_length
    own = {f"task.{option}": getattr(task, option) for option in task.cut.values()}
    check_lengths({"tokenize.max_length": max_length, **own}, checkpoint.config)
    tokenizer = load_tokenizer(checkpoint.folder)
    task.limit(tokenizer, max_length)  # before the long work, for it may refuse
    labels = task.labels(_gold_cells(task))
    schema = schema_of({"row": "int64", **task.feature_types})
    reports = {}
    with staged(layout.TOKENIZED) as [tokenized]:
        tokenized.mkdir()
        for split in SPLITS:
            source = split_file(layout.VALIDATED, split)
            if pq.ParquetFile(source).metadata.num_rows == 0:
                write_rows(split_file(tokenized, split), [], schema)
                continue
            lengths = Lengths(None if task.windows else max_length, limits_of(task))
            features = batches_of_features(task, tokenizer, read_batches(source), labels, max_length, lengths)
            write_rows(split_file(tokenized, split), features, schema)
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
    _warn_of_cuts(task, train)


def _warn_of_cuts(task: Task, train: Mapping[str, Any]) -> None:
    """What the model will never learn to write."""
    for name, option in task.cut.items():
        found = train[name]
        if found["rows_truncated"]:
            warn(
                "tokenize",
                f"{found['rows_truncated']:,} of {found['rows']:,} training rows have {name} longer than task.{option} "
                f"({getattr(task, option)} tokens; the longest has {found['max']}): "
                f"{found['tokens_dropped_share']:.1%} of these tokens are lost. Raise it where that is too much",
            )


def _gold_cells(task: Task) -> Iterator[Row]:
    """The gold of the training rows."""
    for rows in read_batches(split_file(layout.VALIDATED, "train"), columns=task.gold):
        yield from rows
