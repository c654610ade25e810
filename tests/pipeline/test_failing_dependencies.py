"""Servers, remotes and the hub that are away, slow, out of order or full: the right end, or an error that names the
cause, and the same command goes on when they are back."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import change, run
from tests.pipeline.test_pipeline import registration, repro
from tests.servers import mlflow_server, postgresql_server, proxy
from tuneline import curves, layout, ledger, tracking
from tuneline.errors import ServerAway
from tuneline.params import read_params
from tuneline.stages import register

pytestmark = pytest.mark.slow
Copy = Callable[[Path], Path]
NOWHERE = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "mlflow.db")
    with mlflow_server(folder) as address:
        yield address


@pytest.fixture
def unregistered(copied: Copy, tmp_path: Path) -> Path:
    """A project that is finished, but for what register does."""
    project = copied(tmp_path / "project")
    (project / "data/reports/registration.json").unlink()
    return project


def called(project: Path, name: str) -> None:
    """Give the model of a project a name of its own in the registry."""
    change(project / "params.yaml", "register:\n  name: toy", f"register:\n  name: {name}")


def versions(address: str, name: str) -> list[int]:
    found = MlflowClient(address, address).search_model_versions(f"name = '{name}'")
    return [int(each.version) for each in found]


def assert_whole(address: str, project: Path) -> None:
    """The run of a project's version: finished, marked as whole, with every point of its curve. No other is open."""
    client = MlflowClient(address, address)
    found = client.get_run(str(registration(project)["run_id"]))
    assert (found.info.status, found.data.tags[tracking.COMPLETE]) == ("FINISHED", "yes")
    points = client.get_metric_history(found.info.run_id, "train_loss")
    wanted = [point["train_loss"] for point in curves.read(project / layout.LEARNING_CURVE) if "train_loss" in point]
    assert [point.value for point in points] == pytest.approx(wanted)
    digest = found.data.tags[tracking.DIGEST]
    others = client.search_runs([found.info.experiment_id], f"tags.`{tracking.DIGEST}` = '{digest}'")
    assert {each.info.status for each in others} == {"FINISHED"}


def test_a_server_that_answers_500_in_mid_run_costs_no_training(copied: Copy, tmp_path: Path, server: str) -> None:
    project = copied(tmp_path / "project")
    called(project, "five-hundred")
    change(project / "params.yaml", "learning_rate: 0.005", "learning_rate: 0.006")
    with proxy(server) as front:
        front.fault = lambda _: "500" if sum("log-batch" in each for each in front.seen) > 3 else None
        done = run("dvc", "repro", cwd=project, check=False, MLFLOW_TRACKING_URI=front.address)
        assert "exited with 75" in done.stderr
        assert "Metrics are kept and replayed by register" in done.stderr
        assert f"MLflow at {front.address} answers with errors" in done.stderr
        assert "500 error responses" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        front.fault = lambda _: None
        assert repro(project, MLFLOW_TRACKING_URI=front.address) == ["register"]
    assert_whole(server, project)
    assert versions(server, "five-hundred") == [1]


def test_a_server_that_hangs_is_given_up_and_training_goes_on(copied: Copy, tmp_path: Path, server: str) -> None:
    project = copied(tmp_path / "project")
    shutil.rmtree(project / ".tuneline/checkpoints")
    with proxy(server) as front:
        front.fault = lambda request: "slow" if "log-batch" in request else None
        done = run("tuneline", "stage", "fine-tune", cwd=project, MLFLOW_TRACKING_URI=front.address,
                   MLFLOW_HTTP_REQUEST_TIMEOUT="1")  # fmt: skip
    assert "Metrics are kept and replayed by register" in done.stderr
    assert sum("log-batch" in each for each in front.seen) <= 3  # one request, tried three times
    assert "fine-tune: 56 steps" in done.stdout
    assert run("git", "status", "--short", "dvc.lock", cwd=project).stdout == ""


