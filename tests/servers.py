"""Servers that tests start for themselves, on 127.0.0.1 and ports of their own."""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


@dataclass
class PostgreSQL:
    """A server with its data in a folder."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def make(self, *databases: str) -> None:
        """Its data, and it starts."""
        as_owner(self.folder, "initdb", "-D", f"{self.folder}/data", "-U", "tuneline", "--auth=trust", "-E", "UTF8")
        self.start()
        for name in databases:
            run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "tuneline", "-d", "postgres",
                "-c", f"create database {name}", cwd=self.folder)  # fmt: skip

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._control("-w", "-l", f"{self.folder}/data/log", "-o", options, "start")

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def _control(self, *arguments: str) -> None:
        as_owner(self.folder, "pg_ctl", "-D", f"{self.folder}/data", *arguments)


def as_owner(folder: Path, *command: str) -> None:
    """Run a command of PostgreSQL, which refuses root."""
    run(*(["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []), *command, cwd=folder)


@contextmanager
def postgresql_server(*databases: str) -> Iterator[PostgreSQL]:
    """A PostgreSQL with these databases, which lets the user `tuneline` in. Skips the test where there is none."""
    if not shutil.which("initdb") or (os.geteuid() == 0 and not shutil.which("runuser")):
        pytest.skip("PostgreSQL's initdb is not on this machine")
    folder = Path(tempfile.mkdtemp(prefix="tuneline-postgres-"))  # pytest's own folders are closed to other users
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    server = PostgreSQL(folder, free_port())
    server.make(*databases)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@contextmanager
def postgresql(*databases: str) -> Iterator[str]:
    """HOST:PORT of a PostgreSQL with these databases, see postgresql_server."""
    with postgresql_server(*databases) as server:
        yield server.address


@contextmanager
def mlflow_server(folder: Path, store: str | None = None) -> Iterator[str]:
    """The address of an MLflow server whose files are in a folder, and its store too, FOLDER/mlflow.db, where no other
    is named."""
    address = f"127.0.0.1:{(port := free_port())}"
    command = leashed(
        "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", store or f"sqlite:///{folder / 'mlflow.db'}",
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


Fault = Callable[
    [str], str | None
]  # of "POST /api/2.0/mlflow/runs/create": "500", "cut", "slow" (three seconds), or None


@dataclass
class Proxy:
    """An HTTP server before another one. It passes on what comes, unless `fault` says otherwise of a request."""

    address: str
    fault: Fault = field(default=lambda request: None)
    seen: list[str] = field(default_factory=list)

    def wants(self, request: str) -> str | None:
        """What is to go wrong with this request."""
        self.seen.append(request)
        return self.fault(request)


@contextmanager
def proxy(behind: str) -> Iterator[Proxy]:
    """A proxy before the server at this address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self._body()
            fault = front.wants(f"{self.command} {self.path}")
            if fault == "cut":
                self.close_connection = True
            elif fault == "slow":
                time.sleep(3)
                self.close_connection = True
            elif fault is not None:
                self._say(int(fault), b"out of order")
            else:
                headers = {name: value for name, value in self.headers.items() if name in ("Content-Type", "Accept")}
                found = client.request(self.command, self.path, content=body, headers=headers)
                self._say(found.status_code, found.content, found.headers.get("Content-Type", "text/plain"))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _say(self, status: int, content: bytes, kind: str = "text/plain") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with httpx.Client(base_url=behind, timeout=60) as client, ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        front = Proxy(f"http://127.0.0.1:{server.server_port}")
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield front
        server.shutdown()
