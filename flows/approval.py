"""A model that passes and waits for a person: the run is suspended, and its resume form promotes the model.

A suspended run has no process and no place on a worker. When it is resumed, a worker starts it from the beginning: it
finds here what waits, and no stage runs again.
"""

import html
import json
import sys
from pathlib import Path
from typing import Any

from prefect import suspend_flow_run
from prefect.client.schemas.objects import State
from prefect.input import RunInput
from prefect.input.actions import create_flow_run_input, read_flow_run_input
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from flows import ROOT
from flows.stage_runner import command_task
from tuneline import layout
from tuneline.leash import leashed

WAITING = "waiting"  # the outcome of the decision
KEY = "tuneline-waiting"  # under which the Prefect server keeps it, beside the run
TASK = command_task("promote")
TEXT = r"^[^\x00]*\S[^\x00]*$"  # more than blanks


class Approval(RunInput):
    """What the resume form asks for."""

    reason: str = Field(pattern=TEXT, max_length=5000, description="Why it is promoted. It goes into the ledger.")
    approved_by: str = Field(pattern=TEXT, max_length=200, description="Who says so. It goes into the ledger.")


def remember(folder: Path) -> None:
    """Keep what waits, if the decision of a workspace says so."""
    record = json.loads((folder / layout.REGISTRATION).read_text(encoding="utf-8"))
    if record["decision"]["outcome"] == WAITING and pending() is None:
        value = {"name": record["name"], "version": record["version"], "reason": record["decision"]["reason"]}
        create_flow_run_input(KEY, value)


def pending() -> dict[str, Any] | None:
    """Name, version and reason of the model of this run that waits, or None."""
    found: dict[str, Any] | None = read_flow_run_input(KEY)  # type: ignore[assignment]  # typed for async callers too
    return found


def ask(waiting: dict[str, Any], timeout_seconds: float) -> State[Any]:
    """Suspend the run until a person resumes it, then promote. Who cancels it, or lets the time pass, leaves the model
    waiting."""
    sentence = f"{waiting['name']} version {waiting['version']} waits for approval: {waiting['reason']}"
    form = Approval.with_initial_data(description=html.escape(sentence))
    answer = suspend_flow_run(wait_for_input=form, timeout=int(timeout_seconds), key="approval")
    said = [f"--reason={answer.reason}", f"--by={answer.approved_by}"]
    command = leashed(
        sys.executable, "-m", "tuneline", "promote", *said, "--", waiting["name"], str(waiting["version"])
    )
    env = {"PYTHONPATH": str(ROOT / "src"), "TUNELINE_FLOW_RUN": str(flow_run.get_id())}
    state: State[Any] = TASK(command, Path.cwd(), env, return_state=True)
    if state.is_completed():
        return Completed(message=state.message)
    return Failed(name=state.name, message=state.message)
