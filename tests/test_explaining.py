"""Single links of `tuneline explain`, on a real sqlite registry. tests/pipeline/test_lineage.py explains whole
versions."""

import base64
import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE
from rich.console import Console

from tuneline import diffing, explaining, promotion, rebuilding, record, registry, tracking
from tuneline.digests import file_digest
from tuneline.errors import ServerAway
from tuneline.explaining import Link
from tuneline.gate import TAG, Decision

PARAMS = "data: {name: m}\n"


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = tracking.connect()
    client.create_registered_model("m")
    return client


def add(client: MlflowClient, **tags: str) -> int:
    """A version that recorded its params and these tags, and no more."""
    run_id = client.create_run(tracking.experiment_id(client, "x")).info.run_id
    client.log_text(run_id, PARAMS, record.PARAMS)
    client.log_text(run_id, "a model", "model/MLmodel")
    file = Path("params.yaml")
    file.write_text(PARAMS)
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    tags = {record.FILES: f'{{"{record.PARAMS}": "{file_digest(file)}"}}', **tags}
    return int(client.create_model_version("m", source, run_id, tags=tags, await_creation_for=0).version)


def link(name: str, number: int) -> Link:
    return next(each for each in explaining.explain(f"m@{number}")[1] if each.name == name)


def test_a_champion_of_then_that_was_deleted_leaves_the_params_of_now_as_they_are(client: MlflowClient) -> None:
    then = add(client)
    now = add(client, **{f"{TAG}champion_version": str(then)})
    assert link("params", now).details == [f"the same as of the champion of then, version {then}"]
    client.delete_model_version("m", str(then))
    found = link("params", now)
    assert (found.state, found.details) == (
        "present", [f"those of the champion of then, version {then}, are gone or were not recorded"]
    )  # fmt: skip


def judge(client: MlflowClient, number: int, outcome: str) -> None:
    """What register does: the ledger first, then the tags."""
    version, decision = client.get_model_version("m", str(number)), Decision(outcome, "by the numbers", "accuracy", 0.9)
    with registry.registry_lock("m"):
        promotion.judge(client, version, lambda _: decision)
    for name, value in decision.tags().items():
        client.set_model_version_tag("m", str(number), name, value)


def test_a_champion_is_explained_by_the_entry_of_the_ledger_that_made_it_so(client: MlflowClient) -> None:
    first, second, third = (add(client) for _ in range(3))
    judge(client, first, "promoted")
    found = link("decision", first)
    assert found.value.startswith("promoted by ")
    assert found.value.endswith(": by the numbers")
    assert not any("register decided" in detail for detail in found.details)  # the same once more

    judge(client, second, "refused")
    assert link("decision", second).value == "refused: by the numbers"
    promotion.promote("m", second, reason="Ada looked at it", accept=["refused"], by="Ada")
    judge(client, third, "kept")  # an entry that leaves the champion as it is
    found = link("decision", second)
    assert found.value.startswith("promoted by hand by Ada through ")
    assert found.value.endswith(": Ada looked at it")
    assert found.details[0] == "register decided refused: by the numbers"

    promotion.roll_back("m", None, reason="wrong labels")
    assert link("decision", first).value.startswith("rolled back by ")
    assert link("decision", second).value == "refused: by the numbers"  # no champion any more

    client.set_registered_model_alias("m", "champion", str(third))
    found = link("decision", third)
    assert (found.state, found.value) == ("missing", "champion, by no entry of the ledger")
    assert "by other means than tuneline's" in found.advice


class Prefect(BaseHTTPRequestHandler):
    """A server that knows one flow run, and wants the login ada:s3:cret."""

    def do_GET(self) -> None:
        login = f"Basic {base64.b64encode(b'ada:s3:cret').decode()}"
        status = 401 if self.headers.get("Authorization") != login else 200 if self.path.endswith("/known") else 404
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps({"name": "gentle-otter", "state_name": "Completed"}).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", 0), Prefect) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
        yield
        server.shutdown()


@pytest.mark.usefixtures("prefect")
def test_a_flow_run_is_asked_for_with_the_login_that_prefect_has(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, gone = (add(client, **{record.FLOW_RUN: run}) for run in ("known", "gone"))
    refused = link("Prefect flow run", known)
    assert (refused.state, "set PREFECT_API_AUTH_STRING" in refused.advice) == ("not asked", True)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "ada:s3:cret")
    assert link("Prefect flow run", known).value == "gentle-otter (known), Completed"
    assert link("Prefect flow run", gone).state == "missing"


def failing(monkeypatch: pytest.MonkeyPatch, method: str, code: int) -> None:
    def fail(*_: object) -> None:
        raise MlflowException("out of order", code)

    monkeypatch.setattr(MlflowClient, method, fail)


def test_only_a_run_that_does_not_exist_is_missing(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    number = add(client)
    failing(monkeypatch, "get_run", RESOURCE_DOES_NOT_EXIST)
    assert link("MLflow run", number).state == "missing"
    failing(monkeypatch, "get_run", TEMPORARILY_UNAVAILABLE)
    with pytest.raises(ServerAway, match="does not answer"):
        link("MLflow run", number)
    failing(monkeypatch, "get_run", INTERNAL_ERROR)
    with pytest.raises(MlflowException, match="out of order"):
        link("MLflow run", number)


def test_a_server_that_goes_away_in_the_middle_is_told_by_explain_diff_and_rebuild(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, console = f"m@{add(client)}", Console(quiet=True)
    failing(monkeypatch, "get_model_version", TEMPORARILY_UNAVAILABLE)
    with pytest.raises(ServerAway):
        explaining.show(console, name, as_json=True)
    with pytest.raises(ServerAway):
        diffing.show(console, name, name, as_json=True)
    with pytest.raises(ServerAway):
        rebuilding.show(console, name, keep=False, as_json=True)
