"""Tell the Prefect server that something happened."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.settings import get_current_settings
from prefect.types._datetime import now

from tuneline.errors import PipelineError

DATA_PUSHED, DRIFT_FOUND = "tuneline.data.pushed", "tuneline.drift.found"


def data_pushed(data: str, *, revision: str, md5: str) -> None:
    """A new version of a data set can be had at this commit. The deployment retrain-on-data waits for it.
    Raises PipelineError when no server is named."""
    _need_server("the data is pushed")
    _tell(DATA_PUSHED, "data", data, {"data": data, "revision": revision, "md5": md5})


def drift_found(model: str, *, version: int, data: str, worst: Sequence[Mapping[str, Any]]) -> None:
    """Text that a model is to read is not like the text that it is known by. The deployment retrain-on-drift waits
    for it. worst: what differs, the largest effect first. Raises PipelineError when no server is named."""
    _need_server("the drift was found")
    _tell(DRIFT_FOUND, "model", model, {"model": model, "version": version, "data": data, "worst": list(worst)})


def _need_server(done: str) -> None:
    """Raises PipelineError when no server is named. done: what stands all the same."""
    if not get_current_settings().api.url:
        raise PipelineError(
            f"PREFECT_API_URL is not set, so no run starts: {done}, and no server was told. Set it, as in "
            "http://127.0.0.1:4200/api, and run the same command again."
        )


def _tell(event: str, kind: str, name: str, payload: dict[str, Any]) -> None:
    resource = {"prefect.resource.id": f"tuneline.{kind}.{name}", "prefect.resource.name": name}
    told = Event(occurred=now("UTC"), event=event, resource=resource, payload=payload)
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[told.model_dump(mode="json")]).raise_for_status()
