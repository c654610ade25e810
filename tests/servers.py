"""Servers that tests start for themselves, on 127.0.0.1 and ports of their own."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import run
from tuneline.leash import end_group, leashed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def postgresql(*databases: str) -> Iterator[str]:
    """HOST:PORT of a PostgreSQL with these databases, which lets the user `tuneline` in. Skips the test where there is
    no PostgreSQL."""
    if not shutil.which("initdb") or (os.geteuid() == 0 and not shutil.which("runuser")):
        pytest.skip("PostgreSQL's initdb is not on this machine")
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="tuneline-postgres-"))  # pytest's own folders are closed to other users
    folder.chmod(0o755)
    as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_owner:
        shutil.chown(folder, "postgres")
    data = str(folder / "data")
    run(*as_owner, "initdb", "-D", data, "-U", "tuneline", "--auth=trust", "-E", "UTF8", cwd=folder)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run(*as_owner, "pg_ctl", "-D", data, "-w", "-l", f"{data}/log", "-o", options, "start", cwd=folder)
    try:
        for name in databases:
            run("psql", "-h", "127.0.0.1", "-p", str(port), "-U", "tuneline", "-d", "postgres",
                "-c", f"create database {name}", cwd=folder)  # fmt: skip
        yield f"127.0.0.1:{port}"
    finally:
        run(*as_owner, "pg_ctl", "-D", data, "-m", "immediate", "stop", cwd=folder)
        shutil.rmtree(folder)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """The address of an MLflow server whose store, FOLDER/mlflow.db, and files are in a folder."""
    address = f"127.0.0.1:{(port := free_port())}"
    command = leashed(
        "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "mlartifacts"),
    )  # fmt: skip
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip
    try:
        limit = time.monotonic() + 120
        while not _answers(f"http://{address}/health"):
            assert server.poll() is None and time.monotonic() < limit, (folder / "mlflow.log").read_text()[-3000:]
            time.sleep(0.2)
        yield f"http://{address}"
    finally:
        end_group(server, 20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
