"""`tuneline up`: a Prefect server, an MLflow server and a worker on this machine, until Ctrl-C or SIGTERM.

    start both servers  →  pool, automation, deployments  →  worker  →  wait  →  worker ends, then the servers

Each program leads a process group of its own and is tied to this process, so nothing is left behind, whatever
ends it. What they print goes to files under ~/.tuneline/logs.
"""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from urllib.request import urlopen

import click
from filelock import FileLock, Timeout

from flows import ROOT, logins
from tuneline import host, layout
from tuneline.commands import output
from tuneline.devices import devices
from tuneline.errors import PipelineError
from tuneline.leash import end_group, leashed

HEALTHY_SECONDS = 180.0
GRACE_SECONDS = 30.0
HOST_REMOTE = "runs-of-this-host"
LOCALHOST = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104  which is refused
STORE = ROOT / layout.STORE  # of the MLflow server, and of what runs without one


class UpError(PipelineError):
    """A program that does not come up or does not stay up."""


@dataclass(frozen=True)
class Settings:
    """Where the servers listen and how many runs the worker takes at a time."""

    prefect_port: int = 4200
    mlflow_port: int = 5000
    runs: int | None = None  # None: one for each GPU, two on a host without
    host: str = LOCALHOST  # another address is for others to reach, and then the servers ask for a login

    @property
    def prefect_url(self) -> str:
        return f"http://{self.host}:{self.prefect_port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://{self.host}:{self.mlflow_port}"

    @property
    def asks_for_login(self) -> bool:
        return self.host != LOCALHOST


def up(settings: Settings) -> None:
    """Bring everything up, wait for a signal, take everything down. Raises UpError."""
    _refuse_places(settings)
    os.environ.update(_environment(settings))
    automations = import_module("flows.automations")  # Prefect reads its settings when it is imported
    with _stop_signals(), _alone(), _Programs() as programs:
        programs.start("prefect-server", [
            "prefect", "server", "start", "--host", settings.host, "--port", str(settings.prefect_port),
        ])  # fmt: skip
        _make_store()
        programs.start("mlflow-server", _mlflow_server(settings))
        programs.wait_for("prefect-server", lambda: _answers(f"{settings.prefect_url}/api/health"))
        programs.wait_for("mlflow-server", lambda: _answers(f"{settings.mlflow_url}/health"))
        if settings.asks_for_login:
            logins.try_mlflow(settings.mlflow_url)
        automations.set_up()
        _share_cache()
        _deploy()
        limit = settings.runs or len(devices()) or 2
        begun = datetime.now(UTC)
        programs.start("worker", [
            "prefect", "worker", "start", "--pool", automations.POOL, "--limit", str(limit), "--name", _worker_name(),
        ])  # fmt: skip
        programs.wait_for("worker", lambda: automations.worker_heard_of(_worker_name(), since=begun))
        click.echo(
            f"Prefect  {settings.prefect_url}      runs: deployments fine-tune, nightly, retrain-on-data, "
            "retrain-on-drift, drift, score\n"
            f"MLflow   {settings.mlflow_url}      metrics and the registry\n"
            f"worker   {_worker_name()}: {limit} runs at a time; logs in {programs.logs}\n"
            "Ctrl-C ends all of it."
        )
        programs.wait()


