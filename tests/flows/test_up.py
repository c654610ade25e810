"""`tuneline up`: everything a run needs on one machine, on sqlite and on PostgreSQL, and nothing left of it."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from tests.conftest import run
from tests.flows.conftest import Site, make_site, until
from tests.servers import postgresql

pytestmark = pytest.mark.slow
PASSWORD = "s3cret"  # of the databases


@pytest.fixture
def site(tmp_path: Path, toy_checkpoint: Path) -> Iterator[Site]:
    site = make_site(tmp_path, toy_checkpoint)
    site.extra = {"PREFECT_API_URL": "", "MLFLOW_TRACKING_URI": ""}  # nothing is told that `up` should find itself
    yield site
    for name in list(site.programs):
        site.stop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment that names the databases: nothing for sqlite."""
    if request.param == "sqlite":
        yield {}
        return
    with postgresql("prefect", "mlflow") as address:
        yield {
            "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://tuneline:{PASSWORD}@{address}/prefect",
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://tuneline:{PASSWORD}@{address}/mlflow",
        }


def command(site: Site, *options: str) -> list[str]:
    ports = ("--prefect-port", str(site.prefect_port), "--mlflow-port", str(site.mlflow_port))
    return ["tuneline", "up", *ports, *options]


def start(site: Site, *options: str) -> None:
    log = site.root / "up.log"
    log.unlink(missing_ok=True)
    site.start("up", *command(site, *options))
    until(lambda: "Ctrl-C ends" in log.read_text() or site.programs["up"].poll() is not None, 180, "the start")
    assert site.programs["up"].poll() is None, log.read_text()


