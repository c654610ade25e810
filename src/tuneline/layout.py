"""Where everything lies, relative to the root of the project, and how a stage puts it there.

data/raw/<name>  →  data/validated  →  data/tokenized  →  data/model  →  data/reports
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tuneline.errors import StorageError

PARAMS = Path("params.yaml")
SCHEMA = Path("params.schema.json")
PIPELINE = Path("dvc.yaml")
LOCK = Path("dvc.lock")

RAW = Path("data/raw")
SUITE = Path("data/expectations.json")
VALIDATED = Path("data/validated")
TOKENIZED = Path("data/tokenized")
MODEL = Path("data/model")
REPORTS = Path("data/reports")

REJECTS = VALIDATED / "rejects.parquet"
VALIDATION = VALIDATED / "validation.json"
DATA_DOCS = VALIDATED / "data_docs.html"
VOCABULARY = TOKENIZED / "vocabulary"
CHECKPOINT = VOCABULARY / "checkpoint.json"
TOKENS = TOKENIZED / "tokens.json"
TRAINING = REPORTS / "training.json"
LEARNING_CURVE = REPORTS / "learning_curve.csv"
EVALUATION = REPORTS / "evaluation.json"
PREDICTIONS = REPORTS / "predictions.parquet"
REFERENCE = REPORTS / "reference.parquet"
PLOTS = REPORTS / "plots"
TABLES = REPORTS / "tables"
REPORT_FACTS = REPORTS / "report.json"
REPORT = REPORTS / "report.html"
REGISTRATION = REPORTS / "registration.json"

# What a run keeps for itself: checkpoints to resume from, live metrics, half-written outs. Never versioned.
STATE = Path(".tuneline")
LOCKED = ".lock"  # in a folder of half-written outs, while a process works in it

SPLITS = ("train", "validation", "test")


def split_file(folder: Path, split: str) -> Path:
    """The Parquet file of one split inside a stage's folder."""
    return folder / f"{split}.parquet"


@contextmanager
def staged(*outs: Path) -> Iterator[list[Path]]:
    """Hand out one temporary place for each out, and put them all in place when the block succeeds.

    A block that fails leaves the project as it found it. A full disk or a folder that cannot be written
    becomes a StorageError that names it.
    """
    with storage_errors(), _holder() as holder:
        places = [holder / str(number) / out.name for number, out in enumerate(outs)]
        for place in places:
            place.parent.mkdir()
        yield places
        for place, out in zip(places, outs, strict=True):
            _replace(place, out)


@contextmanager
def _holder() -> Iterator[Path]:
    """A folder of this process, which it holds a lock in. Those of processes that were killed are removed."""
    STATE.mkdir(exist_ok=True)
    with FileLock(STATE / "staging.lock"):
        for left in STATE.glob("staged-*"):
            with suppress(Timeout), FileLock(left / LOCKED, timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        folder = tempfile.TemporaryDirectory(dir=STATE, prefix="staged-")
        held = FileLock(Path(folder.name) / LOCKED)
        held.acquire()
    with folder, held:
        yield Path(folder.name)


def _replace(place: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir() and not out.is_symlink():
        shutil.rmtree(out)
    place.replace(out)


@contextmanager
def storage_errors(folder: Path | None = None) -> Iterator[None]:
    """Translate what the disk refuses into a StorageError. folder: where it was to be written, if not here."""
    reasons = {
        errno.ENOSPC: "no space left on the device",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "permission denied",
    }
    try:
        yield
    except OSError as error:
        reason = reasons.get(error.errno or 0)
        if reason is None:
            raise
        place = folder or Path.cwd()
        raise StorageError(
            f"{error.filename or place}: {reason}. Nothing was left half-written. Free space or fix the permissions of "
            f"{place.absolute()} (df -h {os.path.relpath(place)}), then run the same command again."
        ) from error
