"""The champion alias on a real sqlite registry."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tuneline import registry, tracking
from tuneline.digests import model_digest
from tuneline.errors import Diverged, ServerAway, TrackingError

DIGEST = "d" * 64
CURVE = [{"step": 1, "epoch": 0.5, "train_loss": 0.7}, {"step": 2, "epoch": 1.0, "train_loss": 0.5}]


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")  # MLflow sets it: restore it
    return tracking.connect()


def version(client: MlflowClient, tmp_path: Path, digest: str, score: float) -> registry.ModelVersion:
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(digest)
    run_id = tracking.ensure_run(client, tracking.experiment_id(client, "x"), DIGEST, {}, CURVE)
    tags = {tracking.DIGEST: DIGEST, **registry.score_tags({"accuracy": score}, "test")}
    return registry.ensure_version(client, "m", run_id, folder, digest, tags)[0]


def test_the_same_model_twice_makes_one_version(client: MlflowClient, tmp_path: Path) -> None:
    assert version(client, tmp_path, "a", 0.5).version == version(client, tmp_path, "a", 0.5).version


def test_a_version_keeps_its_run_when_the_same_inputs_gave_other_bytes(client: MlflowClient, tmp_path: Path) -> None:
    first = version(client, tmp_path, "a", 0.5)
    taken = registry.runs_of_versions(client, DIGEST)
    assert taken == {first.run_id}
    place = tracking.experiment_id(client, "x")
    other = tracking.ensure_run(client, place, DIGEST, {}, CURVE, taken)
    assert other != first.run_id
    assert tracking.ensure_run(client, place, DIGEST, {}, CURVE, taken) == other


def test_each_point_of_a_curve_is_in_the_run_once(client: MlflowClient) -> None:
    place = tracking.experiment_id(client, "x")
    first = tracking.ensure_run(client, place, DIGEST, {"train": {"seed": 0}}, CURVE)
    assert tracking.ensure_run(client, place, DIGEST, {}, CURVE) == first
    assert [point.value for point in client.get_metric_history(first, "train_loss")] == [0.7, 0.5]
    assert client.get_run(first).data.params == {"train.seed": "0"}


def test_a_live_run_that_lost_its_server_is_brought_back_whole(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    live = tracking.LiveRun("x", DIGEST, {}, tmp_path / "points.jsonl")
    live.log(CURVE[0])
    monkeypatch.setattr(live, "client", MlflowClient("http://127.0.0.1:9"))
    live.log(CURVE[1])
    live.finish(CURVE)
    assert "replayed by register" in capfd.readouterr().err
    assert len((tmp_path / "points.jsonl").read_text().splitlines()) == 2
    run_id = tracking.ensure_run(client, tracking.experiment_id(client, "x"), DIGEST, {}, CURVE)
    assert [point.value for point in client.get_metric_history(run_id, "train_loss")] == [0.7, 0.5]


def test_a_run_that_another_host_completes_while_it_is_cleared_away_stays(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = tracking.experiment_id(client, "x")
    run_id, delete = tracking._start_run(client, experiment, DIGEST, {}), client.delete_run

    def completed_just_before(run_id: str) -> None:
        tracking._finish_run(client, run_id, CURVE)
        delete(run_id)

    monkeypatch.setattr(client, "delete_run", completed_just_before)
    found = tracking.find_run(client, experiment, DIGEST)
    assert found is not None
    assert (found.info.run_id, found.info.lifecycle_stage) == (run_id, "active")


def test_a_training_that_diverges_leaves_a_failed_run(client: MlflowClient, tmp_path: Path) -> None:
    live = tracking.LiveRun("x", DIGEST, {}, tmp_path / "points.jsonl")
    run_id = live.run_id
    with pytest.raises(Diverged), live.failed_by(Diverged):
        raise Diverged("the training has run away")
    assert client.get_run(run_id).info.status == "FAILED"


def test_a_live_run_leaves_a_read_only_store_as_it_is(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short = tracking.LiveRun("x", DIGEST, {}, tmp_path / "points.jsonl").run_id
    monkeypatch.setenv(tracking.READ_ONLY, "yes")
    for experiment in ("x", "new"):
        live = tracking.LiveRun(experiment, DIGEST, {}, tmp_path / f"{experiment}.jsonl")
        live.log(CURVE[0])
        live.finish(CURVE)
    assert client.get_experiment_by_name("new") is None
    [run] = client.search_runs([tracking.experiment_id(client, "x")])
    assert (run.info.run_id, run.info.status, run.data.metrics) == (cut_short, "RUNNING", {})
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 1


def test_a_resumed_run_gets_the_points_from_before_the_cut(client: MlflowClient, tmp_path: Path) -> None:
    live = tracking.LiveRun("x", DIGEST, {}, tmp_path / "points.jsonl")
    live.log(CURVE[1])
    live.finish(CURVE)
    points = client.get_metric_history(live.run_id, "train_loss")
    assert sorted((point.step, point.value) for point in points) == [(1, 0.7), (2, 0.5)]


def test_a_server_that_goes_away_in_the_middle_can_be_tried_again(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MlflowException, match="not found"), tracking.answering():
        client.get_run("0" * 32)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ServerAway, match="does not answer"), tracking.answering():
        MlflowClient("http://127.0.0.1:9").get_run("0" * 32)


def test_a_run_that_another_host_deletes_meanwhile_can_be_made_again(client: MlflowClient) -> None:
    run_id = client.create_run(tracking.experiment_id(client, "tuneline")).info.run_id
    client.delete_run(run_id)
    with pytest.raises(ServerAway, match=r"deleted a run meanwhile.*Another process"), tracking.answering():
        client.log_metric(run_id, "accuracy", 0.5)


def test_a_dead_server_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    with pytest.raises(TrackingError, match="does not answer") as caught:
        tracking.connect()
    assert "secret" not in str(caught.value).partition(":")[0] + str(caught.value).split("does not")[0]


def test_a_registered_model_has_the_card_it_was_given_and_its_source_stays_as_it_was(
    client: MlflowClient, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    (cache / "code").mkdir(parents=True)
    for name in ("README.md", "MLmodel", "code/a.py"):
        (cache / name).write_text(f"{name} of training")
        (cache / name).chmod(0o444)  # as DVC keeps what it links to
    folder = tmp_path / "linked"
    (folder / "code").mkdir(parents=True)
    for name in ("README.md", "MLmodel", "code/a.py"):
        (folder / name).symlink_to(cache / name)
    run_id = tracking.ensure_run(client, tracking.experiment_id(client, "x"), DIGEST, {}, CURVE)
    digest = model_digest(folder)
    registry.ensure_version(client, "m", run_id, folder, digest, {}, "the whole card")
    name, held = registry.fetched("models:/m/1")  # its digest is looked at
    assert name == "models:/m/1"
    assert (held / "README.md").read_text() == "the whole card"
    assert (held / "code/a.py").read_text() == "code/a.py of training"
    assert (cache / "README.md").read_text() == "README.md of training"
