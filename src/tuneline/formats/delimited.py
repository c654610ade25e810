"""CSV and TSV: one record a line, or more where a quoted field holds line breaks.

text,label
"It broke, twice.",negative
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tuneline.errors import DataError
from tuneline.formats.base import CHUNK_CHARACTERS, CHUNK_ROWS, Chunk, Problems, Reading, Source
from tuneline.formats.encodings import text_lines

DELIMITERS = {"csv": ",", "tsv": "\t"}  # by format, where data.delimiter does not say
LONGEST_FIELD = 100_000_000  # characters; an unclosed quote swallows the file up to here
csv.field_size_limit(LONGEST_FIELD)  # Python's own limit, 131,072, is less than a long document


def read_csv(source: Source, reading: Reading) -> Iterator[Chunk]:
    """Comma-separated values. Every value is a string: "NA", "null" and "123" are texts."""
    return _delimited(source, reading, reading.delimiter or DELIMITERS["csv"])


def read_tsv(source: Source, reading: Reading) -> Iterator[Chunk]:
    """Tab-separated values, whether or not their writer knew of quoting (GLUE's did not, pandas does)."""
    return _delimited(source, reading, reading.delimiter or DELIMITERS["tsv"])


def first_columns(format_: str, source: Source, reading: Reading) -> list[str]:
    """Column names, without a look at the rows."""
    lines = text_lines(source.paths[0], source.shown, reading.encoding)
    reader = csv.reader(lines, delimiter=reading.delimiter or DELIMITERS[format_])
    try:
        return _header(source, reading, reader)
    except csv.Error as error:
        raise DataError(f"{source.shown} row 1: {_quote_problem(str(error), reader.line_num)}.") from error


def _quoting(source: Source, reading: Reading, delimiter: str) -> int:
    """QUOTE_NONE when the quotes in a file belong to its text: they break the rules of quoting, or they
    would join lines that are whole rows each."""
    delimiters: Counter[int] = Counter()

    def counted() -> Iterator[str]:
        for line in text_lines(source.paths[0], source.shown, reading.encoding):
            if line.strip():
                delimiters[line.count(delimiter)] += 1
            yield line

    try:
        records = sum(1 for row in csv.reader(counted(), delimiter=delimiter, strict=True) if any(row))
    except csv.Error:
        return csv.QUOTE_NONE
    joined = records < delimiters.total()
    return csv.QUOTE_NONE if joined and len(delimiters) == 1 else csv.QUOTE_MINIMAL


def _delimited(source: Source, reading: Reading, delimiter: str) -> Iterator[Chunk]:
    quoting = _quoting(source, reading, delimiter) if delimiter == "\t" else csv.QUOTE_MINIMAL
    lines = text_lines(source.paths[0], source.shown, reading.encoding)
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
    problems = Problems(source.shown)
    rows: list[list[str]] = []
    numbers: list[int] = []
    names: list[str] = []
    size, start = 0, 1
    try:
        names = _header(source, reading, reader)
        start = reader.line_num + 1
        for row in reader:
            if len(row) == len(names):
                rows.append(row)
                numbers.append(start)
                size += sum(map(len, row))
            elif any(map(str.strip, row)):
                problems.add(start, f"{len(row)} fields, expected {len(names)} ({', '.join(names)})")
            start = reader.line_num + 1
            if len(rows) >= CHUNK_ROWS or size > CHUNK_CHARACTERS:
                if not problems.count:
                    yield _turned(numbers, names, rows)
                rows, numbers, size = [], [], 0
    except csv.Error as error:
        problems.add(start, _quote_problem(str(error), reader.line_num))
    problems.advice = _ragged_advice(source, reading, delimiter, names)
    problems.raise_any()
    if rows:
        yield _turned(numbers, names, rows)


def _turned(numbers: list[int], names: list[str], rows: list[list[str]]) -> Chunk:
    return Chunk(numbers, dict(zip(names, zip(*rows, strict=True), strict=False)))


def _header(source: Source, reading: Reading, reader: Any) -> list[str]:
    """Column names, from the first row or from params."""
    if not reading.header:
        if not reading.column_names:
            raise DataError(
                f"{source.shown}: data.header is false, so the columns have no names. "
                "Set data.column_names, from left to right, as in [text, label]."
            )
        return list(reading.column_names)
    if reading.column_names:
        raise DataError(
            "data.column_names: is for files without a header. Set data.header: false, or take column_names away."
        )
    names: list[str] = next((row for row in reader if row), [])
    twice = sorted(name for name, count in Counter(names).items() if count > 1 and name.strip())
    if twice:
        raise DataError(
            f"{source.shown} row 1: the header names {', '.join(map(repr, twice))} more than once. Found "
            f"columns: {', '.join(names)}. Rename one. (No header in the file? Set data.header: false and "
            "data.column_names.)"
        )
    return names


def _quote_problem(reason: str, last_line: int) -> str:
    if "field limit" in reason or "unexpected end" in reason:
        what = f"a quoted field is opened here and never closed (looked until line {last_line:,})"
    else:
        what = f"a quoted field ends on line {last_line:,} in the middle of text"
    return what + '. Expected quotes inside a quoted field to be doubled (""), and one at its end'


def _ragged_advice(source: Source, reading: Reading, delimiter: str, names: list[str]) -> str:
    other = other_delimiter(names) if len(names) == 1 else None
    if other:
        return f"The header looks separated by {other!r}: set data.delimiter: {json.dumps(other)}."
    return f"A field that holds {delimiter!r}, a quote or a line break must stand in quotes. Mend these rows."


def other_delimiter(names: Sequence[str]) -> str | None:
    """The delimiter that a header read as one column seems to have."""
    return next((mark for mark in ("\t", ";", "|", ",") if len(names) == 1 and mark in names[0]), None)
