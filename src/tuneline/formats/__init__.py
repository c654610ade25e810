"""The table of file formats. One parser each, which streams a file as chunks of rows.

A parser that meets a broken row goes on to the end of the file, yields nothing more, and raises one
DataError with all of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from tuneline.errors import DataError
from tuneline.formats.base import Chunk, Reading, Source
from tuneline.formats.delimited import DELIMITERS, first_columns, read_csv, read_tsv
from tuneline.formats.json_rows import read_json, read_jsonl
from tuneline.formats.lines import read_parallel, read_text
from tuneline.formats.parquet import read_parquet
from tuneline.formats.words import read_conll, read_conllu

Parser = Callable[[Source, Reading], Iterator[Chunk]]

PARSERS: dict[str, Parser] = {
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonl,
    "json": read_json,
    "squad": read_json,
    "parquet": read_parquet,
    "text": read_text,
    "conll": read_conll,
    "conllu": read_conllu,
    "parallel": read_parallel,
}


def parse(format_: str, source: Source, reading: Reading) -> Iterator[Chunk]:
    """The chunks of one file. DataError when it cannot be opened or holds no row."""
    chunk = None
    with _open_errors(source):
        for chunk in PARSERS[format_](source, reading):
            yield chunk
    if chunk is None:
        what = "has a header and no rows" if format_ in DELIMITERS and reading.header else "holds no rows"
        raise DataError(f"{source.shown}: {what}. Expected at least one: write the file again, or take it away.")


def column_names(format_: str, source: Source, reading: Reading) -> list[str]:
    """The columns of one file, as its header or its first rows tell them."""
    if format_ in DELIMITERS:
        with _open_errors(source):
            return first_columns(format_, source, reading)
    return list(next(parse(format_, source, replace(reading, wanted=None))).columns)


@contextmanager
def _open_errors(source: Source) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{source.shown}: cannot be read ({error.strerror or error}).") from error
