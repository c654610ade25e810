"""A stage as a Prefect task: its output line by line in the run's log, and one sentence on how it ended."""

import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff

from flows import ROOT
from flows.artifacts import Progress
from tuneline.errors import PipelineError, ServerAway
from tuneline.leash import end_group, leashed, tie_to_parent

KEPT_LINES = 500  # the last ones, to tell how a stage ended
GRACE_SECONDS = 20.0  # between SIGTERM and SIGKILL
REFUSED, INTERRUPTED = "Refused", "Interrupted"  # a person must mend it · a retry can

PROGRESS = re.compile(r"^\s*(?P<label>[^|%]*?):?\s*(?P<percent>\d{1,3})%\|")
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # colours and cursor moves
EXITED = re.compile(r"exited with (-?\d+)")
UNCHANGED = re.compile(r"^Stage '.*' (didn't change|is cached)")


@dataclass(frozen=True)
class Ending:
    """How a command ended, in its own words."""

    code: int  # of the stage itself; negative when a signal killed it
    sentence: str
    unchanged: bool = False  # DVC had the result already


def command_task(name: str) -> Task[..., State[Any]]:
    """The Prefect task that runs a command of this name. DVC is its cache; only what a retry can mend is tried
    again."""

    @task(
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=3,
        retry_delay_seconds=exponential_backoff(backoff_factor=10),
        retry_jitter_factor=0.5,
        retry_condition_fn=worth_a_retry,
    )
    def run(command: list[str], folder: Path, env: dict[str, str]) -> State[Any]:
        return state_of(name, run_command(command, folder, env, log=get_run_logger().info))

    return run


def need_tracking() -> None:
    """Raises PipelineError when no tracking server is named: none is found from a clone that goes with its run."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise PipelineError(
            "MLFLOW_TRACKING_URI is not set where the worker runs, and a clone is no place for a registry. Start "
            "the worker with it (`tuneline up` does), or set it in the work pool's environment variables."
        )


def on_registry(task: Task[..., State[Any]], arguments: Sequence[str]) -> State[Any]:
    """Run a `tuneline` command on a registered model as all that a flow does: the state of that flow."""
    tie_to_parent()
    try:
        need_tracking()
    except PipelineError as error:
        return Failed(name=REFUSED, message=str(error))
    command = leashed(sys.executable, "-m", "tuneline", *arguments)
    places = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}  # a command that sends an event loads flows
    state: State[Any] = task(command, Path.cwd(), places, return_state=True)
    return of_flow(state)


def renamed(columns: Mapping[str, str]) -> list[str]:
    """The options of a command for columns that have other names in the file, ours to theirs."""
    return [f"--column={ours}={theirs}" for ours, theirs in columns.items()]


def stage_command(stage: str) -> list[str]:
    """What brings a stage up to date in a workspace."""
    return [sys.executable, str(ROOT / "flows/repro.py"), stage]


def worth_a_retry(task: Task[..., Any], task_run: Any, state: State[Any]) -> bool:
    return state.name == INTERRUPTED


def state_of(stage: str, ending: Ending) -> State[Any]:
    """The state that says what came of a stage. A stage that was killed resumes where it can."""
    if ending.code == 0:
        sentence = f"{stage}: unchanged, from the cache" if ending.unchanged else ending.sentence
        return Completed(message=sentence or f"{stage}: done")
    if ending.code < 0 or ending.code == ServerAway.exit_code:
        return Failed(name=INTERRUPTED, message=_named(stage, ending))
    if ending.code == PipelineError.exit_code:
        return Failed(name=REFUSED, message=_named(stage, ending))
    return Failed(message=_named(stage, ending))


def of_flow(state: State[Any]) -> State[Any]:
    """The state of a task as that of its flow. Prefect would say `All states completed.` in place of its message."""
    made = Completed if state.is_completed() else Failed
    return made(name=state.name, message=state.message)


def _named(stage: str, ending: Ending) -> str:
    return f"{stage}: {ending.sentence or f'ended with exit code {ending.code}; its log says why'}"


def run_command(command: Sequence[str], folder: Path, env: dict[str, str], *, log: Callable[[str], None]) -> Ending:
    """Run a command in its own process group, log what it prints, and leave nothing of it behind, whatever
    ends this call: success, a time-out, a cancelled run."""
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **env, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = deque(_logged(process.stdout, log), maxlen=KEPT_LINES)
        return _ending(process.wait(), list(lines))
    finally:
        end_group(process, GRACE_SECONDS)


def _logged(output: IO[bytes], log: Callable[[str], None]) -> Iterator[str]:
    """Each line as it comes. Progress bars go to the run's progress artifact instead of the log."""
    progress = Progress()
    for line in _lines(output):
        bar = PROGRESS.match(line)
        if bar:
            progress.show(int(bar["percent"]), bar["label"])
        elif line.strip():
            log(line)
            yield line


def _lines(output: IO[bytes]) -> Iterator[str]:
    """Lines that end in a line feed or, as progress bars do, in a carriage return."""
    rest = b""
    while chunk := os.read(output.fileno(), 65536):
        *whole, rest = re.split(rb"[\r\n]", rest + chunk)
        yield from (_text(line) for line in whole)
    yield _text(rest)


def _text(line: bytes) -> str:
    return ESCAPES.sub("", line.decode(errors="replace")).rstrip()


def _ending(code: int, lines: list[str]) -> Ending:
    """What the lines say: the error of a stage that failed (it may go on for several lines, up to DVC's own),
    or the numbers that a stage prints last."""
    told = [match[1] for line in lines if (match := EXITED.search(line))]
    own = int(told[-1]) if told and code else code
    if code:
        start = next((i for i, line in enumerate(lines) if line.startswith("error: ")), None)
        said = [] if start is None else lines[start:]
        end = next((i for i, line in enumerate(said) if line.startswith("ERROR: ")), len(said))
        return Ending(own, "\n".join(said[:end]).removeprefix("error: "))
    numbers = [line for line in lines if re.match(r"^[a-z-]+: (?!warning)", line)]
    return Ending(0, numbers[-1] if numbers else "", any(UNCHANGED.match(line) for line in lines))
