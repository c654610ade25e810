"""Single links of `tuneline explain`, on a real sqlite registry. tests/pipeline/test_lineage.py explains whole
versions."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tuneline import explaining, record, tracking
from tuneline.digests import file_digest
from tuneline.explaining import Link
from tuneline.gate import TAG

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