def offspring(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_up_runs_a_flow_and_leaves_no_process_behind(site: Site, database: dict[str, str]) -> None:
    site.extra |= database
    start(site)
    children = offspring(site.programs["up"])
    listening = {c.laddr.ip for child in children for c in child.net_connections("tcp") if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    assert [child for child in children if PASSWORD in " ".join(child.cmdline())] == []
    run_id = site.submit(overrides={"train.num_train_epochs": 2})
    state = site.finish(run_id)
    assert state["type"] == "COMPLETED", state
    experiments = run("git", "for-each-ref", "--format=%(refname)", "refs/exps", cwd=site.origin).stdout
    assert site.get(f"flow_runs/{run_id}")["name"] in experiments
    assert "runs-of-this-host" in run("dvc", "remote", "list", cwd=site.project).stdout
    site.programs["up"].send_signal(signal.SIGTERM)
    assert site.programs["up"].wait(60) == 0
    assert [child for child in children if child.is_running() and child.status() != "zombie"] == []


def test_up_twice_makes_one_of_each_and_ctrl_c_in_mid_run_ends_the_training(site: Site) -> None:
    start(site)
    site.programs["up"].send_signal(signal.SIGINT)
    assert site.programs["up"].wait(60) == 0
    start(site)
    automations = [each["name"] for each in site.api("automations/filter", sort="CREATED_DESC")]
    assert len(automations) == len(set(automations))
    assert len(site.api("work_pools/filter")) == 1
    planned = [each["name"] for each in YAML(typ="safe").load(site.project / "prefect.yaml")["deployments"]]
    assert sorted(each["name"] for each in site.api("deployments/filter")) == sorted(planned)
    run_id = site.submit(overrides={"train.num_train_epochs": 500, "train.early_stopping_patience": 1000})
    until(lambda: site.in_training(run_id), 120, "training")
    children = offspring(site.programs["up"])
    site.programs["up"].send_signal(signal.SIGINT)
    assert site.programs["up"].wait(60) == 0
    assert [child for child in children if child.is_running() and child.status() != "zombie"] == []
    assert site.processes() == []


def test_up_that_is_killed_leaves_nothing_either(site: Site) -> None:
    start(site)
    children = offspring(site.programs["up"])
    site.programs.pop("up").kill()
    until(lambda: not [child for child in children if child.is_running()], 60, f"the end of {children}")


LOGIN = {
    "PREFECT_SERVER_API_AUTH_STRING": "ada:a secret of Prefect",
    "MLFLOW_TRACKING_USERNAME": "ada",
    "MLFLOW_TRACKING_PASSWORD": "a secret of MLflow",
}


def test_servers_that_others_reach_ask_for_a_login(site: Site) -> None:
    """127.0.0.2 stands for an address that others reach."""
    address = "127.0.0.2"
    prefect, mlflow = f"http://{address}:{site.prefect_port}/api", f"http://{address}:{site.mlflow_port}"
    site.extra |= LOGIN
    start(site, "--host", address)
    children = offspring(site.programs["up"])
    listening = {c.laddr.ip for child in children for c in child.net_connections("tcp") if c.status == "LISTEN"}
    assert address in listening <= {address, "127.0.0.1"}
    assert [child for child in children if "secret" in " ".join(child.cmdline())] == []

    searched = {"max_results": 1}
    assert httpx.post(f"{prefect}/flows/filter", json={}).status_code == 401
    assert httpx.get(f"{mlflow}/api/2.0/mlflow/experiments/search", params=searched).status_code == 401
    assert httpx.get(f"{mlflow}/api/2.0/mlflow-artifacts/artifacts", params={"path": "x"}).status_code == 401
    own = {"Origin": mlflow}  # as the pages of MLflow ask
    login = ("ada", LOGIN["MLFLOW_TRACKING_PASSWORD"])
    found = httpx.post(f"{mlflow}/ajax-api/2.0/mlflow/runs/search", json=searched, headers=own, auth=login)
    assert found.status_code != 403, found.text

    told = {"PREFECT_API_URL": prefect, "PREFECT_API_AUTH_STRING": LOGIN["PREFECT_SERVER_API_AUTH_STRING"]}
    asked = ["--watch", "--param", 'overrides={"train.num_train_epochs": 2}']
    done = run("prefect", "deployment", "run", "fine-tune/fine-tune", *asked, cwd=site.project, check=False,
               **{**site.env, **told})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    models = run("tuneline", "models", "--json", cwd=site.project, **{**site.env, "MLFLOW_TRACKING_URI": mlflow})
    assert [model["model"] for model in json.loads(models.stdout)] == ["toy"]

    site.programs["up"].send_signal(signal.SIGTERM)
    assert site.programs.pop("up").wait(60) == 0
    other = {**site.env, "MLFLOW_TRACKING_PASSWORD": "another secret"}
    refused = run(*command(site, "--host", address), cwd=site.project, check=False, **other)
    assert (refused.returncode, "MLflow does not take MLFLOW_TRACKING_PASSWORD of ada" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "login", "said"),
    [
        (["--host", "127.0.0.2"], {**LOGIN, "MLFLOW_TRACKING_PASSWORD": ""}, "MLFLOW_TRACKING_PASSWORD is not set"),
        (["--host", "0.0.0.0"], LOGIN, "stands for all addresses"),
        (["--host", "192.0.2.1"], LOGIN, "Expected an address of this machine"),
        (["--host", "no.such.name.invalid"], LOGIN, "Expected an address of this machine"),
    ],
)
def test_an_address_without_a_login_or_of_no_use_is_refused(
    site: Site, options: list[str], login: dict[str, str], said: str
) -> None:
    site.extra |= login
    done = run(*command(site, *options), cwd=site.project, check=False, **site.env)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told_with_the_option_that_changes_it(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", site.mlflow_port))
        taken.listen()
        done = run(*command(site), cwd=site.project, check=False, **site.env)
    assert done.returncode == 2
    assert f"port {site.mlflow_port}" in done.stderr
    assert "--mlflow-port" in done.stderr


def test_a_second_up_on_the_same_home_is_refused(site: Site) -> None:
    lock = site.home / "locks/up.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):  # as the first one holds it
        done = run(*command(site), cwd=site.project, check=False, **site.env)
    assert done.returncode == 2
    assert f"Another `tuneline up` works with {site.home}" in done.stderr


def test_a_server_that_does_not_come_up_is_quoted(site: Site) -> None:
    site.extra["MLFLOW_BACKEND_STORE_URI"] = "nonsense://x"
    done = run(*command(site), cwd=site.project, check=False, **site.env)
    assert done.returncode == 2
    assert "mlflow-server" in done.stderr
    assert "Traceback" not in done.stderr.partition("mlflow-server")[0]
