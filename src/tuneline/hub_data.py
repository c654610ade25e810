"""Data sets from the Hugging Face hub, one Parquet file per split, labels by name.

    hf://datasets/stanfordnlp/imdb@e6281661ce1c48d982bc483cf8a173c1bbeb5d31  →  train.parquet, test.parquet

Only `tuneline data add` loads this file, and only for an hf:// source.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, load_dataset
from datasets.exceptions import DatasetsError
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tuneline.errors import DataError
from tuneline.formats.files import split_of

ADDRESS = re.compile(
    r"hf://datasets/(?P<repository>[\w.-]+/[\w.-]+)(/(?P<configuration>[\w.-]+))?(@(?P<revision>[\w./-]+))?"
)
ROWS_AT_ONCE = 10_000


def download(source: str, revision: str | None, folder: Path) -> str:
    """Write the splits of a data set into a folder; the commit that they come from."""
    match = ADDRESS.fullmatch(source)
    if not match:
        raise DataError(
            f"{source}: not the address of a data set. Expected "
            "hf://datasets/ORG/NAME[/CONFIGURATION][@REVISION], as in hf://datasets/stanfordnlp/imdb@main."
        )
    repository, configuration = match["repository"], match["configuration"]
    if Path(repository).exists():  # datasets would read this folder and never ask the hub
        raise DataError(f"{source}: a local folder has the name {repository} and would stand in for it. Rename it.")
    commit = _commit(source, repository, revision or match["revision"])
    try:
        splits = load_dataset(repository, configuration, revision=commit)
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise DataError(
            f"{source}: is loaded by a Python script, which never runs here. Use a revision or a copy with "
            "data files (refs/convert/parquet often is one), or download the files and add their folder."
        ) from error
    except (DatasetsError, ValueError, FileNotFoundError) as error:
        raise DataError(f"{source}: cannot be loaded. {error}") from error
    except (OfflineModeIsEnabled, ConnectionError, httpx2.HTTPError) as error:
        raise _unreachable(source, error) from error
    write_splits(splits, folder)
    return commit


def _commit(source: str, repository: str, revision: str | None) -> str:
    try:
        sha = HfApi().dataset_info(repository, revision=revision).sha
    except RevisionNotFoundError as error:
        raise DataError(f"{source}: the data set has no revision {revision}. Look for it on its page.") from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"{source}: the hub has no such data set, or it is private. Check the name; for a private one "
            "log in with `hf auth login`."
        ) from error
    except HfHubHTTPError as error:
        raise DataError(f"{source}: the hub refused: {str(error).splitlines()[0]}.") from error
    except (OfflineModeIsEnabled, OSError, httpx2.HTTPError) as error:
        raise _unreachable(source, error) from error
    if sha is None:
        raise DataError(f"{source}: the hub names no commit for it. Name a revision: {source}@main.")
    return str(sha)


def _unreachable(source: str, error: Exception) -> DataError:
    offline = " HF_HUB_OFFLINE is set." if isinstance(error, OfflineModeIsEnabled) else ""
    return DataError(
        f"{source}: the Hugging Face hub cannot be reached.{offline} Check the network, or download the data "
        "set elsewhere and add its folder."
    )


def write_splits(splits: Mapping[str, Dataset], folder: Path) -> None:
    """One Parquet file per split, the same bytes for the same rows.

    Where some splits are train, validation or test, the others (IMDB's `unsupervised`) are left out: their
    rows would be split by hash among the labelled ones.
    """
    told = {name: split for name, split in splits.items() if split_of(name)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in (told or splits).items():
        names = {column: feature.names for column, feature in split.features.items() if isinstance(feature, ClassLabel)}
        writer = None
        for table in split.with_format("arrow").iter(ROWS_AT_ONCE):
            named = _label_names(table, names).replace_schema_metadata(None)
            writer = writer or pq.ParquetWriter(folder / f"{name}.parquet", named.schema, compression="zstd")
            writer.write_table(named)
        if writer:
            writer.close()


def _label_names(table: pa.Table, names: Mapping[str, list[str]]) -> pa.Table:
    """Codes of ClassLabel columns as their names; -1, the hub's sign for a hidden label, as null."""
    for column, known in names.items():
        codes = [code if code is not None and code >= 0 else None for code in table[column].to_pylist()]
        labels = pa.array([None if code is None else known[code] for code in codes], pa.string())
        table = table.set_column(table.column_names.index(column), column, labels)
    return table
