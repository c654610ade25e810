"""A real Prefect server, MLflow server and worker, on ports and folders of their own, for a toy project."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import mlflow
import psutil
import pytest
from prefect.client.base import PrefectHttpxSyncClient

from tests.conftest import make_project, run
from tests.servers import free_port
from tuneline.leash import end_group, leashed

PAGE = 200  # the most lines that Prefect gives at once
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process runs all tests of the flows, for they share the servers."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("flows"))


def until(true: Callable[[], Any], seconds: float = 120.0, what: str = "it") -> Any:
    """Wait for something to become true; the value it then has."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            found = true()
        except httpx.TransportError:
            found = None
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} seconds")


@dataclass
class Site:
    """A project with a bare origin, and the servers and worker that run its flows."""

    root: Path
    project: Path
    origin: Path
    prefect_port: int = field(default_factory=free_port)
    mlflow_port: int = field(default_factory=free_port)
    programs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def prefect(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}"

    @property
    def mlflow(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def env(self) -> dict[str, Any]:  # of strings; Any, for it is spread beside arguments of other types
        return {
            "PYTHONPATH": f"{self.project}{os.pathsep}{self.project / 'src'}",
            "TUNELINE_HOME": str(self.home),
            "TUNELINE_ORIGIN": str(self.origin),
            "PREFECT_HOME": str(self.root / "prefect"),
            "PREFECT_API_URL": f"{self.prefect}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "3",
            "MLFLOW_TRACKING_URI": self.mlflow,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **self.extra,
        }

    def start(self, name: str, *command: str, **env: str) -> None:
        with (self.root / f"{name}.log").open("ab") as log:
            self.programs[name] = subprocess.Popen(
                leashed(*command), cwd=self.project, env={**os.environ, **self.env, **env},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def start_prefect(self) -> None:
        self.start("prefect", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.prefect_port))
        until(lambda: httpx.get(f"{self.prefect}/api/health").status_code == 200, what="the Prefect server")

    def start_mlflow(self) -> None:
        self.start(
            "mlflow", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.mlflow_port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.root / 'mlflow.db'}",
            "--artifacts-destination", str(self.root / "mlartifacts"),
        )  # fmt: skip
        until(lambda: httpx.get(f"{self.mlflow}/health").status_code == 200, what="the MLflow server")

    def start_worker(self, name: str = "worker", limit: int = 4, **env: str) -> None:
        self.start(name, "prefect", "worker", "start", "--pool", "gpu", "--limit", str(limit), "--name", name, **env)

    def stop(self, name: str) -> None:
        end_group(self.programs.pop(name), 20)

    def recover(self) -> None:
        """Start what should run and does not, and stop the workers that a test brought in."""
        ended = {name for name, program in self.programs.items() if program.poll() is not None}
        for name in ended | (set(self.programs) - {"prefect", "mlflow", "worker"}):
            self.stop(name)
        starts = {"prefect": self.start_prefect, "mlflow": self.start_mlflow, "worker": self.start_worker}
        for name in starts.keys() - self.programs.keys():
            starts[name]()

    def client(self) -> PrefectHttpxSyncClient:
        """Asks again when the server says 503, which it does whenever its SQLite is locked for a while."""
        return PrefectHttpxSyncClient(base_url=f"{self.prefect}/api", timeout=30)

    def api(self, path: str, **body: Any) -> Any:
        with self.client() as client:
            return client.post(path, json=body).json()

    def get(self, path: str) -> Any:
        with self.client() as client:
            return client.get(path).json()

    def submit(self, deployment: str = "fine-tune/fine-tune", **parameters: Any) -> str:
        """The id of a new flow run, created as the UI does it."""
        found = self.get(f"deployments/name/{deployment}")
        made = self.api(
            f"deployments/{found['id']}/create_flow_run", parameters=parameters, state={"type": "SCHEDULED"}
        )
        return str(made["id"])

    def state(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"flow_runs/{run_id}")["state"]
        return found

    def finish(self, run_id: str, seconds: float = 240.0) -> dict[str, Any]:
        """The final state of a run."""
        until(lambda: self.state(run_id)["type"] in FINAL, seconds, f"the end of {run_id}\n{self.log()}")
        return self.state(run_id)

    def log(self) -> str:
        path = self.root / "worker.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def lines(self, run_id: str) -> list[str]:
        """What the run logged, in order."""
        wanted = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": PAGE}
        found: list[str] = []
        while page := self.api("logs/filter", **wanted, offset=len(found)):
            found += [line["message"] for line in page]
        return found

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Task runs by name."""
        found = self.api("task_runs/filter", flow_runs={"id": {"any_": [run_id]}}, sort="EXPECTED_START_TIME_ASC")
        return {task["name"]: task for task in found}

    def artifacts(self, run_id: str) -> dict[str, Any]:
        """Artifact data by key; the progress bars, which have none, by type."""
        found = self.api("artifacts/filter", artifacts={"flow_run_id": {"any_": [run_id]}}, limit=100)
        return {each["key"] or each["type"]: each["data"] for each in found}

    def working(self) -> dict[psutil.Process, str]:
        """All that works in a workspace of this site, with its command line."""
        return {
            process: " ".join(process.info["cmdline"] or [])
            for process in psutil.process_iter(["cmdline", "cwd"])
            if str(process.info["cwd"] or "").startswith(str(self.home / "workspaces"))
        }

    def processes(self) -> list[str]:
        """The command lines of that."""
        return list(self.working().values())

    def in_training(self, run_id: str) -> bool:
        """Whether a run is past its second epoch, so that a checkpoint of the first is whole."""
        return sum("'eval_loss'" in line for line in self.lines(run_id)) >= 2


def kill_tree(process: psutil.Process) -> None:
    """Kill a process and all that it started, at once."""
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # what has no parent any more ends by itself
            each.kill()


def make_site(root: Path, checkpoint: Path) -> Site:
    project = make_project(root / "project", checkpoint)
    origin = root / "origin.git"
    run("git", "clone", "-q", "--bare", str(project), str(origin), cwd=root)
    run("git", "remote", "add", "origin", str(origin), cwd=project)
    run("git", "fetch", "-q", "origin", cwd=project)
    return Site(root, project, origin)


@pytest.fixture(scope="session")
def shared_site(tmp_path_factory: pytest.TempPathFactory, toy_checkpoint: Path) -> Iterator[Site]:
    """Everything up and deployed, with a pair of make-believe GPUs."""
    site = make_site(tmp_path_factory.mktemp("site"), toy_checkpoint)
    site.extra = {"TUNELINE_DEVICES": "0,1"}
    try:
        site.start_prefect()
        site.start_mlflow()
        run(sys.executable, "-c", "from flows import automations; automations.set_up()", cwd=site.project, **site.env)
        run("prefect", "deploy", "--all", "--no-prompt", cwd=site.project, **site.env)
        site.start_worker("worker")
        yield site
    finally:
        for name in reversed(list(site.programs)):
            site.stop(name)


@pytest.fixture
def site(shared_site: Site) -> Site:
    """The shared site with all of it at work, whatever the test before did to it."""
    shared_site.recover()
    return shared_site


def have_champion(site: Site) -> None:
    """Train the toy's champion, where no test before has done so."""
    client = mlflow.MlflowClient(site.mlflow, site.mlflow)
    if not client.search_model_versions("name = 'toy'"):
        assert site.finish(site.submit(overrides={"train.num_train_epochs": 3}))["type"] == "COMPLETED"


def decoded(data: Any) -> Any:
    """Artifact data as it was made: tables are stored as JSON text."""
    return json.loads(data) if isinstance(data, str) and data.startswith("[") else data
