"""Drift on a real Prefect server: what is found starts a run, and a file is compared by a flow."""

import json
import sys
from pathlib import Path
from typing import Any

from tests.conftest import run
from tests.flows.conftest import Site, have_champion, until

TELL = "from flows import events; events.drift_found('toy', version=1, data='new.csv', worst=[])"


def test_drift_trains_anew_once_its_automation_is_switched_on(site: Site) -> None:
    def started() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = site.api("flow_runs/filter", flows={"name": {"any_": ["retrain-on-drift"]}})
        return found

    [automation] = [each for each in site.api("automations/filter") if "retrain-on-drift" in json.dumps(each)]
    assert not automation["enabled"]
    with site.client() as client:
        client.patch(f"automations/{automation['id']}", json={"enabled": True}).raise_for_status()
    run(sys.executable, "-c", TELL, cwd=site.project, **site.env)
    [told] = until(started, 60, "the run on drift")
    assert told["parameters"]["model"] == "toy"
    assert site.finish(told["id"], 480)["type"] == "COMPLETED"


def test_a_file_is_compared_by_a_flow_whose_message_says_what_came_of_it(site: Site, tmp_path: Path) -> None:
    have_champion(site)
    source = tmp_path / "new.csv"
    source.write_text("review\ngood kettle number 3\nawful lamp number 4\n")
    state = site.finish(site.submit("drift/drift", model="toy", source=str(source), columns={"text": "review"}), 480)
    assert (state["type"], "new.csv: too few rows to say" in state["message"]) == ("COMPLETED", True), state
