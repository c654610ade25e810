"""A folder of Parquet parts that grows part by part, and the manifest that says what they are made from.

    scores/_scoring.json         written first; complete at the end
    scores/_seen/00000.parquet   what drift looks at in some of the rows of part 0
    scores/part-00000.parquet    rows_per_part rows each, the last one fewer
    scores/.part-00001.parquet   being written

Readers of Parquet folders pass over names that begin with `_` or `.`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tuneline.errors import PipelineError, StorageError

MANIFEST = "_scoring.json"


class Manifest(BaseModel):
    """What the parts are made from, and how many rows they hold when all are there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str  # path, as it was given
    input_file_sha256: str
    encoding: str
    delimiter: str | None
    columns: dict[str, str]  # ours to theirs, as they were asked for
    rows_per_part: int
    model: str
    version: int
    model_digest: str | None  # of the model folder, where the version carries it
    rows: int | None = None
    rows_without_text: int | None = None
    complete: bool = False


def part_file(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


def seen_file(folder: Path, number: int) -> Path:
    return folder / "_seen" / f"{number:05d}.parquet"  # readers of a folder of parts pass over such a name


def whole_parts(folder: Path) -> int:
    """How many parts are there, from the first on."""
    return next(number for number in count() if not part_file(folder, number).is_file())


def find_manifest(folder: Path, asked: Mapping[str, Any]) -> Manifest | None:
    """The manifest of a folder whose parts are made from what is asked; None for a folder yet to be filled.

    asked: fields of the manifest that have to agree. PipelineError when they do not, or when the folder holds
    files of something else. Hidden files do not count.
    """
    if not (folder / MANIFEST).is_file():
        _check_empty(folder)
        return None
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except ValidationError as error:
        raise PipelineError(
            f"{folder / MANIFEST}: is not what `tuneline score` writes. Remove {folder} to begin anew, or choose "
            "another OUTPUT."
        ) from error
    differing = [
        f"  {name}: {getattr(manifest, name)!r} there, {value!r} now"
        for name, value in asked.items()
        if getattr(manifest, name) != value
    ]
    if differing:
        raise PipelineError(
            f"{folder}: holds parts of another scoring:\n" + "\n".join(differing) + "\n"
            f"Choose another OUTPUT, ask for the same as before, or remove {folder} to begin anew."
        )
    return manifest


def _check_empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder}: is a file. Expected a folder for the parts: choose another OUTPUT.")
    others = sorted(path.name for path in folder.glob("[!.]*"))
    if others:
        raise PipelineError(
            f"{folder}: holds {', '.join(others[:5])}{', ...' if len(others) > 5 else ''} and no {MANIFEST}, so it is "
            "no output of `tuneline score`. Expected a new or empty folder: choose another OUTPUT."
        )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put the manifest in place, whole or not at all. The folder is made when it is new."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(f"{folder}: {error.strerror}. Expected a path of folders: choose another OUTPUT.") from error
    with _settled(folder / MANIFEST) as place:
        place.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


@contextmanager
def new_part(folder: Path, number: int) -> Iterator[tuple[Path, Path]]:
    """A place to write a part to, and one for what was seen of it. They get their names when the block is done, the
    part last: where it stands, all of it does."""
    seen_file(folder, number).parent.mkdir(exist_ok=True)
    with _settled(part_file(folder, number)) as part, _settled(seen_file(folder, number)) as seen:
        yield part, seen


@contextmanager
def _settled(target: Path) -> Iterator[Path]:
    """A hidden place beside the target that takes its name once the bytes are on the disk."""
    place = target.with_name(f".{target.name}")
    try:
        yield place
        _sync(place)
        place.replace(target)
        _sync(target.parent)
    finally:
        place.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the disk hold a file's bytes, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
