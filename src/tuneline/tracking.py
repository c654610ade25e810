"""MLflow runs: one per set of fine-tuning inputs, found by the digest of these inputs.

Training never dies or stalls because tracking does: each point goes to a local file first, then to MLflow;
the first failure stops the live part, and register brings the rest when the server is back.
"""

import json
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the default waits four minutes on a dead server
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunStatus
from mlflow.exceptions import MlflowException
from requests.exceptions import ChunkedEncodingError, ConnectionError, RetryError, Timeout

from tuneline import curves, layout
from tuneline.addresses import safe_text, safe_url
from tuneline.errors import PipelineError, ServerAway
from tuneline.log import warn

DIGEST = "tuneline.inputs_digest"
COMPLETE = "tuneline.complete"
READ_ONLY = (
    "TUNELINE_TRACKING_READ_ONLY"  # environment variable: where it is set, a training keeps its points to itself
)
NO_CONNECTION = (ConnectionError, Timeout, ChunkedEncodingError, RetryError)  # of requests; the last: too many 5xx
DELETED = "must be in the 'active' state"
FULL = "has no space left", "Free space where it keeps its store and files"
SAYINGS = {  # in what an error says: what was found, and what to do about it
    "disk is full": FULL,  # sqlite
    "no space left": FULL,  # Linux
    "could not extend file": FULL,  # PostgreSQL
    "error responses": (  # urllib3, of a server that says 500 or 503 again and again
        "answers with errors", "Its log says why, such as a full disk: mend that",
    ),
    DELETED: (
        "deleted a run meanwhile", "Another process, which trains the same inputs, has made one in its place",
    ),
}  # fmt: skip
BATCH = 500  # metrics per request; MLflow allows 1,000
PATIENCE = 10  # seconds that a server has for an answer while a model trains


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else the store at the root of the project."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _uri(layout.STORE)


def _uri(store: Path) -> str:
    return f"sqlite:///{store.absolute()}"


def make_store() -> None:
    """Make the store of the project, unless it is there. Elsewhere first: MLflow takes seconds to make its tables, and
    cannot use a file that it was killed over."""
    if layout.STORE.exists():
        return
    layout.STATE.mkdir(exist_ok=True)
    with FileLock(layout.STATE / "store.lock"):
        if not layout.STORE.exists():  # another process may have made it meanwhile
            with layout.staged(layout.STORE) as [place]:
                MlflowClient(_uri(place)).search_experiments(max_results=1)


def connect() -> MlflowClient:
    """A client of the tracking server in use. Raises ServerAway when it does not answer."""
    uri = tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        if uri == _uri(layout.STORE):
            make_store()
        client = MlflowClient()
        client.search_experiments(max_results=1)
    except PipelineError:
        raise
    except Exception as error:  # sqlalchemy, requests and MLflow each have their own
        raise _away(error) from error
    return client


@contextmanager
def answering() -> Iterator[None]:
    """Translate what a server leaves that goes away in the middle of the work into ServerAway."""
    try:
        yield
    except ServerAway:
        raise
    except Exception as error:
        cause = next((each for each in _causes(error) if _tells_of_absence(each)), None)
        if cause is None:
            raise
        raise _away(cause) from error


def _causes(error: Exception) -> Iterator[Exception]:
    """The error and those that it came from."""
    while isinstance(error, Exception):
        yield error
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # None ends it


def _tells_of_absence(error: Exception) -> bool:
    """Whether a retry may help: no connection, a server or database that says so, or a run that is gone."""
    if isinstance(error, NO_CONNECTION) or getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE":
        return True
    return isinstance(error, MlflowException) and DELETED in str(error)


def _away(error: Exception) -> ServerAway:
    said = _first_line(error)
    away = "does not answer", "Start the server or correct MLFLOW_TRACKING_URI"
    found, remedy = next((told for sign, told in SAYINGS.items() if sign in said.lower()), away)
    return ServerAway(
        f"MLflow at {safe_uri()} {found}: {said}. {remedy}, then run the same command again: nothing that was trained "
        "is lost."
    )


def experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment with this name, made when it is new. A sqlite store keeps its files beside it."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    local = tracking_uri().startswith("sqlite")
    try:
        return client.create_experiment(name, (Path.cwd() / "mlartifacts").as_uri() if local else None)
    except MlflowException:  # another process made it just now
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def find_run(client: MlflowClient, experiment: str, digest: str, taken: Collection[str] = ()) -> Run | None:
    """The whole run of exactly these inputs, or None. Runs of them that were cut short are deleted: what
    replaces them holds all their points. taken: ids of runs that are not asked for."""
    runs = client.search_runs([experiment], f"tags.`{DIGEST}` = '{digest}'")
    whole = [run if _is_whole(run) else _cleared_away(client, run.info.run_id) for run in runs]
    return next((run for run in whole if run is not None and run.info.run_id not in taken), None)


def _is_whole(run: Run) -> bool:
    return bool(run.data.tags.get(COMPLETE) == "yes")


def _cleared_away(client: MlflowClient, run_id: str) -> Run | None:
    """None, and the run is deleted; or the run, where another host completed it in this moment."""
    client.delete_run(run_id)
    if not _is_whole(client.get_run(run_id)):
        return None
    client.restore_run(run_id)
    return client.get_run(run_id)


