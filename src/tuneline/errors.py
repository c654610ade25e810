"""What a person can mend. These print without a traceback and end with exit code 2 (75 where a retry can help).

    PipelineError
    ├── ParamsError       params.yaml
    ├── DataError         raw rows and the files they stand in
    ├── CheckpointError   pretrained weights and tokenizers
    ├── StorageError      the disk: no space, no permission
    ├── DeviceError       the GPUs of this host
    ├── Diverged          a training whose loss or weights are no numbers any more
    ├── Undefined         a metric that is no number, or too few rows to compare it
    └── TrackingError     MLflow: the tracking server and the registry
        ├── ServerAway    it does not answer; the same command may succeed later
        └── Unscorable    a registered model that cannot be compared on given rows

Anything else is a bug of ours and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PipelineError(Exception):
    """Says where, what was found, what was expected, and what to do next."""

    exit_code = 2  # the command line ends with it


class ParamsError(PipelineError):
    """params.yaml holds something a run cannot start from."""


class DataError(PipelineError):
    """Raw data that cannot be read, or that fails its checks."""


class CheckpointError(PipelineError):
    """A pretrained checkpoint that cannot be found, trusted or used."""


class StorageError(PipelineError):
    """A file that could not be written."""


class DeviceError(PipelineError):
    """A GPU that was asked for and is not there."""


class Diverged(PipelineError):
    """A training whose loss or weights are no numbers any more."""


class Undefined(PipelineError):
    """A metric that is no number on given rows, or about whose difference these rows can say nothing."""


class TrackingError(PipelineError):
    """The tracking server or the model registry did not do what was asked."""


class ServerAway(TrackingError):
    """The tracking server does not answer. A retry can mend this."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class Unscorable(TrackingError):
    """Two registered models that cannot be compared on given rows; the message says why."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest known word, or an empty string when none is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
