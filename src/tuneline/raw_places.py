"""Where the raw data of a version can be had again, by its hash.

    data/raw/NAME here  →  the DVC cache of this checkout  →  its DVC remote  →  the origin in the .dvc file

A place counts only when its bytes have the digest that the version recorded. What a DVC remote holds goes by its own
hash, until it is brought here.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tuneline import git, layout
from tuneline.commands import output
from tuneline.digests import digest, file_digest
from tuneline.errors import DataError, PipelineError

Files = Mapping[str, Path]  # name under data/raw/NAME → where its bytes are


@dataclass(frozen=True)
class Raw:
    """Raw data as a version recorded it."""

    name: str
    sha256: str
    pointer: Mapping[str, Any]  # the content of its .dvc file; empty where there was none
    commit: str | None
    repository: Path = field(default=Path())  # that holds the commit


@dataclass(frozen=True)
class Found:
    """A place that has the data; `others` had something else under the same name."""

    place: str | None
    files: Files | None  # None where they are on a remote, by their hash
    others: tuple[str, ...]


def find(raw: Raw, scratch: Path, *, fetch: bool) -> Found:
    """The first place that has the data. fetch: bring it here even from a remote."""
    others: list[str] = []
    for place, files in _places(raw, scratch, fetch=fetch):
        if files is None or files_digest(files) == raw.sha256:
            return Found(place, files, tuple(others))
        others.append(place)
    return Found(None, None, tuple(others))


def put(raw: Raw, folder: Path) -> str:
    """Copy the data into a folder; the place that it came from. DataError where no place has it."""
    with layout.storage_errors(), tempfile.TemporaryDirectory() as scratch:
        found = find(raw, Path(scratch), fetch=True)
        if found.files is None:
            raise DataError(missing(raw, found))
        for name, source in found.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return str(found.place)


def missing(raw: Raw, found: Found) -> str:
    """What to say where no place has the data."""
    other = f" Other bytes than those are in {', '.join(found.others)}." if found.others else ""
    return (
        f"data/raw/{raw.name} with sha256 {raw.sha256[:12]} is neither here, nor in the DVC cache, nor on the DVC "
        f"remote, nor at its origin.{other} dvc push it from a checkout that has it, or bring back the file that it "
        "was added from."
    )


def files_digest(files: Files) -> str:
    """What digests.tree_digest says of a folder with these files."""
    return digest([(name, file_digest(files[name])) for name in sorted(files, key=Path)])


def _places(raw: Raw, scratch: Path, *, fetch: bool) -> Iterator[tuple[str, Files | None]]:
    yield from _found("data/raw here", _under(layout.RAW / raw.name))
    if raw.pointer:
        yield from _stored(raw, scratch, fetch=fetch)
        yield from _origin(raw, scratch)


def _found(place: str, files: Files) -> Iterator[tuple[str, Files]]:
    if files:
        yield place, files


def _under(folder: Path) -> Files:
    paths = sorted(folder.rglob("*")) if folder.is_dir() else []
    return {
        path.relative_to(folder).as_posix(): path
        for path in paths
        if path.is_file() and "__pycache__" not in path.parts
    }


# DVC's stores


def _stored(raw: Raw, scratch: Path, *, fetch: bool) -> Iterator[tuple[str, Files | None]]:
    """From the cache and the default remote of this checkout."""
    from dvc.repo import Repo  # noqa: PLC0415  a second that only explain and rebuild pay

    try:
        with Repo() as repo:
            yield from _found("the DVC cache", _objects(raw, repo.cache.local, scratch / "cache", fetch=True) or {})
            if repo.config["core"].get("remote"):
                files = _objects(raw, repo.cloud.get_remote_odb(), scratch / "remote", fetch=fetch)
                if files is not None:
                    yield "the DVC remote", files if fetch else None
    except Exception:  # no DVC here, or a remote that is away, and every kind has its own: the next place may have it
        return


def _objects(raw: Raw, store: Any, scratch: Path, *, fetch: bool) -> Files | None:
    """The data's files from a DVC store, by the hashes in the .dvc file; None where one of them is not there.
    Not fetched, their paths mean nothing."""
    files: dict[str, Path] = {}
    for out in raw.pointer.get("outs", []):
        inside = Path(out["path"]).relative_to(raw.name).as_posix()  # "." of a folder, else a file's name
        oids = {inside: out["md5"]}
        if out["md5"].endswith(".dir"):
            listing = _object(store, out["md5"], scratch)
            if listing is None:
                return None
            oids = {each["relpath"]: each["md5"] for each in json.loads(listing.read_text(encoding="utf-8"))}
        for name, oid in oids.items():
            file = _object(store, oid, scratch) if fetch else (Path() if store.exists(oid) else None)
            if file is None:
                return None
            files[name] = file
    return files


def _object(store: Any, oid: str, scratch: Path) -> Path | None:
    if not store.exists(oid):
        return None
    path = store.oid_to_path(oid)
    if store.fs.protocol == "local":
        return Path(path)
    scratch.mkdir(parents=True, exist_ok=True)
    store.fs.get_file(path, str(scratch / oid))
    return scratch / oid


# The origin


def _origin(raw: Raw, scratch: Path) -> Iterator[tuple[str, Files]]:
    """From what `tuneline data add` was given."""
    dep = next((dep["path"] for dep in raw.pointer.get("deps") or []), None)
    source = str((raw.pointer.get("meta") or {}).get("source") or dep or "")
    shown = f"its origin {source}"
    if "://" in source:
        with suppress(PipelineError):
            yield from _found(
                shown, _downloaded(source, (raw.pointer["meta"] or {}).get("revision"), scratch / "origin")
            )
    elif source:
        local = Path(dep) if dep and Path(dep).is_absolute() else layout.RAW / (dep or "")
        yield from _found(shown, _copied(local))
        if raw.commit and not Path(source).is_absolute():
            (scratch / "commit").mkdir(parents=True, exist_ok=True)
            held = git.export(raw.commit, source, scratch / "commit", raw.repository)
            yield from _found(f"{source} at commit {raw.commit[:12]}", _copied(held) if held else {})


def _copied(source: Path) -> Files:
    """A file or a folder as it lies in data/raw/NAME."""
    return {source.name: source} if source.is_file() else _under(source)


def _downloaded(source: str, revision: str | None, folder: Path) -> Files:
    if source.startswith("hf://"):
        import_module("tuneline.hub_data").download(source, revision, folder)
        return _under(folder)
    folder.mkdir(parents=True)
    name = source.rstrip("/").rpartition("/")[2]
    output("dvc", "get-url", "--quiet", source, str(folder / name), error=DataError)
    return _copied(folder / name)