def ensure_run(
    client: MlflowClient,
    experiment: str,
    digest: str,
    params: Mapping[str, Any],
    curve: Sequence[dict[str, float]],
    taken: Collection[str] = (),
) -> str:
    """The id of the finished run of these inputs. A run that this server does not know, because the model
    came from a cache or the server was away, is made again from what was recorded.

    taken: runs that hold what was made of the same inputs elsewhere, such as other bytes on another processor.
    """
    known = find_run(client, experiment, digest, taken)
    if known is not None:
        return str(known.info.run_id)
    run_id = _start_run(client, experiment, digest, params)
    _finish_run(client, run_id, curve)
    return run_id


def _start_run(client: MlflowClient, experiment: str, digest: str, params: Mapping[str, Any]) -> str:
    run = client.create_run(experiment, tags={DIGEST: digest}, run_name=digest[:12])
    log_params(client, run.info.run_id, params)
    return str(run.info.run_id)


def _finish_run(client: MlflowClient, run_id: str, missing: Sequence[dict[str, float]]) -> None:
    """Log the points that are still missing and mark the run as whole."""
    log_curve(client, run_id, missing)
    client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))
    client.set_tag(run_id, COMPLETE, "yes")  # last: a run that is cut short before is replaced


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    """Params under dotted names, 100 to a request."""
    flat = [Param(name, str(value)[:6000]) for name, value in flatten(params).items()]
    for start in range(0, len(flat), 100):
        client.log_batch(run_id, params=flat[start : start + 100])


def log_curve(client: MlflowClient, run_id: str, curve: Sequence[dict[str, float]]) -> None:
    """Every point of a learning curve, in few requests."""
    points = [
        Metric(name, value, 0, int(point["step"]))
        for point in curve
        for name, value in curves.metrics_of(point).items()
    ]
    for start in range(0, len(points), BATCH):
        client.log_batch(run_id, metrics=points[start : start + BATCH])


def log_scores(client: MlflowClient, run_id: str, scores: Mapping[str, float], prefix: str = "test_") -> None:
    """Scores, on the test split under test_ names. Logged again with another value, that one counts."""
    now, known = int(time.time() * 1000), client.get_run(run_id).data.metrics
    named = {prefix + name: value for name, value in scores.items()}
    new = [Metric(name, value, now, 0) for name, value in named.items() if known.get(name) != value]
    client.log_batch(run_id, metrics=new)


def bounds(intervals: Mapping[str, Sequence[float] | None]) -> dict[str, float]:
    """{"accuracy": [0.9, 0.95]} → {"accuracy_low": 0.9, "accuracy_high": 0.95}"""
    return {
        f"{name}_{end}": value
        for name, interval in intervals.items()
        for end, value in zip(("low", "high"), interval or (), strict=False)
    }


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"seed": 0}} → {"train.seed": 0}"""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        path = f"{prefix}{name}"
        flat |= flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat


class LiveRun:
    """Points of a run while it trains: to a local JSONL file first, then to MLflow, as long as it answers and is not
    READ_ONLY."""

    def __init__(self, experiment: str, digest: str, params: Mapping[str, Any], local: Path) -> None:
        self.local, self.run_id, self.sent = local, "", set[int]()
        local.parent.mkdir(parents=True, exist_ok=True)
        if os.environ.get(READ_ONLY):
            return
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(PATIENCE))  # MLflow's own is two minutes, for uploads
        try:
            self.client = connect()
            place = experiment_id(self.client, experiment)
            if find_run(self.client, place, digest) is None:
                self.run_id = _start_run(self.client, place, digest, params)
        except Exception as error:
            self._lose(error)

    def log(self, point: dict[str, float], prefix: str = "") -> None:
        """One line of the learning curve. With a prefix, that of one of several trainings: it stands beside the curve
        of the run, which finish brings."""
        point = {name if name in curves.PLACE else prefix + name: value for name, value in point.items()}
        with self.local.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")
        if self.run_id:
            began = time.monotonic()
            try:
                log_curve(self.client, self.run_id, [point])
                if time.monotonic() - began > PATIENCE:
                    raise TimeoutError(f"took more than {PATIENCE} s for one point.")
                self.sent |= set() if prefix else {int(point["step"])}
            except Exception as error:
                self._lose(error)

    def finish(self, curve: Sequence[dict[str, float]]) -> None:
        """Bring what the server misses of the whole curve (a resumed run starts late) and close the run."""
        if self.run_id:
            try:
                _finish_run(self.client, self.run_id, [p for p in curve if int(p["step"]) not in self.sent])
            except Exception as error:
                self._lose(error)

    @contextmanager
    def failed_by(self, error: type[Exception]) -> Iterator[None]:
        """Such an error inside ends the run as failed: nothing goes on from it."""
        try:
            yield
        except error:
            self._end(RunStatus.FAILED)
            raise

    def _end(self, status: int) -> None:
        if self.run_id:
            with suppress(Exception):
                self.client.set_terminated(self.run_id, RunStatus.to_string(status))
        self.run_id = ""

    def _lose(self, error: Exception) -> None:
        """Give up the live part. The unfinished run is replaced when register brings the recorded points."""
        self._end(RunStatus.KILLED)
        warn(
            "fine-tune",
            f"MLflow at {safe_uri()}: {_first_line(error)} Metrics are kept and replayed by register.",
        )


def safe_uri() -> str:
    """The tracking URI without a password."""
    return safe_url(tracking_uri())


def _first_line(error: Exception) -> str:
    """What an error says first. Without the path that was asked for: the cause stands behind it."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return safe_text(re.sub(r" with url: \S+", "", line)[:300])
