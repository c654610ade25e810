"""The raw rows of a set, whatever its format, as Arrow record batches.

    file                        row  split  id     group  time  text            label
    data/raw/reviews/train.csv  417  train  r0416  null   null  "Broke at once" negative

`row` is where a person finds it: the line its record begins on (the header is line 1), or the row or item
counted from 1 in Parquet and JSON. Then the task's columns stand under our names, then those that are kept beside
them.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tuneline.cells import Wanted, read_cells
from tuneline.errors import DataError, did_you_mean
from tuneline.formats import column_names, parse
from tuneline.formats.base import Chunk, Problems, Reading, Source
from tuneline.formats.delimited import DELIMITERS, other_delimiter
from tuneline.formats.files import find_files
from tuneline.params import Data
from tuneline.tasks.base import Task

KEYS = ("id", "group", "time")
SAMPLE_ROWS = 100  # of a set that is described


def read_rows(folder: Path, data: Data, task: Task) -> Iterator[pa.RecordBatch]:
    """Stream all rows of a set: file, row, split, id, group, time, then the task's columns, of their types, then
    those of data.keep, as text.

    A column that is not there, and need not be, is null. DataError names every broken row of a file.
    """
    format_, sources, _ = find_files(folder, data)
    columns = _columns(data, task)
    reading = _reading(data, None)
    found = [column_names(format_, source, reading) for source in sources]
    _check_columns(format_, sources, found, reading, columns)
    several = [name for names in found for column in columns for name in column.among(names)]
    reading = replace(reading, wanted=dict.fromkeys([column.theirs for column in columns] + several))
    for source in sources:
        problems = Problems(source.shown)
        for chunk in parse(format_, source, reading):
            batch = _batch(chunk, source, columns, problems)
            if not problems.count:
                yield batch
        problems.raise_any()


@dataclass(frozen=True)
class FileFacts:
    """What one file of a set holds."""

    shown: str
    split: str | None
    rows: int
    columns: list[str]


@dataclass(frozen=True)
class Description:
    """What a set holds, after all of it was parsed."""

    format: str
    files: list[FileFacts]
    sample: list[dict[str, Any]]  # the first rows of the first file
    not_read: list[str] = field(default_factory=list)

    @property
    def first(self) -> dict[str, Any]:
        """The first row of the first file."""
        return self.sample[0] if self.sample else {}

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def columns(self) -> list[str]:
        """The columns that every file has, in the order of the first."""
        return [name for name in self.files[0].columns if all(name in file.columns for file in self.files)]


def describe(folder: Path, data: Data) -> Description:
    """Parse every file to its end and say what was found. No task is asked for: any columns will do."""
    format_, sources, not_read = find_files(folder, data)
    facts: list[FileFacts] = []
    sample: list[dict[str, Any]] = []
    for source in sources:
        names: dict[str, None] = {}
        count = 0
        for chunk in parse(format_, source, _reading(data, None)):
            sample = sample or _first_rows(chunk)
            names |= dict.fromkeys(chunk.columns)
            count += len(chunk.numbers)
        facts.append(FileFacts(source.shown, source.split, count, list(names)))
    return Description(format_, facts, sample, not_read)


def _first_rows(chunk: Chunk) -> list[dict[str, Any]]:
    return [
        {name: _plain(values[i]) for name, values in chunk.columns.items()}
        for i in range(min(SAMPLE_ROWS, len(chunk.numbers)))
    ]


# Columns


def _columns(data: Data, task: Task) -> list[Wanted]:
    keys = [Wanted(key, data.columns[key], "key", True) for key in KEYS if key in data.columns]
    kept = [Wanted(name, name, "kept", True) for name in data.keep]
    return (
        keys
        + [
            Wanted(
                name,
                data.columns.get(name, name),
                column.kind,
                column.required or name in data.columns,
                task.separator if column.is_gold else None,
            )
            for name, column in task.columns.items()
        ]
        + kept
    )


def _reading(data: Data, wanted: Collection[str] | None) -> Reading:
    return Reading(data.encoding, data.delimiter, data.header, data.column_names, wanted)


def _check_columns(
    format_: str, sources: list[Source], names: list[list[str]], reading: Reading, columns: list[Wanted]
) -> None:
    """DataError with every missing column of every file, as told by each file's first rows."""
    problems, hints, mapped = [], set(), False
    for source, found in zip(sources, names, strict=True):
        missing = [column for column in columns if column.required and not column.among(found)]
        mapped = mapped or any(column.kind != "kept" for column in missing)
        for column in missing:
            as_mapped = f" (data.columns.{column.ours})" if column.theirs != column.ours else ""
            as_mapped = " (data.keep)" if column.kind == "kept" else as_mapped
            problems.append(
                f"{source.shown}: no column {column.theirs!r}{as_mapped}. Found columns: {', '.join(found)}."
                f"{did_you_mean(column.theirs, found)}"
            )
        delimiter = other_delimiter(found) if missing else None
        if delimiter:
            hints.add(f'The columns look separated by {delimiter!r}: set data.delimiter: "{_escaped(delimiter)}".')
    if not problems:
        return
    if mapped and not hints:
        hints.add("Name the columns with data.columns, ours to theirs, as in {label: category}.")
        if format_ in DELIMITERS and reading.header:
            hints.add("If the files have no header: data.header: false and data.column_names: [text, label].")
    raise DataError("\n".join([*problems, *sorted(hints, reverse=True)]))


def _escaped(delimiter: str) -> str:
    return "\\t" if delimiter == "\t" else delimiter


def _batch(chunk: Chunk, source: Source, columns: Sequence[Wanted], problems: Problems) -> pa.RecordBatch:
    count = len(chunk.numbers)
    batch: dict[str, pa.Array] = {
        "file": pa.repeat(source.shown, count),
        "row": pa.array(chunk.numbers, pa.int64()),
        "split": pa.repeat(pa.scalar(source.split, pa.string()), count),
        **dict.fromkeys(KEYS, pa.nulls(count, pa.string())),
    }
    for column in columns:
        found = column.among(list(chunk.columns))
        if not found:
            batch[column.ours] = pa.nulls(count, column.type)
        else:
            cells = [chunk.columns[name] for name in found]
            batch[column.ours] = read_cells(cells, column, chunk.numbers, problems)
    return pa.RecordBatch.from_pydict(batch)


def _plain(value: Any) -> Any:
    return value.as_py() if isinstance(value, pa.Scalar) else value


def preview(row: Mapping[str, Any], *, width: int = 60) -> dict[str, str]:
    """A row in short, for messages: each value in at most `width` characters."""
    return {
        name: repr(value) if len(repr(value)) <= width else f"{repr(value)[:width]}…" for name, value in row.items()
    }
