"""Replace a data set in data/raw, whole or not at all.

    .tuneline/replaced-NAME/
      absent.json           of data/raw, the set, its .dvc file and its line in .gitignore: what was not there before
      NAME/  NAME.dvc       what was there

A failure puts it all back at once. Of a process that was killed, the next `tuneline data add` of this set does: another
set's is left alone, for a person may have brought that back by hand meanwhile.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tuneline import layout

PREFIX = "replaced-"
ABSENT = "absent.json"
LOCK = layout.STATE / "data-add.lock"
IGNORE = layout.RAW / ".gitignore"


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Alone in this checkout, with the set as it was before a process that was killed over it."""
    with layout.storage_errors():
        layout.STATE.mkdir(exist_ok=True)
    with FileLock(LOCK):
        with layout.storage_errors():
            if name in _kept():
                _put_back(name)
        yield


def cut_short() -> list[str]:
    """The sets that a process was killed over."""
    if not layout.STATE.is_dir():
        return []
    try:
        with FileLock(LOCK, timeout=0):
            return _kept()
    except Timeout:  # a process is at work
        return []


def _kept() -> list[str]:
    return sorted(each.parent.name.removeprefix(PREFIX) for each in layout.STATE.glob(f"{PREFIX}*/{ABSENT}"))


@contextmanager
def replaced(name: str) -> Iterator[None]:
    """Clear the way for a set, and put everything back as it was when the block fails."""
    with layout.storage_errors():
        _set_aside(name)
        try:
            _ignore(name)
            yield
        except BaseException:
            _put_back(name)
            raise
        _forget(name)


def _places(name: str) -> tuple[Path, Path]:
    return layout.RAW / name, layout.RAW / f"{name}.dvc"


def holder(name: str) -> Path:
    """Where the set is kept that is being replaced."""
    return layout.STATE / f"{PREFIX}{name}"


def _set_aside(name: str) -> None:
    """What is absent is written down first, so that the holder says from the start what was there."""
    there = {path.as_posix(): os.path.lexists(path) for path in (layout.RAW, *_places(name))}
    there[IGNORE.as_posix()] = _line(name) in _lines()
    with layout.scratch() as place:
        made = place / name
        made.mkdir()
        absent = [path for path, is_there in there.items() if not is_there]
        (made / ABSENT).write_text(json.dumps(absent), encoding="utf-8")
        made.rename(holder(name))
    layout.RAW.mkdir(parents=True, exist_ok=True)
    for path in _places(name):
        if path.as_posix() not in absent:
            path.rename(holder(name) / path.name)


def _put_back(name: str) -> None:
    """Each step may be the last one of a process that is killed: the next call goes on from there."""
    absent = json.loads((holder(name) / ABSENT).read_text(encoding="utf-8"))
    for path in _places(name):
        kept = holder(name) / path.name
        if os.path.lexists(kept) or path.as_posix() in absent:
            _remove(path)
        if os.path.lexists(kept):
            kept.rename(path)
    if IGNORE.as_posix() in absent:
        _write_lines([line for line in _lines() if line != _line(name)])
    if layout.RAW.as_posix() in absent:
        with suppress(OSError):  # another set is there by now
            layout.RAW.rmdir()
    _forget(name)


def _forget(name: str) -> None:
    """In one step."""
    with layout.scratch() as place:
        holder(name).rename(place / name)


def _ignore(name: str) -> None:
    """Tell git to leave the folder to DVC. DVC then writes no .gitignore of its own into it."""
    if _line(name) not in (lines := _lines()):
        _write_lines([*lines, _line(name)])


def _line(name: str) -> str:
    return f"/{name}"


def _lines() -> list[str]:
    return IGNORE.read_text(encoding="utf-8").splitlines() if IGNORE.exists() else []


def _write_lines(lines: list[str]) -> None:
    """Without lines there is no file."""
    with layout.staged(IGNORE) as [place]:
        place.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if not lines:
        IGNORE.unlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
