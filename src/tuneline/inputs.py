"""A file to score: its rows as they came, and the texts that a task reads in them.

{"text": "Broke at once.", "text_pair": None}
"""

import codecs
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from tuneline.cells import Wanted, read_cells
from tuneline.digests import digest, file_digest
from tuneline.errors import DataError, did_you_mean
from tuneline.formats import parse
from tuneline.formats.base import Problems, Reading, Source
from tuneline.formats.delimited import DELIMITERS, other_delimiter
from tuneline.formats.files import ENDINGS
from tuneline.tasks.base import Row, Task

TEXT_TYPES = ("string", "large_string", "string_view", "null")  # as Arrow calls them
READ = ("csv", "tsv", "parquet")
Texts = dict[str, str | None]  # under our names


@dataclass(frozen=True)
class InputFile:
    """One file and how to read it."""

    format: str
    source: Source
    reading: Reading

    @classmethod
    def at(cls, path: Path, encoding: str, delimiter: str | None) -> "InputFile":
        """DataError when there is no such file, or none of a kind that is read here."""
        shown = path.as_posix()
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "no such file"
            raise DataError(f"{shown}: {what}. Expected a file that ends in .{', .'.join(READ)}.")
        format_ = ENDINGS.get(path.suffix.lower())
        if format_ not in READ:
            raise DataError(
                f"{shown}: ends in {path.suffix or 'nothing'!r}. Expected .{', .'.join(READ)}: write the rows as one "
                "of these."
            )
        return cls(format_, Source((path,), shown, None), _reading(encoding, delimiter))

    def sha256(self) -> str:
        """sha256 of the file's bytes. DataError when they cannot be read."""
        try:
            return file_digest(self.source.paths[0])
        except OSError as error:
            raise DataError(f"{self.source.shown}: cannot be read ({error.strerror}).") from error

    def batches(self, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, some thousand at a time. columns: no others are needed. DataError names every broken row."""
        with _said_with_options():
            for chunk in parse(self.format, self.source, replace(self.reading, wanted=columns)):
                yield pa.RecordBatch.from_pydict(dict(chunk.columns))

    def rows(self, columns: Sequence[Wanted]) -> Iterator[list[Row]]:
        """Rows of a data set: the cells of its columns, read by their kinds. DataError names every broken row."""
        problems = Problems(self.source.shown)
        with _said_with_options():
            for chunk in parse(self.format, self.source, self.reading):
                cells = {
                    column.ours: read_cells(
                        [chunk.columns[name] for name in column.among(list(chunk.columns))],
                        column, chunk.numbers, problems,
                    ).to_pylist()
                    for column in columns
                }  # fmt: skip
                yield [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
            problems.raise_any()

    def gold_columns(self, schema: pa.Schema, task: Task, columns: Mapping[str, str]) -> list[Wanted] | None:
        """The columns of the data set that the file has, when it has all that the task must have: text and gold.

        columns: ours to theirs, where names differ. DataError when one of them names gold that is not there.
        """
        wanted = [
            Wanted(
                name, columns.get(name, name), column.kind, column.required, task.separator if column.is_gold else None
            )
            for name, column in task.columns.items()
        ]
        found = [column for column in wanted if column.among(schema.names)]
        missing = [column for column in wanted if column not in found]
        told = [self._missing(each.ours, each.theirs, schema.names) for each in missing
                if each.ours in columns and each.ours not in task.texts]  # fmt: skip
        if told:
            raise DataError("\n".join(told))
        return None if any(column.required for column in missing) else found

    def text_columns(self, schema: pa.Schema, task: Task, columns: Mapping[str, str]) -> dict[str, str]:
        """Ours to theirs, for every text that the task reads and the file has. columns: where names differ.

        DataError names each column that is missing, unknown, or holds no text.
        """
        ours = {name: column.required for name, column in task.texts.items()}
        problems = [
            f"--column {name}={theirs}: {task.name} reads no {name!r}.{did_you_mean(name, ours)} It reads: "
            f"{', '.join(ours)}."
            for name, theirs in columns.items()
            if name not in ours
        ]
        found: dict[str, str] = {}
        for name, required in ours.items():
            theirs = columns.get(name, name)
            if theirs in schema.names:
                found[name] = theirs
                problems += self._no_text(name, schema.field(theirs))
            elif required or name in columns:
                problems.append(self._missing(name, theirs, schema.names))
        if problems:
            raise DataError("\n".join(problems))
        return found

    def _no_text(self, ours: str, field: pa.Field) -> list[str]:
        type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if str(type_) in TEXT_TYPES:
            return []
        return [
            f"{self.source.shown}: column {field.name!r} is of type {type_}, expected string. Write the file again "
            f"with this column as strings, or name another one: --column {ours}=THEIRS."
        ]

    def _missing(self, ours: str, theirs: str, names: list[str]) -> str:
        delimiter = other_delimiter(names) if self.format in DELIMITERS else None
        advice = (
            f"The columns look separated by {delimiter!r}: --delimiter {delimiter!r}."
            if delimiter
            else f"Name the one that holds it: --column {ours}=THEIRS."
        )
        return (
            f"{self.source.shown}: no column {theirs!r}.{did_you_mean(theirs, names)} Found columns: "
            f"{', '.join(names)}. {advice}"
        )


def _reading(encoding: str, delimiter: str | None) -> Reading:
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise DataError(f"--encoding {encoding}: unknown. utf-8, latin-1, cp1252 and utf-16 are usual.") from error
    delimiter = "\t" if delimiter == r"\t" else delimiter  # as one types it in a shell
    if delimiter is not None and len(delimiter) != 1:
        raise DataError(f"--delimiter {delimiter}: {len(delimiter)} characters. Expected one.")
    return Reading(encoding, delimiter)


@contextmanager
def _said_with_options() -> Iterator[None]:
    """The readers advise on keys of params.yaml. Say the same with the options of the command."""
    try:
        yield
    except DataError as error:
        said = str(error).replace("Set data.header: false and data.column_names.", "Give it one.")
        said = re.sub(r"data\.columns\.(\w+)", r"--column \1=THEIRS", said)
        raise DataError(re.sub(r"data\.(encoding|delimiter):?", r"--\1", said)) from error


def texts_of(batch: pa.RecordBatch, columns: Mapping[str, str]) -> list[Texts]:
    """The texts of each row. columns: ours to theirs."""
    values = [batch[theirs].to_pylist() for theirs in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def has_text(texts: Texts, task: Task) -> bool:
    """Whether no text that the task requires is null or blank. validate refuses such rows too."""
    return all((texts[name] or "").strip() for name in texts if task.texts[name].required)


def texts_digest(texts: Texts) -> str:
    """sha256 of the JSON object of the texts that are there, keys sorted, characters not escaped, as UTF-8:

        {"text": "Broke at once."}

    Null and empty texts are left out, so a CSV file and a Parquet file of the same texts agree.
    """
    return digest({name: text for name, text in texts.items() if text})
