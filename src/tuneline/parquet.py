"""Parquet with the same bytes for the same rows, read and written in batches."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 2_000


def schema_of(types: Mapping[str, str]) -> pa.Schema:
    """`{"row": "int64", "labels": "list<int32>"}` as an Arrow schema."""
    return pa.schema([(name, arrow_type(type_)) for name, type_ in types.items()])


def arrow_type(name: str) -> pa.DataType:
    """A type by its name: `int64`, `list<string>`, `list<struct<type: string, score: double>>`."""
    outer, _, inner = name.removesuffix(">").partition("<")
    if outer == "list":
        return pa.list_(arrow_type(inner))
    if outer == "struct":
        return pa.struct([(field, arrow_type(type_)) for field, type_ in _fields(inner)])
    return pa.type_for_alias(name)


def _fields(inner: str) -> Iterator[tuple[str, str]]:
    for field in inner.split(", "):
        name, _, type_ = field.partition(": ")
        yield name, type_


def write_rows(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Write rows in batches; return how many there were."""
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd", store_schema=True) as writer:
        for batch in _batches(rows):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def read_batches(path: Path, columns: list[str] | None = None) -> Iterator[list[dict[str, Any]]]:
    """The rows of a file, some thousands at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            yield batch.to_pylist()


def read_rows(path: Path, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """All rows of a file, as dicts."""
    rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    return rows


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
