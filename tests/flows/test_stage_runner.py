"""How a command of a run is watched, told of and ended."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from prefect.client.schemas.objects import State
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed

from flows import stage_runner
from flows.stage_runner import Ending, on_registry, renamed, run_command, state_of
from tests.flows.conftest import free_port
from tuneline.errors import ServerAway
from tuneline.leash import leashed


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def lives(pid: int) -> bool:
    """A zombie, which nobody has reaped yet, has ended."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_each_line_is_logged_as_it_comes_without_colours(tmp_path: Path) -> None:
    lines: list[str] = []
    ending = run_command(
        python("print('\\x1b[31mvalidate: 3 rows\\x1b[0m'); print(); print('done')"), tmp_path, {}, log=lines.append
    )
    assert lines == ["validate: 3 rows", "done"]
    assert ending == Ending(0, "validate: 3 rows")


def test_the_error_of_a_stage_is_told_whole_and_without_what_dvc_adds(tmp_path: Path) -> None:
    script = (
        "import sys\nprint('validate: 9 rows read')\nprint('error: a.csv row 4: bad\\n  row 5: worse')\n"
        "print(\"ERROR: failed to reproduce 'validate': failed to run: tuneline stage validate, exited with 2\")\n"
        "sys.exit(255)"
    )
    ending = run_command(python(script), tmp_path, {}, log=lambda line: None)
    assert ending == Ending(2, "a.csv row 4: bad\n  row 5: worse")


def test_a_prefect_server_that_is_away_costs_the_progress_bar_and_not_the_stage(tmp_path: Path) -> None:
    script = "print(' 50%|#####     | 5/10'); print('100%|##########| 10/10'); print('fine-tune: 10 steps')"
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}), disable_run_logger():
        ending = run_command(python(script), tmp_path, {}, log=lambda line: None)
    assert ending == Ending(0, "fine-tune: 10 steps")


@pytest.mark.parametrize(
    ("ending", "type_", "name", "message"),
    [
        (Ending(0, "validate: 3 rows"), "COMPLETED", "Completed", "validate: 3 rows"),
        (Ending(0, "x: y", unchanged=True), "COMPLETED", "Completed", "validate: unchanged, from the cache"),
        (Ending(2, "bad rows"), "FAILED", "Refused", "validate: bad rows"),
        (Ending(ServerAway.exit_code, "away"), "FAILED", "Interrupted", "validate: away"),
        (Ending(-9, ""), "FAILED", "Interrupted", "validate: ended with exit code -9; its log says why"),
        (Ending(1, ""), "FAILED", "Failed", "validate: ended with exit code 1; its log says why"),
    ],
)
def test_a_state_says_what_came_of_a_stage(ending: Ending, type_: str, name: str, message: str) -> None:
    state = state_of("validate", ending)
    assert (state.type.value, state.name, state.message) == (type_, name, message)
    assert stage_runner.worth_a_retry(None, None, state) == (name == "Interrupted")  # type: ignore[arg-type]


def test_nothing_is_left_of_a_command_whose_caller_gave_up(tmp_path: Path) -> None:
    pids: list[int] = []

    def give_up(line: str) -> None:
        pids.append(int(line))
        if len(pids) == 2:
            raise KeyboardInterrupt

    script = (
        "import os, subprocess, sys, time\nprint(os.getpid(), flush=True)\n"
        "subprocess.Popen([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'])\n"
        "time.sleep(60)"
    )
    with pytest.raises(KeyboardInterrupt):
        run_command(python(script), tmp_path, {}, log=give_up)
    assert [pid for pid in pids if lives(pid)] == []


def test_a_process_on_a_leash_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process of its parent's end")
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    parent = f"import subprocess, sys, time\nsubprocess.Popen({leashed(*python(child))})\ntime.sleep(60)"
    process = subprocess.Popen(python(parent), stdout=subprocess.PIPE, cwd=tmp_path, env=dict(os.environ))
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    limit = time.monotonic() + 10
    while lives(pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not lives(pid)


def test_a_flow_on_the_registry_is_one_command_whose_sentence_it_ends_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_runner, "tie_to_parent", lambda: None)  # the tests outlive whoever started them
    given: list[list[str]] = []

    def task(command: list[str], folder: Path, env: dict[str, str], *, return_state: bool) -> State[Any]:
        given.append(command)
        return Completed(message="score: 3 rows")

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    refused = on_registry(cast(Any, task), ["score", "reviews"])
    assert (refused.name, given) == (stage_runner.REFUSED, [])
    assert "MLFLOW_TRACKING_URI is not set" in str(refused.message)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    ended = on_registry(cast(Any, task), ["score", *renamed({"text": "review"}), "reviews"])
    assert (ended.is_completed(), ended.message) == (True, "score: 3 rows")
    assert given[0][-4:] == ["tuneline", "score", "--column=text=review", "reviews"]
