"""Tell the Prefect server that something happened."""

from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.settings import get_current_settings
from prefect.types._datetime import now

from tuneline.errors import PipelineError

DATA_PUSHED = "tuneline.data.pushed"


def data_pushed(data: str, *, revision: str, md5: str) -> None:
    """A new version of a data set can be had at this commit. The deployment retrain-on-data waits for it.
    Raises PipelineError when no server is named."""
    if not get_current_settings().api.url:
        raise PipelineError(
            "PREFECT_API_URL is not set, so no run starts: the data is pushed, and no server was told. Set it, as in "
            "http://127.0.0.1:4200/api, and run the same command again."
        )
    event = Event(
        occurred=now("UTC"),
        event=DATA_PUSHED,
        resource={"prefect.resource.id": f"tuneline.data.{data}", "prefect.resource.name": data},
        payload={"data": data, "revision": revision, "md5": md5},
    )
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()
