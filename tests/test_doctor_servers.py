"""What doctor finds on real ports, and how real HTTP servers answer it."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tuneline.doctor import servers
from tuneline.doctor.check import Check

Serve = Callable[[Mapping[str, str]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start an HTTP server that gives these bodies by path, and 401 for an empty one. Returns its address."""
    started: list[HTTPServer] = []

    def start(bodies: Mapping[str, str]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = bodies.get(self.path)
                self.send_response(404 if body is None else 200 if body else 401)
                self.end_headers()
                self.wfile.write((body or "").encode())

            def log_message(self, *args: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


PREFECT = {"/api/health": "true", "/api/admin/version": '"3.8.8"'}  # any other path is 404
MLFLOW = {"/health": "OK", "/version": "3.17.2"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def test_a_free_port_is_ok() -> None:
    number = free_port()
    found = servers.port(replace(servers.MLFLOW, local=f"http://127.0.0.1:{number}"))
    assert found == Check(f"port {number}", "ok", "free for MLflow")


def test_a_port_that_its_own_server_has_is_ok(serve: Serve) -> None:
    prefect = servers.port(replace(servers.PREFECT, local=f"{serve(PREFECT)}/api"))
    mlflow = servers.port(replace(servers.MLFLOW, local=serve(MLFLOW)))
    assert [(one.state, one.found) for one in (prefect, mlflow)] == [
        ("ok", "Prefect 3.8.8 answers"),
        ("ok", "MLflow 3.17.2 answers"),
    ]


def test_a_port_that_another_web_server_has_is_a_problem(serve: Serve) -> None:
    found = servers.port(replace(servers.MLFLOW, local=serve({"/health": "<html>"})))
    assert (found.state, found.found) == ("problem", "taken, and not by MLflow: what answers is no MLflow server")
    assert found.advice.endswith("tuneline up --mlflow-port PORT")


def test_a_port_that_a_silent_program_has_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = servers.port(replace(servers.PREFECT, local=f"http://127.0.0.1:{listening.getsockname()[1]}/api"))
    assert found.state == "problem"
    assert "no answer within 0.2 seconds" in found.found
    assert found.advice.endswith("tuneline up --prefect-port PORT")


def test_a_port_of_a_program_that_speaks_no_http_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_greet_like_ssh, args=(listening,), daemon=True).start()
        found = servers.port(replace(servers.MLFLOW, local=f"http://127.0.0.1:{listening.getsockname()[1]}"))
    assert found.state == "problem"
    assert "does not speak HTTP" in found.found


def _greet_like_ssh(listening: socket.socket) -> None:
    listening.accept()  # the first look, which only connects
    connection, _ = listening.accept()
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    connection.recv(1000)
    connection.close()


def test_named_servers_are_asked_and_their_passwords_never_printed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = serve(PREFECT).removeprefix("http://")
    monkeypatch.setenv("PREFECT_API_URL", f"http://me:s3cret@{place}/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:s3cret@127.0.0.1:{free_port()}?token=s3cret")
    prefect, mlflow = servers.named()
    assert prefect == Check("PREFECT_API_URL", "ok", f"http://***@{place}/api: Prefect 3.8.8 answers")
    assert mlflow.state == "problem"
    assert mlflow.found.endswith(": Connection refused")
    assert "s3cret" not in str(mlflow)


def test_servers_that_nobody_named_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert list(servers.named()) == []


def test_a_prefect_address_without_api_is_a_problem(serve: Serve) -> None:
    found = servers.address(servers.PREFECT, serve(PREFECT))
    assert found.state == "problem"
    assert found.found.endswith("it answers with HTTP status 404")
    assert found.advice.endswith("as in http://127.0.0.1:4200/api")


def test_a_server_that_tells_its_version_only_after_a_login_is_ok(serve: Serve) -> None:
    found = servers.address(servers.MLFLOW, serve({"/health": "OK", "/version": ""}))
    assert found.found.endswith("MLflow (version not told) answers")


@pytest.mark.parametrize(
    ("address", "state"),
    [("sqlite:///mlflow.db", "ok"), ("./mlruns", "problem"), ("http://h:80x/", "problem"), ("sqlite:", "ok")],
)
def test_what_mlflow_takes_besides_a_server(address: str, state: str) -> None:
    assert servers.address(servers.MLFLOW, address).state == state


def test_a_database_must_take_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"postgresql+psycopg://me:s3cret@127.0.0.1:{listening.getsockname()[1]}/mlflow"
        open_one = servers.address(servers.MLFLOW, url)
    closed_one = servers.address(servers.MLFLOW, url)
    assert (open_one.state, closed_one.state) == ("ok", "problem")
    assert "s3cret" not in open_one.found + closed_one.found
