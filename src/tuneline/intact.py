"""Whether a stage is about to read what dvc.lock names. DVC takes a read-only object of its cache unread for whole.

A disk that rots would so become a model of the registry, under the record of another one. What is damaged is put aside,
and the next `dvc repro` makes it anew or fetches it.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tuneline import layout
from tuneline.errors import StorageError

DAMAGED = layout.STATE / "damaged"  # objects of DVC's cache, by the hash that they should have
FOLDER = ".dir"  # ends the hash that DVC gives a folder: that of the list of its files


def check(stage: str, data: str) -> None:
    """Raise StorageError where DVC's cache gave a stage other bytes than were put into it. data: name of the set in
    data/raw."""
    changed = {path: oid for path, oid in _named(stage, data).items() if path.exists() and dvc_hash(path) != oid}
    damaged = list(_put_aside(changed)) if changed else []
    if damaged:
        raise StorageError(
            f"{', '.join(damaged)}: DVC's cache holds other bytes than were put into it; a disk that rots does so, and "
            f"a copy that was cut short. They are not used and lie in {DAMAGED} now. Run dvc repro again: it makes "
            "them anew. What no stage makes comes back by dvc pull."
        )


def dvc_hash(path: Path) -> str:
    """The name that DVC gives a file or a folder by its bytes."""
    if path.is_file():
        return _md5(path)
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    listed = [{"md5": _md5(file), "relpath": name} for name, file in files]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + FOLDER


def _named(stage: str, data: str) -> dict[Path, str]:
    """What a stage reads of other stages and of raw data, by the hashes in dvc.lock and in the .dvc file."""
    stages = _yaml(layout.LOCK).get("stages", {}).values()
    outs = {out["path"]: out["md5"] for each in stages for out in each.get("outs", []) if "md5" in out}
    pointer = layout.RAW / f"{data}.dvc"
    outs |= {(layout.RAW / out["path"]).as_posix(): out["md5"] for out in _yaml(pointer).get("outs", [])}
    deps = [dep.replace("${data.name}", data) for dep in _yaml(layout.PIPELINE)["stages"][stage]["deps"]]
    return {Path(dep): outs[dep] for dep in deps if dep in outs}


def _put_aside(changed: Mapping[Path, str]) -> Iterator[str]:
    """Move damaged objects out of the cache, remove the copies of them here, and name them."""
    from dvc.repo import Repo  # noqa: PLC0415  a second that only a changed file costs

    with Repo() as repo:
        for path, oid in changed.items():
            for file, name in _files(path, oid, repo.cache.local):
                held = Path(repo.cache.local.oid_to_path(name))
                if held.is_file() and _md5(held) != name.removesuffix(FOLDER):
                    _move(held, name, file)
                    yield str(file)


def _files(path: Path, oid: str, cache: Any) -> Iterator[tuple[Path, str]]:
    """An out, and the files in it where it is a folder, with their hashes."""
    yield path, oid
    held = Path(cache.oid_to_path(oid))
    if oid.endswith(FOLDER) and held.is_file():  # a damaged list is put aside by now
        yield from ((path / each["relpath"], each["md5"]) for each in json.loads(held.read_text(encoding="utf-8")))


def _move(held: Path, name: str, file: Path) -> None:
    if file.is_file() and _md5(file) == _md5(held):
        file.unlink()
    DAMAGED.mkdir(parents=True, exist_ok=True)
    shutil.move(held, DAMAGED / name)


def _md5(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _yaml(file: Path) -> Any:
    """The content of a file of DVC; an empty dict where there is none."""
    return YAML(typ="safe").load(file) or {} if file.is_file() else {}