@contextmanager
def _alone() -> Iterator[None]:
    """One `tuneline up` for one TUNELINE_HOME. Two servers on one Prefect database, on ports of their own, would both
    plan and end the same runs. Raises UpError."""
    lock = FileLock(host.lock_file("up"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UpError(
            f"Another `tuneline up` works with {host.home()}. Stop it, or set TUNELINE_HOME to another folder here."
        ) from None
    with lock:
        yield


def _environment(settings: Settings) -> dict[str, str]:
    """What the programs, and the runs under them, are told. What is set already stands."""
    host.home().mkdir(parents=True, exist_ok=True)
    defaults = {
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{host.home() / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",  # it asks an outside host
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{STORE}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 670 MB instead of 2.2 GB
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "TUNELINE_ORIGIN": str(ROOT),  # runs clone from this checkout, so its commits need no push
    }
    fixed = {
        "PREFECT_API_URL": f"{settings.prefect_url}/api",
        "PREFECT_UI_API_URL": f"{settings.prefect_url}/api",
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    login = logins.environment(settings.mlflow_url) if settings.asks_for_login else {}
    return {**{name: os.environ.get(name, value) for name, value in defaults.items()}, **fixed, **login}


def _make_store() -> None:
    """The store of the MLflow server, where it is ours and new: whole, or not there."""
    if os.environ["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{STORE}" and not STORE.exists():
        output(sys.executable, "-c", "from tuneline import tracking; tracking.make_store()", error=UpError, folder=ROOT)


def _mlflow_server(settings: Settings) -> list[str]:
    """It reads MLFLOW_BACKEND_STORE_URI itself: on a command line all users of the machine would see its password."""
    return [
        "mlflow", "server", "--host", settings.host, "--port", str(settings.mlflow_port), "--workers", "1",
        "--artifacts-destination", str(ROOT / "mlartifacts"),
        *(["--app-name", "basic-auth"] if settings.asks_for_login else []),
    ]  # fmt: skip


def _deploy() -> None:
    """`prefect deploy` of all that prefect.yaml holds, pinned to the commit that is checked out."""
    output("prefect", "deploy", "--all", "--no-prompt", error=UpError, folder=ROOT)


def _share_cache() -> None:
    """Let this checkout read what the runs made: their cache is a DVC remote of it, unless it has a remote."""
    if not output("dvc", "config", "core.remote", error=UpError, folder=ROOT):
        host.cache().mkdir(parents=True, exist_ok=True)
        remote = ("--default", HOST_REMOTE, str(host.cache()))
        output("dvc", "remote", "add", "--local", "--force", *remote, error=UpError, folder=ROOT)


def _worker_name() -> str:
    return socket.gethostname()


def _refuse_places(settings: Settings) -> None:
    """Where the servers cannot listen, or others could not be told to look."""
    if settings.host in EVERYWHERE:
        raise UpError(
            f"--host {settings.host}: stands for all addresses of this machine, and browsers and workers must be told "
            "one. Name that, as `ip -brief address` shows it."
        )
    taken = []
    for option, port in (("--prefect-port", settings.prefect_port), ("--mlflow-port", settings.mlflow_port)):
        try:
            _listen(settings.host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UpError(
                    f"--host {settings.host}: no server can listen at port {port} there ({error.strerror}). Expected "
                    "an address of this machine, as `ip -brief address` shows it."
                ) from error
            taken.append(f"port {port} of {settings.host} is in use. Stop what listens there, or choose with {option}.")
    if taken:
        raise UpError("\n".join(taken))


def _listen(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5) as reply:  # noqa: S310  our own server
            return bool(reply.status == 200)
    except OSError:
        return False


class _Stopped(BaseException):
    """SIGINT or SIGTERM came."""


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into a quiet end; later ones do not disturb it."""

    def stop(number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Stopped:
        click.echo("stopped")
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Programs:
    """Programs that come up in order and go down in reverse."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.logs = host.home() / "logs"

    def __enter__(self) -> "_Programs":
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *failure: object) -> None:
        for name in reversed(list(self.running)):
            end_group(self.running[name], GRACE_SECONDS)

    def start(self, name: str, command: Sequence[str]) -> None:
        with (self.logs / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                leashed(*command), cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def wait_for(self, name: str, ready: Callable[[], bool]) -> None:
        """Until the program is ready. Raises UpError with its last words when it ends or takes too long."""
        limit = time.monotonic() + HEALTHY_SECONDS
        while not ready():
            self._refuse_ended()
            if time.monotonic() > limit:
                raise UpError(f"{name} is not ready after {HEALTHY_SECONDS:.0f} seconds:\n{self._last_words(name)}")
            time.sleep(0.5)

    def wait(self) -> None:
        """Until a program ends by itself, which is an error, or a signal comes."""
        while True:
            self._refuse_ended()
            time.sleep(1)

    def _refuse_ended(self) -> None:
        for name, program in self.running.items():
            if program.poll() is not None:
                raise UpError(f"{name} ended with exit code {program.returncode}:\n{self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        return _tail((self.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace"))


def _tail(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines()[-15:])
