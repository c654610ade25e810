"""The raw rows of a set, whatever its format, as Arrow record batches.

    file                        row  split  id     group  time  text            label
    data/raw/reviews/train.csv  417  train  r0416  null   null  "Broke at once" negative

`row` is where a person finds it: the line its record begins on (the header is line 1), or the row or item
counted from 1 in Parquet and JSON. Then the task's columns stand under our names.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tuneline.errors import DataError, did_you_mean
from tuneline.formats import column_names, parse
from tuneline.formats.base import Chunk, Problems, Reading, Source
from tuneline.formats.delimited import DELIMITERS, other_delimiter
from tuneline.formats.files import find_files
from tuneline.params import Data
from tuneline.parquet import arrow_type
from tuneline.tasks.base import KINDS, Task

KEYS = ("id", "group", "time")
SAMPLE_ROWS = 100  # of a set that is described


def read_rows(folder: Path, data: Data, task: Task) -> Iterator[pa.RecordBatch]:
    """Stream all rows of a set: file, row, split, id, group, time, then the task's columns, of their types.

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


@dataclass(frozen=True)
class _Wanted:
    ours: str
    theirs: str
    kind: str  # key, or of KINDS
    required: bool
    separator: str | None = None  # between the items of a list that a file holds as a string

    @property
    def type(self) -> pa.DataType:
        return arrow_type(KINDS.get(self.kind, "string"))

    def among(self, found: Collection[str]) -> list[str]:
        """Its columns among those found: one, or as many references as a pattern such as `summary*` fits."""
        if self.theirs in found:
            return [self.theirs]
        return [name for name in found if self.kind == "references" and fnmatchcase(name, self.theirs)]


def _columns(data: Data, task: Task) -> list[_Wanted]:
    keys = [_Wanted(key, data.columns[key], "key", True) for key in KEYS if key in data.columns]
    return keys + [
        _Wanted(
            name,
            data.columns.get(name, name),
            column.kind,
            column.required or name in data.columns,
            task.separator if column.is_gold else None,
        )
        for name, column in task.columns.items()
    ]


def _reading(data: Data, wanted: Collection[str] | None) -> Reading:
    return Reading(data.encoding, data.delimiter, data.header, data.column_names, wanted)


def _check_columns(
    format_: str, sources: list[Source], names: list[list[str]], reading: Reading, columns: list[_Wanted]
) -> None:
    """DataError with every missing column of every file, as told by each file's first rows."""
    problems, hints = [], set()
    for source, found in zip(sources, names, strict=True):
        missing = [column for column in columns if column.required and not column.among(found)]
        for column in missing:
            as_mapped = f" (data.columns.{column.ours})" if column.theirs != column.ours else ""
            problems.append(
                f"{source.shown}: no column {column.theirs!r}{as_mapped}. Found columns: {', '.join(found)}."
                f"{did_you_mean(column.theirs, found)}"
            )
        delimiter = other_delimiter(found) if missing else None
        if delimiter:
            hints.add(f'The columns look separated by {delimiter!r}: set data.delimiter: "{_escaped(delimiter)}".')
    if not problems:
        return
    if not hints:
        hints.add("Name the columns with data.columns, ours to theirs, as in {label: category}.")
        if format_ in DELIMITERS and reading.header:
            hints.add("If the files have no header: data.header: false and data.column_names: [text, label].")
    raise DataError("\n".join([*problems, *sorted(hints, reverse=True)]))


def _escaped(delimiter: str) -> str:
    return "\\t" if delimiter == "\t" else delimiter


# Values


def _batch(chunk: Chunk, source: Source, columns: Sequence[_Wanted], problems: Problems) -> pa.RecordBatch:
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
            values = chunk.columns[found[0]] if len(found) == 1 else _together([chunk.columns[name] for name in found])
            read = READERS.get(column.kind, _strings)
            batch[column.ours] = read(values, column, chunk.numbers, problems)
    return pa.RecordBatch.from_pydict(batch)


