"""What validate writes: the kept rows of each split, the refused ones with their reasons, and the numbers.

data/validated/train.parquet    row, id, text, label, file, line
data/validated/rejects.parquet  file, row, column, reason, value
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tuneline.copies import ROW_CHECKS, SHARED_LIMIT, Relation, Verdict, reason
from tuneline.expectations import label_counts
from tuneline.layout import SPLITS, split_file
from tuneline.parquet import schema_of
from tuneline.row_checks import Survey, as_text, text_columns
from tuneline.tasks.base import Task, row_types

GROUP_ROWS = 10_000  # rows per row group, whatever the size of the batches
VALUE_LENGTH = 200  # characters
REJECTS = pa.schema(
    [("file", pa.string()), ("row", pa.int64()), ("column", pa.string()), ("reason", pa.string()),
     ("value", pa.string())]
)  # fmt: skip


def write_splits(folder: Path, survey: Survey, verdict: Verdict, task: Task, keep: Sequence[str]) -> None:
    """The kept rows of each split, in raw order. `row` counts all raw rows from 0. keep: columns beside the task's."""
    schema = schema_of(row_types(task, keep))
    with ExitStack() as stack:
        writers = [stack.enter_context(_Writer(split_file(folder, split), schema)) for split in SPLITS]
        for start, batch in _batches(survey):
            rows = np.arange(start, start + len(batch))
            numbered = batch.append_column("row", pa.array(rows)).select(schema.names)
            for code, writer in enumerate(writers):
                chosen = verdict.kept[rows] & (verdict.split[rows] == code)
                writer.add(numbered.filter(pa.array(chosen)))


def write_rejects(path: Path, survey: Survey, verdict: Verdict, task: Task) -> None:
    """Every reason for every refused row, with the value clipped."""
    texts = text_columns(task)
    with _Writer(path, REJECTS) as writer:
        for start, batch in _batches(survey):
            found = sorted(_reasons(survey, verdict, start, start + len(batch)), key=lambda each: each[0])
            lines = []
            for row, column, sentence in found:
                cells = {
                    name: as_text(batch[name].slice(row - start, 1))[0].as_py()
                    for name in ([column] if column else texts)
                    if name in batch.schema.names
                }
                values = {name: value for name, value in cells.items() if value is not None}
                lines.append(
                    {
                        "file": survey.files[survey.file[row]],
                        "row": int(survey.line[row]),
                        "column": column or ", ".join(values),
                        "reason": sentence,
                        "value": "\n".join(values.values())[:VALUE_LENGTH],
                    }
                )
            writer.add(pa.RecordBatch.from_pylist(lines, schema=REJECTS))


def numbers(survey: Survey, verdict: Verdict) -> dict[str, Any]:
    """What `dvc metrics show` shows."""
    by_check = Counter(problem.check for problem in survey.problems)
    relations: defaultdict[str, int] = defaultdict(int)
    for relation in verdict.relations:
        relations[relation.check] += len(relation.rows)
    kept = verdict.kept
    return {
        "rows": len(survey),
        "refused": int(verdict.refused.sum()),
        "left_out_by_max_rows": int((~verdict.refused & ~kept).sum()),
        "splits": {split: int((verdict.split[kept] == code).sum()) for code, split in enumerate(SPLITS)},
        "labels": {label: counts.to_dict() for label, counts in label_counts(survey, verdict).iterrows()},
        "unsound": {check: by_check[check] for check in ROW_CHECKS},
        "repeated_ids": relations["id"],
        "conflicts": relations["conflict"],
        "duplicates": relations["duplicate"],
        "near_duplicates": relations["near_duplicate"],
        "leaked": relations["leaked"],
        "leaked_test_rows": int(verdict.leaked.sum()),
    }


def findings(survey: Survey, verdict: Verdict, check: str, most: int) -> list[tuple[str, str]]:
    """Where and why, for the first rows that a check finds fault with."""
    checks = SHARED_LIMIT if check == "row" else (check,)
    found = [(problem.row, problem.reason) for problem in survey.problems if problem.check in checks][:most]
    for relation in verdict.relations:
        if relation.check in checks:
            rows = range(min(most, len(relation.rows)))
            found += [(int(relation.rows[i]), reason(survey, verdict, relation, i)[1]) for i in rows]
    return [(survey.place(row), why) for row, why in sorted(found)[:most]]


def _reasons(survey: Survey, verdict: Verdict, start: int, stop: int) -> Iterator[tuple[int, str | None, str]]:
    """(row, column, sentence) of the refused rows from start to stop."""
    for problem in survey.problems:
        if start <= problem.row < stop:
            yield problem.row, problem.column, problem.reason
    for relation in verdict.relations:
        if relation.refused:
            for index in _between(relation, start, stop):
                yield int(relation.rows[index]), *reason(survey, verdict, relation, index)


def _between(relation: Relation, start: int, stop: int) -> range:
    first, last = np.searchsorted(relation.rows, [start, stop])
    return range(int(first), int(last))


def _batches(survey: Survey) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows as they came, with the number of each batch's first row."""
    start = 0
    with pq.ParquetFile(survey.path, pre_buffer=False) as file:  # or all that was read stays in memory
        for batch in file.iter_batches(batch_size=5_000):
            yield start, batch
            start += len(batch)


class _Writer:
    """Parquet with row groups of GROUP_ROWS, so that the same rows give the same bytes."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._count = 0

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None and self._count:
            self._write(pa.Table.from_batches(self._waiting))
        self._writer.close()

    def add(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._count += len(batch)
        if self._count < GROUP_ROWS:
            return
        table = pa.Table.from_batches(self._waiting)
        whole = self._count - self._count % GROUP_ROWS
        self._write(table.slice(0, whole))
        self._waiting = table.slice(whole).to_batches()
        self._count -= whole

    def _write(self, table: pa.Table) -> None:
        self._writer.write_table(table.cast(self._schema), row_group_size=GROUP_ROWS)
