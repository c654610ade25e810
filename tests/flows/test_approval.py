"""A run whose model waits for approval: suspended without a process, resumed with a reason, or cancelled."""

import time
from typing import Any

import mlflow
import psutil
import pytest

from tests.flows.conftest import FINAL, Site, until
from tuneline.ledger import Ledger

pytestmark = pytest.mark.slow
ANSWER = {"reason": "read fifty of its answers", "approved_by": "Ada"}


def waiting_run(site: Site, name: str) -> str:
    """A run that was suspended, for its model waits: the first one of its name, which passes whatever its score."""
    overrides = {"train.num_train_epochs": 2, "register.approval": "manual", "register.name": name}
    run_id = site.submit(overrides=overrides)
    until(lambda: site.state(run_id)["type"] in FINAL | {"PAUSED"}, 400, "the suspension")
    assert site.state(run_id)["name"] == "Suspended", site.state(run_id)
    until(lambda: not processes_of(run_id), 60, "the end of its process")
    time.sleep(3)  # an earlier resume brings the worker down, which has not noticed that end yet (Prefect 3.8)
    return run_id


def processes_of(run_id: str) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["environ"]) if run_id in (each.info["environ"] or {}).values()]


def client(site: Site) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(site.mlflow, site.mlflow)


def aliases(site: Site, name: str) -> dict[str, int]:
    return {alias: int(version) for alias, version in client(site).get_registered_model(name).aliases.items()}


def resume(site: Site, run_id: str, answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = site.api(f"flow_runs/{run_id}/resume", run_input=answer)
    return found


def test_a_suspended_run_promotes_when_it_is_resumed_and_runs_no_stage_again(site: Site) -> None:
    run_id = waiting_run(site, "approved")
    assert aliases(site, "approved") == {"challenger": 1}
    assert site.processes() == []
    assert resume(site, run_id, {"approved_by": "Ada"})["status"] == "REJECT"
    assert resume(site, run_id, ANSWER)["status"] == "ACCEPT"
    state = site.finish(run_id)
    assert (state["type"], state["name"]) == ("COMPLETED", "Completed"), state
    assert state["message"].startswith("promote: approved version 1 is the champion")
    assert aliases(site, "approved") == {"champion": 1}
    assert site.tasks(run_id)["fine-tune"]["run_count"] == 1
    said = Ledger(client(site), "approved").read()[-1].content
    assert (said.action, said.reason, said.flow_run) == ("promoted by hand", ANSWER["reason"], run_id)
    assert said.who.startswith("Ada through ")


def test_a_suspended_run_that_is_cancelled_leaves_its_model_waiting(site: Site) -> None:
    run_id = waiting_run(site, "cancelled")
    site.api(f"flow_runs/{run_id}/set_state", state={"type": "CANCELLING"})
    assert site.finish(run_id, 60)["type"] == "CANCELLED"
    assert aliases(site, "cancelled") == {"challenger": 1}