def _strings(values: Sequence[Any] | pa.Array, column: _Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """Values as an Arrow array of strings. What is none is a problem, and null in the array."""
    if isinstance(values, pa.Array):
        array = _cast(values, column, problems.shown)
    else:
        try:
            array = pa.array(values, pa.string())
        except (pa.ArrowException, UnicodeEncodeError, TypeError):
            array = pa.array(
                [_string(value, column, n, problems) for value, n in zip(values, numbers, strict=True)],
                pa.string(),
            )
    if column.kind == "text":
        return array
    return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)  # an empty field names nothing


def _lists(values: Sequence[Any] | pa.Array, column: _Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """Values as an Arrow array of lists of strings. What is none is a problem, and null in the array."""
    if isinstance(values, pa.Array):
        values = _cast(values, column, problems.shown).to_pylist()
    if all(isinstance(value, list) for value in values):  # Arrow takes a string for the list of its characters
        with suppress(pa.ArrowException, UnicodeEncodeError, TypeError):
            array = pa.array(values, column.type)
            if not pc.list_flatten(array).null_count:
                return array
    lists = [_list(value, column, number, problems) for value, number in zip(values, numbers, strict=True)]
    return pa.array(lists, column.type)


def _list(value: Any, column: _Wanted, number: int, problems: Problems) -> list[str | None] | None:
    """A null in a list is an empty string: whatever looks at the words finds it blank."""
    if isinstance(value, list):
        return [_string(item, column, number, problems) or "" for item in value]
    if value is not None:
        problems.add(number, f"{column.theirs} is {value!r:.60}, {_type(value)}. Expected {EXPECTED[column.kind]}")
    return None


def _together(columns: Sequence[Sequence[Any] | pa.Array]) -> list[list[Any] | None]:
    """The cells of several columns as one list a row, without the empty ones; None where all are."""
    rows = zip(*(each.to_pylist() if isinstance(each, pa.Array) else each for each in columns), strict=True)
    return [[cell for cell in row if cell not in (None, "")] or None for row in rows]


def _references(
    values: Sequence[Any] | pa.Array, column: _Wanted, numbers: Sequence[int], problems: Problems
) -> pa.Array:
    """Values as an Arrow array of lists of texts, where one text may stand without a list."""
    cells = values.to_pylist() if isinstance(values, pa.Array) else values
    return _lists([[cell] if isinstance(cell, str) else cell for cell in cells], column, numbers, problems)


def _answers(values: Sequence[Any] | pa.Array, column: _Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """Values as an Arrow array of lists of answers. What is none is a problem, and null in the array."""
    cells = values.to_pylist() if isinstance(values, pa.Array) else values
    lists = [_answer_list(cell, column, number, problems) for cell, number in zip(cells, numbers, strict=True)]
    return pa.array(lists, column.type)


def _answer_list(value: Any, column: _Wanted, number: int, problems: Problems) -> list[dict[str, Any]] | None:
    """Answers as SQuAD's files list them, or as the Hugging Face hub does: {"text": [...], "answer_start": [...]}."""
    if isinstance(value, dict) and all(isinstance(value.get(key), list) for key in ("text", "answer_start")):
        pairs = zip(value["text"], value["answer_start"], strict=False)
        value = [{"text": text, "answer_start": start} for text, start in pairs]
    if isinstance(value, list) and all(_is_answer(item) for item in value):
        texts = [_string(answer["text"], column, number, problems) for answer in value]
        return [{**answer, "text": text or ""} for answer, text in zip(value, texts, strict=True)]
    if value is not None:
        problems.add(number, f"{column.theirs} is {value!r:.60}, {_type(value)}. Expected {EXPECTED[column.kind]}")
    return None


def _is_answer(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("text"), str) and type(value.get("answer_start")) is int


def _labels(values: Sequence[Any] | pa.Array, column: _Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """Lists of labels. A string is taken apart at the separator; a blank one names none."""
    cells = values.to_pylist() if isinstance(values, pa.Array) else values
    return _lists([_parted(cell, column.separator) for cell in cells], column, numbers, problems)


def _parted(cell: Any, separator: str | None) -> Any:
    if not isinstance(cell, str) or separator is None:
        return cell
    return [part.strip() for part in cell.split(separator)] if cell.strip() else []


def _numbers(values: Sequence[Any] | pa.Array, column: _Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """Values as an Arrow array of numbers. What is none is a problem, and null in the array; so is an empty string."""
    cells = values.to_pylist() if isinstance(values, pa.Array) else values
    read = [_number(cell, column, number, problems) for cell, number in zip(cells, numbers, strict=True)]
    return pa.array(read, column.type)


def _number(value: Any, column: _Wanted, number: int, problems: Problems) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, int | float | str | Decimal) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            return float(value)
    problems.add(number, f"{column.theirs} is {value!r:.60}, {_type(value)}. Expected {EXPECTED[column.kind]}")
    return None


READERS = {  # by the kind of a column; the others hold strings
    "words": _lists,
    "tags": _lists,
    "labels": _labels,
    "number": _numbers,
    "references": _references,
    "answers": _answers,
}


def _string(value: Any, column: _Wanted, number: int, problems: Problems) -> str | None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = value[error.start]
            problems.add(
                number,
                f"{column.theirs} holds \\u{ord(half):04x} at character {error.start + 1}: half of a pair, "
                "and no character by itself. Write the text again as UTF-8",
            )
            return None
        return value
    if value is None:
        return None
    if column.kind not in ("text", "words", "references") and isinstance(value, int):
        return str(value).lower()  # true, false, 1
    found = "holds" if pa.types.is_list(column.type) else "is"
    problems.add(number, f"{column.theirs} {found} {value!r:.60}, {_type(value)}. Expected {EXPECTED[column.kind]}")
    return None


# What a cell may hold, by the kind of its column.
EXPECTED = {
    "text": "a string",
    "label": "a string, an integer or a boolean",
    "key": "a string, an integer or a boolean",
    "words": "a list of strings, as in JSON Lines, Parquet and CoNLL",
    "references": "a string, or a list of strings as in JSON Lines, JSON and Parquet",
    "tags": "a list of strings, integers or booleans, as in JSON Lines, Parquet and CoNLL",
    "labels": "a list of strings, integers or booleans, or a string with separators between them",
    "number": "a number, with a point before its decimals",
    "answers": 'a list of {"text": string, "answer_start": integer}, as in SQuAD JSON, JSON Lines and Parquet',
}


def _type(value: Any) -> str:
    names = {float: "a decimal number", bool: "a boolean", int: "a number", dict: "an object", list: "a list",
             str: "a string"}  # fmt: skip
    return names.get(type(value), type(value).__name__)


def _cast(values: pa.Array, column: _Wanted, shown: str) -> pa.Array:
    """An Arrow column as strings, or a DataError that names its type."""
    types, is_list = pa.types, pa.types.is_list(column.type)
    type_ = values.type.value_type if types.is_dictionary(values.type) else values.type
    lists = types.is_list(type_) or types.is_large_list(type_)
    inner = type_.value_type if is_list and lists else type_
    allowed = [types.is_string, types.is_large_string, types.is_string_view, types.is_null]
    if column.kind not in ("text", "words"):
        allowed += [types.is_integer, types.is_boolean]
    if column.kind == "key":
        allowed += [types.is_date, types.is_timestamp]
    if any(is_type(inner) for is_type in allowed) and (lists or not is_list):
        array = pc.cast(values, column.type)
        return pc.replace_substring(array, " ", "T", max_replacements=1) if types.is_timestamp(type_) else array
    expected = {
        "text": "string",
        "label": "string, integer or boolean",
        "key": "string, integer, date or timestamp",
        "words": "list of string",
        "tags": "list of string, integer or boolean",
    }[column.kind]
    raise DataError(
        f"{shown}: column {column.theirs!r} is of type {type_}, expected {expected}. Write the file again with "
        f"this column as {'lists of ' if is_list else ''}strings, or name another one with data.columns.{column.ours}."
    )


def _plain(value: Any) -> Any:
    return value.as_py() if isinstance(value, pa.Scalar) else value


def preview(row: Mapping[str, Any], *, width: int = 60) -> dict[str, str]:
    """A row in short, for messages: each value in at most `width` characters."""
    return {
        name: repr(value) if len(repr(value)) <= width else f"{repr(value)[:width]}…" for name, value in row.items()
    }
