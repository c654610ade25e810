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

from tuneline.errors import PipelineError, StorageError

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
SCRATCH = STATE / "scratch"  # a folder for each process that works on something half-written
LOCKED = ".lock"  # in such a folder, held by its process

NO_SPACE = "no space left on the device"
REASONS = {
    errno.ENOSPC: NO_SPACE,
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than is allowed here (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
}
SIGNS = {  # of the same, in errors that are not Python's own
    "no space left on device": NO_SPACE,  # safetensors
    "inline_container": f"it could not be written to its end, as when there is {NO_SPACE}",  # torch.save
    "iostream error": f"it could not be written to its end, as when there is {NO_SPACE}",
}

STORE = Path("mlflow.db")  # MLflow's, sqlite, where no server is named

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
    with storage_errors(), scratch() as holder:
        places = [holder / str(number) / out.name for number, out in enumerate(outs)]
        for place in places:
            place.parent.mkdir()
        yield places
        for place, out in zip(places, outs, strict=True):
            _replace(place, out)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what is half-written, gone at the end of the block. Those of processes that were killed go too."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with FileLock(SCRATCH / LOCKED):
        for left in SCRATCH.glob("[!.]*"):
            with suppress(Timeout), FileLock(left / LOCKED, timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        folder = tempfile.TemporaryDirectory(dir=SCRATCH)
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
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # safetensors and torch have their own
        reason = _reason(error)
        if reason is None:
            raise
        place = folder or Path.cwd()
        file = getattr(error, "filename2", None) or getattr(error, "filename", None)  # of two, the one that is written
        raise StorageError(
            f"{file or place}: {reason}. Nothing was left half-written. Free space or fix the permissions of "
            f"{place.absolute()} (df -h {os.path.relpath(place)}), then run the same command again."
        ) from error


def _reason(error: Exception) -> str | None:
    """What the disk has against it, in words; None when it is no matter of the disk."""
    if isinstance(error, OSError) and error.errno:
        return REASONS.get(error.errno)
    said = str(error).lower()
    return next((reason for sign, reason in SIGNS.items() if sign in said), None)
