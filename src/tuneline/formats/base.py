"""What all parsers share: a source, how to read it, chunks of rows, and the broken rows of a file.

    Chunk(numbers=[2, 3], columns={"text": ["Broke.", "Superb."], "label": ["negative", "positive"]})

A number is what a person would look for: the line a row begins on (text formats), or the row or item counted
from 1 (Parquet, JSON).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from tuneline.errors import DataError

CHUNK_ROWS = 5_000
CHUNK_CHARACTERS = 16_000_000
SHOWN = 20  # problems listed of one file


@dataclass(frozen=True)
class Source:
    """One file of a set (two for parallel text): its paths, its name for messages, its split or None."""

    paths: tuple[Path, ...]
    shown: str
    split: str | None


@dataclass(frozen=True)
class Reading:
    """The keys of `data:` that say how files are read, in the words of params.yaml."""

    encoding: str = "utf-8"
    delimiter: str | None = None
    header: bool = True
    column_names: Sequence[str] | None = None
    wanted: Collection[str] | None = None  # columns to read, where a format can leave others out; None reads all


@dataclass(frozen=True)
class Chunk:
    """Some rows of one file. Values are strings in CSV, TSV and text, else what the format holds."""

    numbers: Sequence[int]
    columns: Mapping[str, Sequence[Any] | pa.Array]


class Problems:
    """The broken rows of one file, reported at once."""

    def __init__(self, shown: str, advice: str = "") -> None:
        self.shown, self.advice, self.count = shown, advice, 0
        self.lines: list[tuple[int, str]] = []

    def add(self, number: int, text: str) -> None:
        self.count += 1
        if self.count <= SHOWN:
            self.lines.append((number, f"{self.shown} row {number}: {text}"))

    def raise_any(self) -> None:
        if not self.count:
            return
        lines = [line for _, line in sorted(self.lines, key=itemgetter(0))]
        more = [f"and {self.count - SHOWN:,} more"] if self.count > SHOWN else []
        raise DataError("\n".join([*lines, *more, *([self.advice] if self.advice else [])]))


def gather(
    records: Iterable[tuple[int, Any, int]],
    problems: Problems,
    turn: Callable[[Any], Mapping[str, Sequence[Any]]],
) -> Iterator[Chunk]:
    """Chunks of (number, row, size) records. After the first problem none; at the end, all problems."""
    numbers: list[int] = []
    rows: list[Any] = []
    size = 0
    for number, row, characters in records:
        numbers.append(number)
        rows.append(row)
        size += characters
        if len(rows) >= CHUNK_ROWS or size > CHUNK_CHARACTERS:
            if not problems.count:
                yield Chunk(numbers, turn(rows))
            numbers, rows, size = [], [], 0
    problems.raise_any()
    if rows:
        yield Chunk(numbers, turn(rows))


def by_key(reading: Reading) -> Callable[[list[dict[str, Any]]], dict[str, list[Any]]]:
    def turn(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
        names = dict.fromkeys(name for row in rows for name in row)
        return {
            name: [row.get(name) for row in rows] for name in names if reading.wanted is None or name in reading.wanted
        }

    return turn