@pytest.mark.parametrize("fault", ["cut", "503"])
def test_register_goes_on_wherever_the_server_went_away(
    unregistered: Path, server: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called(unregistered, f"cut-{fault}")
    monkeypatch.chdir(unregistered)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    params = read_params(*register.SECTIONS)
    known: set[str] = set()
    with proxy(server) as front:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", front.address)

        def fails_at_each_kind_once(request: str) -> str | None:
            kind = re.sub(r"[0-9a-f]{32}.*|\?.*", "", request)
            new = kind not in known
            known.add(kind)
            if new:
                front.fault = lambda _: fault  # and from here on it is away
            return fault if new else None

        for _ in range(60):
            front.fault = fails_at_each_kind_once
            try:
                register.run(params)
                break
            except ServerAway as error:
                assert "the same command again: nothing that was trained is lost" in str(error)
                assert len(re.findall("does not answer|answers with errors", str(error))) == 1
    assert len(known) > 15
    assert versions(server, f"cut-{fault}") == [1]
    assert registration(unregistered)["decision"]["outcome"] == "promoted"  # type: ignore[index]
    assert_whole(server, unregistered)
    assert "is whole" in run("tuneline", "history", f"cut-{fault}", cwd=unregistered, MLFLOW_TRACKING_URI=server).stdout


def test_a_database_that_is_restarted_in_mid_run_gets_every_point(
    unregistered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgresql_server("mlflow") as database:
        uri = f"postgresql+psycopg://tuneline@{database.address}/mlflow"
        monkeypatch.chdir(unregistered)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        training = json.loads(layout.TRAINING.read_text())
        params = read_params(*register.SECTIONS)
        curve = curves.read(layout.LEARNING_CURVE)
        live = tracking.LiveRun("tuneline", training["inputs_digest"], params.dump(), layout.STATE / "points.jsonl")
        for number, point in enumerate(curve):
            if number == len(curve) // 2:
                database.stop()
                database.start()
            live.log(point)
        live.finish(curve)
        database.stop()
        with pytest.raises(ServerAway, match="does not answer"):
            register.run(params)
        database.start()
        register.run(params)
        assert versions(uri, "toy") == [1]
        assert_whole(uri, unregistered)


def test_a_dvc_remote_that_is_away_is_named_in_push_and_pull(copied: Copy, tmp_path: Path) -> None:
    project = copied(tmp_path / "project")
    run("dvc", "remote", "add", "--local", "--default", "storage", NOWHERE, cwd=project)
    pushed = run("tuneline", "data", "push", "toy", cwd=project, check=False)
    assert pushed.returncode == 2
    assert "dvc push data/raw/toy.dvc ended with exit code" in pushed.stderr
    pulled = run("dvc", "pull", cwd=project, check=False)
    stage = run(
        "python", "flows/repro.py", "validate", cwd=project, PYTHONPATH=str(project), TUNELINE_HOME=str(tmp_path)
    )
    assert "Traceback" not in pushed.stderr + pulled.stderr + stage.stderr
    run("dvc", "remote", "modify", "--local", "storage", "url", str(tmp_path / "storage"), cwd=project)
    run("dvc", "push", cwd=project)
    shutil.rmtree(project / ".dvc/cache")
    shutil.rmtree(project / "data/model")
    run("dvc", "pull", cwd=project)
    assert repro(project) == ["register"]
    assert registration(project)["version"] == 1


def test_a_prefect_server_that_is_away_is_named_and_the_data_are_pushed(copied: Copy, tmp_path: Path) -> None:
    project = copied(tmp_path / "project")
    run("dvc", "remote", "add", "--local", "--default", "storage", str(tmp_path / "storage"), cwd=project)
    env = {"PREFECT_API_URL": f"{NOWHERE}/api", "PREFECT_CLIENT_MAX_RETRIES": "0", "PYTHONPATH": str(project)}
    done = run("tuneline", "data", "push", "toy", cwd=project, check=False, **env)
    assert done.returncode == 2
    assert NOWHERE in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert list((tmp_path / "storage").rglob("*.dir"))


@pytest.mark.parametrize(
    "command", [("tuneline", "stage", "tokenize"), ("tuneline", "data", "add", "x", "hf://datasets/nobody/nothing")]
)
def test_a_hub_that_cannot_be_reached_is_named(copied: Copy, tmp_path: Path, command: tuple[str, ...]) -> None:
    project = copied(tmp_path / "project")
    change(project / "params.yaml", "checkpoint: checkpoint", "checkpoint: nobody/nothing")
    env = {"HF_ENDPOINT": NOWHERE, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hub")}
    done = run(*command, cwd=project, check=False, **env)
    assert done.returncode == 2
    assert "hub" in done.stderr
    assert "network" in done.stderr
    assert "HF_HUB_OFFLINE is set" not in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    change(project / "params.yaml", "checkpoint: nobody/nothing", "checkpoint: checkpoint")
    assert run("dvc", "status", "tokenize", cwd=project).stdout.strip().endswith("up to date.")


@dataclass(frozen=True)
class Newer(ledger.Content):
    """An entry as a later tuneline may write it."""

    approved_by: str = "ada"


def test_what_a_newer_tuneline_wrote_is_read_or_refused_with_a_reason(
    copied: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copied(tmp_path / "project")
    monkeypatch.chdir(project)
    client = tracking.connect()
    client.set_model_version_tag("toy", "1", "tuneline.energy", "3 kWh")
    client.set_model_version_tag("toy", "1", "tuneline.decision.outcome", "praised")
    book = ledger.Ledger(client, "toy")
    [first] = book.read()
    second = {"sequence": 2, "action": "praised", "champion_before": 1, "previous": first.seal}
    book.finish(book.announce(Newer(**{**asdict(first.content), **second})))
    change(project / "params.yaml", "learning_rate: 0.005", "learning_rate: 0.0000002")
    assert repro(project) == ["fine-tune", "evaluate", "register"]
    assert (registration(project)["version"], registration(project)["decision"]["outcome"]) == (2, "kept")  # type: ignore[index]
    assert "version 2 is the champion" in run("tuneline", "promote", "toy", "2", "--reason", "x", cwd=project).stdout
    for command in ("models", "models toy", "diff toy@1 toy@2"):
        run("tuneline", *command.split(), cwd=project)
    history = run("tuneline", "history", "toy", cwd=project, check=False)
    assert history.returncode == 2
    assert "broken: entry 2 holds approved_by, which this tuneline does not know: a newer one" in history.stdout
    assert history.stdout.count("broken:") == 1
