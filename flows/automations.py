"""What the Prefect server itself must hold before runs can go well: the work pool, and the automation that ends
runs whose process is gone. Everything here may be done again at any time."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

POOL = "gpu"
SILENCE = timedelta(seconds=90)  # three heartbeats
HEARTBEAT = "prefect.flow-run.heartbeat"
ENDS = (  # of a process; events bear these names. A suspended run has none until it is resumed
    "Completed", "Failed", "Cancelled", "Crashed", "Refused", "Interrupted", "TimedOut", "Suspended",
)  # fmt: skip

DEAD_RUNS = AutomationCore(
    name="tuneline: end runs whose process is gone",
    description="A run that sent heartbeats and sends none for 90 seconds is crashed: its process was killed.",
    trigger=EventTrigger(
        match={"prefect.resource.id": ["prefect.flow-run.*"]},
        after={HEARTBEAT},
        expect={HEARTBEAT, *(f"prefect.flow-run.{end}" for end in ENDS)},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=SILENCE,
    ),
    actions=[
        ChangeFlowRunState(
            state=StateType.CRASHED,
            message="No heartbeat for 90 seconds: the run's process is gone. Run it again: training resumes.",
        )
    ],
)


def set_up() -> None:
    """Create what is missing and bring the rest in step."""
    with get_client(sync_client=True) as client:
        pool = WorkPoolCreate(
            name=POOL,
            type=ProcessWorker.type,
            description="Runs flows as processes on hosts with a GPU, or with patience.",
            base_job_template=ProcessWorker.get_default_base_job_template(),
        )
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(pool)
        _ensure(client, DEAD_RUNS)


def worker_heard_of(name: str, *, since: datetime) -> bool:
    """Whether this worker of the pool has sent a heartbeat lately. A former one of its name counts as online for a
    while after its end."""
    with get_client(sync_client=True) as client:
        workers = client.read_workers_for_work_pool(POOL)
    return any(
        worker.name == name and worker.last_heartbeat_time is not None and worker.last_heartbeat_time > since
        for worker in workers
    )


def _ensure(client: Any, automation: AutomationCore) -> None:
    known = client.read_automations_by_name(automation.name)
    if known:
        client.update_automation(known[0].id, automation)
    else:
        client.create_automation(automation)
