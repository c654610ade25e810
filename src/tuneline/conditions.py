"""Conditions in SQL over the columns of rows, as params.yaml has them: DuckDB says which rows they hold for.

    length(text) < 40 and country = 'DE'

It sees the rows and nothing else: no file, no network, no extension, no variable of ours.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tuneline.errors import ParamsError

CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "threads": 1,
    "lock_configuration": "true",
}


def holds(rows: pa.Table, conditions: Mapping[str, str]) -> dict[str, NDArray[np.bool_]]:
    """For each condition, which rows it holds for; where it gives null, it does not. (rows,) each.

    conditions: by the path in params.yaml. ParamsError names each that is no condition over these columns.
    """
    masks, told = _held(rows, conditions)
    if told:
        raise ParamsError("\n".join(told))
    return masks


def problems(schema: pa.Schema, conditions: Mapping[str, str]) -> list[str]:
    """What is wrong with conditions over rows of these columns, as told before there is any row."""
    return _held(schema.empty_table(), conditions)[1]


def _held(rows: pa.Table, conditions: Mapping[str, str]) -> tuple[dict[str, NDArray[np.bool_]], list[str]]:
    """The mask of each condition, and what is wrong with those that have none."""
    masks: dict[str, NDArray[np.bool_]] = {}
    told: list[str] = []
    if not conditions:
        return masks, told
    with _closed(rows) as relation:
        for path, condition in conditions.items():
            try:
                masks[path] = _mask(relation, condition, len(rows))
            except (duckdb.Error, ValueError) as error:
                reason = " ".join(str(error).partition("\n\n")[0].split())  # beyond it DuckDB points into the query
                stop = "" if reason.endswith(("?", "!")) else "."
                known = ", ".join(rows.schema.names)
                told.append(f"{path}: {condition!r} is no condition: {reason}{stop} Known columns: {known}")
    return masks, told


def _mask(relation: duckdb.DuckDBPyRelation, condition: str, count: int) -> NDArray[np.bool_]:
    found = relation.select(duckdb.SQLExpression(condition))
    types = [str(type_) for type_ in found.types]
    if types != ["BOOLEAN"]:
        raise ValueError(f"it is of type {', '.join(types)}, expected BOOLEAN")
    values = found.to_arrow_table().column(0).combine_chunks()
    if len(values) != count:
        raise ValueError("it does not say yes or no to each row")
    mask: NDArray[np.bool_] = values.fill_null(False).to_numpy(zero_copy_only=False)
    return mask


@contextmanager
def _closed(rows: pa.Table) -> Iterator[duckdb.DuckDBPyRelation]:
    """The rows as the one table of a database in memory, whose doors are shut."""
    with duckdb.connect(":memory:", config=CLOSED) as connection:
        connection.execute("select setseed(0)").fetchall()  # or random() would give other slices each time
        yield connection.from_arrow(rows)
