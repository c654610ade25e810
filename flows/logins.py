"""What servers that others reach ask everyone for, and what our own programs answer.

PREFECT_SERVER_API_AUTH_STRING       USER:SECRET of the Prefect server
MLFLOW_TRACKING_USERNAME, _PASSWORD  of the MLflow server's first user, who may do everything
"""

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tuneline import host
from tuneline.errors import PipelineError

PREFECT, USER, PASSWORD = NEEDED = (
    "PREFECT_SERVER_API_AUTH_STRING", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
)  # fmt: skip
USERS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{database}
"""


class LoginError(PipelineError):
    """A login that is not set, or that a server does not take."""


def environment(mlflow_url: str) -> dict[str, str]:
    """What both servers and our own programs are told. Where MLflow may be asked from, and where its users are, may
    be set already. Raises LoginError where a login is not set."""
    address = urlsplit(mlflow_url)
    _need(str(address.hostname))
    defaults = {
        "MLFLOW_SERVER_ALLOWED_HOSTS": address.netloc,
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": mlflow_url,  # or its own pages could not ask it
        "MLFLOW_AUTH_CONFIG_PATH": str(_users()),
    }
    return {
        **{name: os.environ.get(name, value) for name, value in defaults.items()},
        "PREFECT_API_AUTH_STRING": os.environ[PREFECT],
        "MLFLOW_AUTH_ADMIN_USERNAME": os.environ[USER],
        "MLFLOW_AUTH_ADMIN_PASSWORD": os.environ[PASSWORD],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }


def _need(address: str) -> None:
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise LoginError(
            f"--host {address}: others could reach the servers there, so both ask for a login, and "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set. Set them, as in\n"
            f"  export {PREFECT}=USER:SECRET {USER}=USER {PASSWORD}=SECRET\n"
            "with 12 characters or more for MLflow, or leave --host out: the servers then listen on 127.0.0.1 alone."
        )


def _users() -> Path:
    """The file that tells MLflow where its users are, written anew. Their passwords stand in the database that it
    names, as hashes."""
    file = host.home() / "mlflow-users.ini"
    file.write_text(USERS.format(database=host.home() / "mlflow-users.db"), encoding="utf-8")
    return file


def try_mlflow(mlflow_url: str) -> None:
    """Raises LoginError where MLflow does not take the login. Its first start made the user; each run of a later one
    with another password would fail."""
    login = (os.environ[USER], os.environ[PASSWORD])
    reply = requests.get(f"{mlflow_url}/api/2.0/mlflow/users/current", auth=login, timeout=30)
    if reply.status_code == requests.codes.unauthorized:
        raise LoginError(
            f"MLflow does not take {PASSWORD} of {login[0]}: its users, which {os.environ['MLFLOW_AUTH_CONFIG_PATH']} "
            "leads to, were made with another login. Set that one, or have MLflow change it (docs/operations.md)."
        )
