"""The cells of a column, read as its kind asks: what Arrow takes goes as it is, the rest value by value.

    "lamp|phone"   labels, separated by |   →   ["lamp", "phone"]
    "4,5"          number                   →   null, and a problem of its row

What cannot be read is null in the array, and a problem with the number of its row.
"""

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from tuneline.errors import DataError
from tuneline.formats.base import Problems
from tuneline.parquet import arrow_type
from tuneline.tasks.base import KINDS

Cells: TypeAlias = Sequence[Any] | pa.Array


@dataclass(frozen=True)
class Wanted:
    """A column that is read, by our name and by theirs."""

    ours: str
    theirs: str
    kind: str  # key, kept, or of KINDS
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


def read_cells(columns: Sequence[Cells], column: Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """The cells of a column as an Arrow array of its type. columns: theirs; several where they are references."""
    values = columns[0] if len(columns) == 1 else _together(columns)
    array: pa.Array = READERS.get(column.kind, _strings)(values, column, numbers, problems)
    return array


def _strings(values: Cells, column: Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
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


def _lists(values: Cells, column: Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
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


def _list(value: Any, column: Wanted, number: int, problems: Problems) -> list[str | None] | None:
    """A null in a list is an empty string: whatever looks at the words finds it blank."""
    if isinstance(value, list):
        return [_string(item, column, number, problems) or "" for item in value]
    if value is not None:
        _refuse(value, column, number, problems)
    return None


def _together(columns: Sequence[Cells]) -> list[list[Any] | None]:
    """The cells of several columns as one list a row, without the empty ones; None where all are."""
    rows = zip(*map(_plain, columns), strict=True)
    return [[cell for cell in row if cell not in (None, "")] or None for row in rows]


def _references(values: Cells, column: Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """Values as an Arrow array of lists of texts, where one text may stand without a list."""
    return _lists([[cell] if isinstance(cell, str) else cell for cell in _plain(values)], column, numbers, problems)


def _answers(values: Cells, column: Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """Values as an Arrow array of lists of answers. What is none is a problem, and null in the array."""
    lists = [_answer_list(cell, column, number, problems) for cell, number in zip(_plain(values), numbers, strict=True)]
    return pa.array(lists, column.type)


def _answer_list(value: Any, column: Wanted, number: int, problems: Problems) -> list[dict[str, Any]] | None:
    """Answers as SQuAD's files list them, or as the Hugging Face hub does: {"text": [...], "answer_start": [...]}."""
    if isinstance(value, dict) and all(isinstance(value.get(key), list) for key in ("text", "answer_start")):
        pairs = zip(value["text"], value["answer_start"], strict=False)
        value = [{"text": text, "answer_start": start} for text, start in pairs]
    if isinstance(value, list) and all(_is_answer(item) for item in value):
        texts = [_string(answer["text"], column, number, problems) for answer in value]
        return [{**answer, "text": text or ""} for answer, text in zip(value, texts, strict=True)]
    if value is not None:
        _refuse(value, column, number, problems)
    return None


def _is_answer(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("text"), str) and type(value.get("answer_start")) is int


def _labels(values: Cells, column: Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """Lists of labels. A string is taken apart at the separator; a blank one names none."""
    return _lists([_parted(cell, column.separator) for cell in _plain(values)], column, numbers, problems)


def _parted(cell: Any, separator: str | None) -> Any:
    if not isinstance(cell, str) or separator is None:
        return cell
    return [part.strip() for part in cell.split(separator)] if cell.strip() else []


def _numbers(values: Cells, column: Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """Values as an Arrow array of numbers. What is none is a problem, and null in the array; so is an empty string."""
    read = [_number(cell, column, number, problems) for cell, number in zip(_plain(values), numbers, strict=True)]
    return pa.array(read, column.type)


def _number(value: Any, column: Wanted, number: int, problems: Problems) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, int | float | str | Decimal) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            return float(value)
    _refuse(value, column, number, problems)
    return None


def _kept(values: Cells, column: Wanted, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """Values of any type as text; numbers, booleans, lists and objects as JSON writes them. An empty one is null."""
    texts = [cell if cell is None or isinstance(cell, str) else _as_json(cell) for cell in _plain(values)]
    return _strings(texts, column, numbers, problems)


def _as_json(value: Any) -> str:
    is_json = isinstance(value, bool | int | float | list | dict)
    return json.dumps(value, ensure_ascii=False, default=str) if is_json else str(value)


READERS = {  # by the kind of a column; the others hold strings
    "words": _lists,
    "tags": _lists,
    "labels": _labels,
    "number": _numbers,
    "references": _references,
    "answers": _answers,
    "kept": _kept,
}


def _string(value: Any, column: Wanted, number: int, problems: Problems) -> str | None:
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


def _plain(values: Cells) -> Sequence[Any]:
    """Cells as values of Python."""
    return values.to_pylist() if isinstance(values, pa.Array) else values


def _refuse(value: Any, column: Wanted, number: int, problems: Problems) -> None:
    problems.add(number, f"{column.theirs} is {value!r:.60}, {_type(value)}. Expected {EXPECTED[column.kind]}")


def _type(value: Any) -> str:
    names = {float: "a decimal number", bool: "a boolean", int: "a number", dict: "an object", list: "a list",
             str: "a string"}  # fmt: skip
    return names.get(type(value), type(value).__name__)


def _cast(values: pa.Array, column: Wanted, shown: str) -> pa.Array:
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
