"""Prefect and MLflow: their ports on this machine, and the servers that the environment names.

    http://127.0.0.1:4200/api     /health  true     /admin/version  "3.8.8"
    http://127.0.0.1:5000         /health  OK       /version        3.17.2

Each is asked once, over plain HTTP, and has three seconds.
"""

import base64
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from tuneline.addresses import safe_url
from tuneline.doctor.check import Check

TIMEOUT_SECONDS = 3
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # what MLflow takes beside sqlite


@dataclass(frozen=True)
class Server:
    """A server that runs talk to."""

    name: str
    variable: str
    """The environment variable that says where it is."""
    local: str
    """Where `tuneline up` starts it."""
    healthy: str
    """What /health says."""
    version: str
    """The path that tells its version."""
    port_option: str
    """The option of `tuneline up` that gives it another port."""


PREFECT = Server("Prefect", "PREFECT_API_URL", "http://127.0.0.1:4200/api", "true", "/admin/version", "--prefect-port")
MLFLOW = Server("MLflow", "MLFLOW_TRACKING_URI", "http://127.0.0.1:5000", "OK", "/version", "--mlflow-port")
SERVERS = (PREFECT, MLFLOW)


class NoAnswer(Exception):
    """Why a server cannot be used. The text holds no password."""


def ports() -> Iterator[Check]:
    yield from (port(server) for server in SERVERS)


def named() -> Iterator[Check]:
    yield from (address(server, url) for server in SERVERS if (url := os.environ.get(server.variable)))


def port(server: Server) -> Check:
    """Whether `tuneline up` can have the port: it is free, or the server itself has it."""
    number = urlsplit(server.local).port or 80
    try:
        _connect("127.0.0.1", number)
    except NoAnswer:
        return Check(f"port {number}", "ok", f"free for {server.name}")
    try:
        return Check(f"port {number}", "ok", _greeting(server, server.local))
    except NoAnswer as reason:
        advice = f"end what listens there, or choose another port: tuneline up {server.port_option} PORT"
        return Check(f"port {number}", "problem", f"taken, and not by {server.name}: {reason}", advice)


def address(server: Server, url: str) -> Check:
    """Whether what this URL names can be reached."""
    try:
        return Check(server.variable, "ok", f"{safe_url(url)}: {_reached(server, url)}")
    except NoAnswer as reason:
        advice = f"start the server, or correct {server.variable}, as in {server.local}"
        return Check(server.variable, "problem", f"{safe_url(url)}: {reason}", advice)


def _reached(server: Server, url: str) -> str:
    """What stands at the URL. Of a database, only that it takes a connection. Raises NoAnswer."""
    scheme = url.partition(":")[0].partition("+")[0]  # postgresql+psycopg://
    if scheme in ("http", "https") or server is PREFECT:
        return _greeting(server, url)
    if scheme == "sqlite":
        return "a file, read by each run itself"
    if scheme not in DATABASE_PORTS:
        raise NoAnswer(f"MLflow takes http, https, sqlite, {', '.join(DATABASE_PORTS)}; it keeps no runs in a folder")
    parts = _parts(url)
    _connect(parts.hostname or "localhost", parts.port or DATABASE_PORTS[scheme])
    return "takes connections"


def _greeting(server: Server, url: str) -> str:
    """`Prefect 3.8.8 answers`, without the version where that needs a login. Raises NoAnswer."""
    if _get(f"{url.rstrip('/')}/health") != server.healthy:
        raise NoAnswer(f"what answers is no {server.name} server")
    try:
        version = _get(f"{url.rstrip('/')}{server.version}").strip('"')
    except NoAnswer:
        version = "(version not told)"
    return f"{server.name} {version} answers"


def _get(url: str) -> str:
    """The first 100 bytes of the answer, as text. Raises NoAnswer."""
    parts = _parts(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    direct = [ProxyHandler({})] if parts.hostname in LOOPBACK else []  # no proxy leads to this machine itself
    try:
        request = Request(bare, headers=_login(parts))  # noqa: S310  the scheme is http or https
        with build_opener(*direct).open(request, timeout=TIMEOUT_SECONDS) as answer:
            body: bytes = answer.read(100)
    except HTTPError as error:
        raise NoAnswer(f"it answers with HTTP status {error.code}") from error
    except URLError as error:
        raise NoAnswer(_reason(error.reason)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise NoAnswer(_reason(error)) from error
    return body.decode("utf-8", errors="replace").strip()


def _connect(name: str, number: int) -> None:
    """Open a connection to a host and port, and close it. Raises NoAnswer."""
    try:
        socket.create_connection((name, number), timeout=TIMEOUT_SECONDS).close()
    except OSError as error:
        raise NoAnswer(_reason(error)) from error


def _parts(url: str) -> SplitResult:
    """The URL in parts, its port a number. Raises NoAnswer."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise NoAnswer("is not a URL") from None  # the message may quote the password
    return parts


def _login(parts: SplitResult) -> dict[str, str]:
    """The header for a user and password that stand in the URL."""
    if parts.username is None:
        return {}
    words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS} seconds"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "what answers does not speak HTTP"
