"""`tuneline data add NAME SOURCE`: bring a data set into data/raw/NAME and put it under DVC.

    data/raw/reviews.dvc    desc: reviews from data/sample/reviews
                            meta: {source: data/sample/reviews}
                            deps: [{path: ../sample/reviews, md5: ...}]      where it came from
                            outs: [{path: reviews, md5: ...}]                what came

The .dvc file is written here, in the form that `dvc import-url` gives it, and then brought up to date by
`dvc repro data/raw/NAME.dvc`. `dvc import-url` itself would put the .dvc file of a single file *inside*
data/raw/NAME, together with a .gitignore: both would count as data of the stage whose dep is the folder, and
the import would need the folder to be there first. Written by hand, the out is NAME/file.csv, the folder
holds data alone, and repro, checkout, pull, update and a fresh clone all work (tried on DVC 3.67).

A source inside the repository travels with it, so its import is not frozen: `dvc repro` in a fresh clone
brings it in, and brings it again when the source changes. Any other import is frozen, as `dvc import-url`
leaves it: `dvc pull` fetches it from the remote, and `dvc update data/raw/NAME.dvc` asks the source again.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML

from tuneline import layout, replacing
from tuneline.commands import output
from tuneline.digests import tree_digest
from tuneline.errors import DataError
from tuneline.params import NAME, Data
from tuneline.rows import Description, describe, preview
from tuneline.suggest import guess_reading, suggested_params

SCHEMES = (
    "http",
    "https",
    "s3",
    "gs",
    "azure",
    "ssh",
    "hdfs",
    "webhdfs",
    "webdav",
    "webdavs",
    "oss",
    "gdrive",
    "remote",
)
HUB = "hf://"


@dataclass(frozen=True)
class Added:
    """A set that was brought in."""

    name: str
    source: str
    revision: str | None
    """Commit on the hub, or sha256 of the bytes; None for a source that the repository itself versions."""
    description: Description
    params: str
    """Suggested `data:` and `task:` sections of params.yaml."""

    @property
    def folder(self) -> Path:
        return layout.RAW / self.name

    @property
    def pointer(self) -> Path:
        return layout.RAW / f"{self.name}.dvc"

    @property
    def summary(self) -> str:
        """What came, and what to do next, for the terminal."""
        found = self.description
        revision = f", revision {self.revision}" if self.revision else ""
        files = [f"  {file.shown}  {file.split or 'to be split'}  {file.rows:,} rows" for file in found.files[:20]]
        more = [f"  and {len(found.files) - 20:,} more files"] if len(found.files) > 20 else []
        first = [f"  {name}: {value}" for name, value in preview(found.first).items()]
        not_read = [f"Not read: {', '.join(found.not_read)}"] if found.not_read else []
        return "\n".join(
            [
                f"{self.folder}: {found.format}, {found.rows:,} rows, columns {', '.join(found.columns)}",
                *files,
                *more,
                *not_read,
                "First row:",
                *first,
                f"Recorded in {self.pointer} (source {self.source}{revision}).",
                f"Next: git add {self.pointer} {layout.RAW / '.gitignore'}, and in params.yaml:",
                "",
                self.params,
            ]
        )


def add(
    name: str,
    source: str,
    *,
    force: bool = False,
    revision: str | None = None,
    reading: Mapping[str, Any] | None = None,
) -> Added:
    """Bring a source into data/raw/NAME, under DVC, with its origin recorded, and parse all of it.

    source: a local file or folder, a URL that DVC can import from, or hf://datasets/ORG/NAME[@REVISION].
    revision: of a set on the hub, instead of @REVISION. reading: keys of `data:` that are not to be guessed
    (format, encoding, delimiter, header, column_names). When anything fails the project is left as it was.
    """
    _check(name, source, revision=revision)
    folder, pointer = layout.RAW / name, layout.RAW / f"{name}.dvc"
    with replacing.one_at_a_time(name):
        if not force:
            _refuse_taken(name, folder, pointer)
        with replacing.replaced(name):
            if source.startswith(HUB):
                commit = import_module("tuneline.hub_data").download(source, revision, folder)
                _dvc("add", str(folder))
                _record(pointer, source, commit)
            else:
                commit = _import(source, folder, pointer)
            options = guess_reading(folder, name, reading or {})
            description = describe(folder, Data(name=name, **options))
    return Added(name, source, commit, description, suggested_params(name, description, options))


# Checks


def _check(name: str, source: str, *, revision: str | None) -> None:
    if not re.fullmatch(NAME, name) or name.endswith(".dvc"):
        raise DataError(
            f"name {name!r}: not the name of a data set. Expected up to 100 letters, digits, '.', '_' or "
            "'-', the first a letter or digit, not ending in .dvc."
        )
    if not Path(".dvc").is_dir() or not any((up / ".git").exists() for up in [Path.cwd(), *Path.cwd().parents]):
        raise DataError(
            f"{Path.cwd()}: not the root of a git and DVC repository. Run from the root of the project, or "
            "make it one with `git init` and `dvc init`."
        )
    if revision and not source.startswith(HUB):
        raise DataError(f"revision {revision!r}: only a data set from the hub has one, and {source} is none.")
    if source.startswith(HUB):
        return
    if "://" in source:
        _check_url(source)
    else:
        _check_local(name, source)


def _refuse_taken(name: str, *places: Path) -> None:
    if taken := [place for place in places if os.path.lexists(place)]:
        raise DataError(
            f"{taken[0]}: there already is a data set {name!r}. Choose another name, or replace it with "
            "--force (what was never under DVC is lost)."
        )


def _check_url(source: str) -> None:
    parts = urlsplit(source)
    if parts.scheme not in SCHEMES:
        raise DataError(f"{source}: unknown scheme {parts.scheme!r}. Known: {', '.join(SCHEMES)}, hf, or a local path.")
    if parts.password or (parts.username and parts.scheme.startswith("http")):
        raise DataError(
            f"{parts.scheme}://…@{parts.hostname}{parts.path}: holds a user or password, which would stand "
            "in the .dvc file for all to read. Put them into a DVC remote: `dvc remote modify --local`."
        )
    if parts.scheme.startswith("http") and not Path(parts.path).suffix:
        raise DataError(
            f"{source}: the address does not end in a file name such as train.csv, so its format cannot be "
            "told. Download it, give it a name with an ending, and add that file."
        )


def _check_local(name: str, source: str) -> None:
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(
            f"{source}: no such file or folder in {Path.cwd()}. Expected one, or a URL, or hf://datasets/ORG/NAME."
        )
    if path.is_dir() and not any(path.iterdir()):
        raise DataError(f"{source}: the folder is empty. Expected data files in it.")
    folder, found = (layout.RAW / name).resolve(), path.resolve()
    if found == folder or found in folder.parents or folder in found.parents:
        raise DataError(
            f"{source}: source and target ({layout.RAW / name}) lie in each other. Move the source to "
            "another place, outside data/raw, and add it from there."
        )


# DVC


def _import(source: str, folder: Path, pointer: Path) -> str | None:
    """Write the .dvc file and let DVC bring the source in; the sha256 of what came, where it is recorded."""
    inside, dep, file_name = _origin(source)
    _write(
        pointer,
        {
            "desc": f"{folder.name} from {source}",
            "meta": {"source": source},
            "deps": [{"path": dep}],
            "outs": [{"path": f"{folder.name}/{file_name}" if file_name else folder.name}],
        },
    )
    if file_name:
        folder.mkdir(parents=True)
    _dvc("repro", "--single-item", str(pointer))
    if inside:
        return None
    revision = tree_digest(folder)
    _record(pointer, source, revision, frozen=True)
    return revision


def _origin(source: str) -> tuple[bool, str, str | None]:
    """Whether a source lies in the repository, its path for the .dvc file, and its name if it is a file."""
    if "://" in source:
        path = Path(urlsplit(source).path)
        return False, source, path.name if path.suffix and not source.endswith("/") else None
    found = Path(source).expanduser().resolve()
    inside = found.is_relative_to(Path.cwd().resolve())
    dep = Path(os.path.relpath(found, layout.RAW.resolve())) if inside else found
    return inside and not _ignored_by_git(found), dep.as_posix(), found.name if found.is_file() else None


def _ignored_by_git(path: Path) -> bool:
    """Such a file is in no other clone, so the source does not travel with the repository."""
    return (
        subprocess.run(["git", "check-ignore", "--quiet", str(path)], capture_output=True, check=False).returncode == 0
    )


def _record(pointer: Path, source: str, revision: str, *, frozen: bool = False) -> None:
    """Add origin and revision to a .dvc file that DVC has written."""
    content = YAML().load(pointer.read_text(encoding="utf-8"))
    content["desc"] = f"{pointer.stem} from {source}"
    content["meta"] = {"source": source, "revision": revision}
    if frozen:
        content["frozen"] = True
    _write(pointer, content)


def _write(pointer: Path, content: Mapping[str, Any]) -> None:
    with pointer.open("w", encoding="utf-8") as file:
        yaml = YAML()
        yaml.width = 4096  # long addresses stay on one line
        yaml.dump(content, file)


def _dvc(*arguments: str) -> None:
    """Run dvc. DataError or StorageError with its last lines when it fails."""
    program = shutil.which("dvc") or shutil.which("dvc", path=str(Path(sys.executable).parent))
    if program is None:
        raise DataError("dvc: not found on PATH nor beside this Python. Install the project: `pip install -e .`.")
    output(program, *arguments, error=DataError, aftermath="Nothing was left half-written. ")
