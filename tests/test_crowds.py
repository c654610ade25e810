"""Many at once, and a long history: nothing is lost, and what is told is right."""

import json
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from benchmarks.history import CHAMPIONS, make_history
from benchmarks.history import MODEL as LONG
from tests.servers import mlflow_server, postgresql
from tests.test_promotion import PROCESSES, better, code_of, start, whole
from tuneline import promotion, registry, tracking
from tuneline.cli import cli
from tuneline.digests import model_digest
from tuneline.promotion import JUDGED
from tuneline.transaction import pointed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server on PostgreSQL, which several hosts may share."""
    with postgresql("mlflow") as database:
        store = f"postgresql+psycopg://tuneline@{database}/mlflow"
        with mlflow_server(tmp_path_factory.mktemp("server"), store) as address:
            yield address


@pytest.fixture
def shared(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return tracking.connect()


def in_file(empty_store: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A store of its own in a folder, which becomes the current one."""
    monkeypatch.chdir(folder)
    shutil.copy(empty_store, folder / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    return tracking.connect()


@pytest.fixture
def local(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return in_file(empty_store, tmp_path, monkeypatch)


@pytest.fixture
def quick(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """A file in memory, where there is such a place: most of what thousands of small writes take is the disk's."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield in_file(empty_store, Path(folder), monkeypatch)


# -- at once ----------------------------------------------------------------------------------------------------------


def registers(name: str, go: Any, folder: Path, host: str | None) -> None:
    """What the stage does under its lock with a model folder: run, version, decision. host: as if this process were
    there, out of the lock's reach."""
    if host:
        socket.gethostname = lambda: host
        registry.registry_lock = lambda name: nullcontext()
    go.wait()
    client, digest = tracking.connect(), model_digest(folder)
    with registry.registry_lock(name):
        experiment = tracking.experiment_id(client, "tuneline")
        curve = [{"step": 1, "epoch": 1.0, "train_loss": 0.5}]
        run_id = tracking.ensure_run(client, experiment, digest, {"train": {"seed": folder.name}}, curve)
        version, _ = registry.ensure_version(client, name, run_id, folder, digest, {tracking.DIGEST: digest})
        promotion.judge(client, version, partial(better, version))


def model_folder(place: Path, number: int) -> Path:
    folder = place / str(number)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"number": number}))
    return folder


def all_register_at_once(client: MlflowClient, name: str, place: Path, count: int, *, hosts: bool = False) -> None:
    """So many processes, on one host or on as many, each with a model of its own. On one host the last tenth have the
    models of the first tenth: two hosts with the very same one may make a version each."""
    again = 0 if hosts else count // 10
    folders = [model_folder(place, number) for number in range(count - again)]
    go = PROCESSES.Event()
    processes = [
        start(registers, name, go, folder, f"host-{number}" if hosts else None)
        for number, folder in enumerate([*folders, *folders[:again]])
    ]
    go.set()
    assert [code_of(process) for process in processes] == [0] * count
    versions, entries = registry.versions(client, name), whole(client, name)
    assert sorted(int(version.version) for version in versions) == list(range(1, len(versions) + 1))
    digests = [version.tags[registry.MODEL_DIGEST] for version in versions]
    assert set(digests) == {model_digest(folder) for folder in folders}
    assert len(versions) == len(folders)
    for version in versions:
        run = client.get_run(str(version.run_id))
        assert (run.data.tags[tracking.COMPLETE], run.info.status) == ("yes", "FINISHED")
    assert registry.missing(client, versions) == {}
    assert {entry.content.version for entry in entries} == {int(version.version) for version in versions}
    assert {entry.content.action for entry in entries} <= set(JUDGED)
    assert pointed(client, name)[0].champion == max(e.content.version or 0 for e in entries if e.status == "FINISHED")


@pytest.mark.torture
def test_a_hundred_registrations_at_once_on_a_server_lose_nothing(shared: MlflowClient, tmp_path: Path) -> None:
    all_register_at_once(shared, "hundred", tmp_path, 100)


def test_twenty_registrations_at_once_in_a_file_lose_nothing(local: MlflowClient, tmp_path: Path) -> None:
    all_register_at_once(local, "twenty", tmp_path, 20)


@pytest.mark.torture
def test_hosts_that_register_at_once_lose_nothing(shared: MlflowClient, tmp_path: Path) -> None:
    all_register_at_once(shared, "hosts", tmp_path, 10, hosts=True)


# -- a long history ---------------------------------------------------------------------------------------------------


def tuneline(*arguments: str) -> Any:
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


@pytest.mark.torture
def test_after_a_thousand_runs_and_two_hundred_versions_every_answer_is_right(
    quick: MlflowClient, tmp_path: Path
) -> None:
    make_history(quick, 1000, 200)
    experiment, last = tracking.experiment_id(quick, "tuneline"), 200 - CHAMPIONS + 1
    for number in (0, 500, 999):
        run = tracking.find_run(quick, experiment, f"digest-{number}")
        assert run is not None
        assert run.info.run_name == f"run {number}"
    assert tracking.find_run(quick, experiment, "digest-1000") is None
    for number in (0, 100, 199):
        version = registry.find_version(quick, LONG, f"model-{number}")
        assert version is not None
        assert (int(version.version), registry.runs_of_versions(quick, f"digest-{number}")) == (
            number + 1, {version.run_id},
        )  # fmt: skip
    [model] = tuneline("models")
    assert (model["versions"], model["champion"]) == (200, last)
    versions = tuneline("models", LONG)
    assert [version["version"] for version in versions] == list(range(200, 0, -1))
    assert [version["outcome"] for version in reversed(versions)] == ["promoted", "kept", "kept", "kept"] * 50
    assert {version["missing"] for version in versions} == {None}
    history = tuneline("history", LONG)
    assert (len(history["entries"]), history["problems"], history["notes"]) == (200, [], [])

    folder = model_folder(tmp_path, 1000)
    registers(LONG, type("Now", (), {"wait": lambda self: None})(), folder, None)
    assert pointed(quick, LONG)[0].champion == 201
    assert promotion.roll_back(LONG, None, reason="as before").startswith(f"{LONG} version {last} is the champion")
    assert len(whole(quick, LONG)) == 202
