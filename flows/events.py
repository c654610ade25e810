"""Tell the Prefect server that something happened."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.settings import get_current_settings
from prefect.types._datetime import now

from tuneline.addresses import safe_url
from tuneline.errors import PipelineError

DATA_PUSHED, DRIFT_FOUND = "tuneline.data.pushed", "tuneline.drift.found"


def data_pushed(data: str, *, revision: str, md5: str) -> None:
    """A new version of a data set can be had at this commit. The deployment retrain-on-data waits for it.
    Raises PipelineError when no server is named, or it does not answer."""
    _tell("the data is pushed", DATA_PUSHED, "data", data, {"data": data, "revision": revision, "md5": md5})


def drift_found(model: str, *, version: int, data: str, worst: Sequence[Mapping[str, Any]]) -> None:
    """Text that a model is to read is not like the text that it is known by. The deployment retrain-on-drift waits
    for it. worst: what differs, the largest effect first. Raises PipelineError when no server is named, or it does not
    answer."""
    payload = {"model": model, "version": version, "data": data, "worst": list(worst)}
    _tell("the drift was found", DRIFT_FOUND, "model", model, payload)


def _tell(done: str, event: str, kind: str, name: str, payload: dict[str, Any]) -> None:
    """Raises PipelineError when that cannot be. done: what stands all the same."""
    url = get_current_settings().api.url
    if not url:
        raise PipelineError(
            f"PREFECT_API_URL is not set, so no run starts: {done}, and no server was told. Set it, as in "
            "http://127.0.0.1:4200/api, and run the same command again."
        )
    resource = {"prefect.resource.id": f"tuneline.{kind}.{name}", "prefect.resource.name": name}
    told = Event(occurred=now("UTC"), event=event, resource=resource, payload=payload)
    try:
        with get_client(sync_client=True) as client:
            client.request("POST", "/events", json=[told.model_dump(mode="json")]).raise_for_status()
    except (httpx.HTTPError, RuntimeError) as error:  # RuntimeError: Prefect asks the server for its version first
        raise PipelineError(
            f"The Prefect server at {safe_url(url)} cannot be told, so no run starts: {error}. But {done}. Start the "
            "server or correct PREFECT_API_URL, and run the same command again."
        ) from error
