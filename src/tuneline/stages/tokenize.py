"""tokenize: text → token ids, with a report of lengths and of what truncation drops."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tuneline import layout
from tuneline.checkpoints import TOKENIZER_FILES, find_checkpoint, load_tokenizer
from tuneline.layout import SPLITS, split_file, staged
from tuneline.log import report, warn
from tuneline.params import Sections
from tuneline.parquet import read_batches, schema_of, write_rows
from tuneline.starts import find_start
from tuneline.tasks.base import Row, Task
from tuneline.tokenizing import (
    Lengths,
    asked_lengths,
    batches_of_features,
    check_fills_a_block,
    check_lengths,
    limits_of,
)
from tuneline.vocabulary import save, trained

SECTIONS = ("task", "model", "tokenize")


def run(params: Sections) -> None:
    task, max_length = params.task, params.tokenize.max_length
    labels, task = task.labels(_gold_cells(task)), task.informed(_gold_cells(task))
    schema = schema_of({"row": "int64", **task.feature_types})
    reports = {}
    with staged(layout.TOKENIZED) as [tokenized]:
        vocabulary = tokenized / layout.VOCABULARY.name
        vocabulary.mkdir(parents=True)
        _put_tokenizer(vocabulary, params)
        tokenizer = load_tokenizer(vocabulary)
        task.limit(tokenizer, max_length)  # before the long work, for it may refuse
        for split in SPLITS:
            source = split_file(layout.VALIDATED, split)
            if pq.ParquetFile(source).metadata.num_rows == 0:
                write_rows(split_file(tokenized, split), [], schema)
                continue
            lengths = Lengths(None if task.windows or task.packed else max_length, limits_of(task))
            features = batches_of_features(task, tokenizer, read_batches(source), labels, max_length, lengths)
            write_rows(split_file(tokenized, split), features, schema)
            reports[split] = lengths.report()
        if task.packed:
            check_fills_a_block(reports["train"]["tokens"], max_length)
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


def _put_tokenizer(vocabulary: Path, params: Sections) -> None:
    """The tokenizer's files, trained on the training texts or the checkpoint's; and what training starts from."""
    model, tokenize = params.model, params.tokenize
    if tokenize.tokenizer is not None:
        save(trained(tokenize.tokenizer, list(_texts(params.task))), vocabulary)
    else:
        folder = find_checkpoint(model).folder
        for name in TOKENIZER_FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, vocabulary / name)
    start = find_start(model, vocabulary)
    check_lengths(asked_lengths(params.task, tokenize.max_length), model.configuration or start.config)
    facts = {"name": start.name, "sha256": start.sha256}
    (vocabulary / layout.CHECKPOINT.name).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _texts(task: Task) -> Iterator[str]:
    """All that a training row says in words, column by column."""
    columns = [name for name, column in task.columns.items() if column.is_text]
    for rows in read_batches(split_file(layout.VALIDATED, "train"), columns=columns):
        for row in rows:
            for text in filter(None, row.values()):
                yield text if isinstance(text, str) else " ".join(text)


def _gold_cells(task: Task) -> Iterator[Row]:
    """The gold of the training rows."""
    for rows in read_batches(split_file(layout.VALIDATED, "train"), columns=task.gold):
        yield from rows
