"""Drift on a real Prefect server: a file is compared by a flow, and what is found starts a run."""

import json
import sys
from pathlib import Path

from tests.conftest import run
from tests.flows.conftest import Site, until

TELL = "from flows import events; events.drift_found('toy', version=1, data='new.csv', worst=[])"


def started(site: Site) -> list[dict[str, object]]:
    found: list[dict[str, object]] = site.api("flow_runs/filter", flows={"name": {"any_": ["retrain-on-drift"]}})
    return found


def test_a_file_is_compared_and_drift_trains_anew_once_its_automation_is_switched_on(
    site: Site, tmp_path: Path
) -> None:
    assert site.finish(site.submit(overrides={"train.num_train_epochs": 1}))["type"] == "COMPLETED"
    source = tmp_path / "new.csv"
    source.write_text("review\ngood kettle number 3\nawful lamp number 4\n")
    state = site.finish(site.submit("drift/drift", model="toy", source=str(source), columns={"text": "review"}))
    assert (state["type"], "new.csv: too few rows to say" in state["message"]) == ("COMPLETED", True), state

    [automation] = [each for each in site.api("automations/filter") if "retrain-on-drift" in json.dumps(each)]
    assert not automation["enabled"]
    with site.client() as client:
        client.patch(f"automations/{automation['id']}", json={"enabled": True}).raise_for_status()
    run(sys.executable, "-c", TELL, cwd=site.project, **site.env)
    [told] = until(lambda: started(site), 60, "the run on drift")
    assert told["parameters"]["model"] == "toy"  # type: ignore[index]
    assert site.finish(str(told["id"]))["type"] == "COMPLETED"
