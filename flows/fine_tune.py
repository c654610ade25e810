"""The flows that train: params → the five stages in a workspace of their own → an experiment and a decision.

prefect deployment run fine-tune/fine-tune --param overrides='{"train.learning_rate": 5e-5}'
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import BaseModel, ConfigDict, Field

from flows import approval, artifacts
from flows.parameters import Chosen, Overrides, Recipe, choose, choose_for_data, choose_for_model, deployed_params
from flows.stage_runner import INTERRUPTED, REFUSED, command_task, need_tracking, stage_command
from flows.workspaces import Workspace, bring_raw_data, save_experiment, workspace
from tuneline import layout
from tuneline.cli import STAGES
from tuneline.clones import RemoteAway
from tuneline.errors import PipelineError
from tuneline.leash import tie_to_parent
from tuneline.params import Params

HOUR = 3600.0
TASKS = {stage: command_task(stage) for stage in STAGES}


class TimeOuts(BaseModel):
    """Longest time of each stage, in seconds, waiting for a device or for a like run included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validate_: float = Field(2 * HOUR, gt=0, alias="validate")
    tokenize: float = Field(2 * HOUR, gt=0)
    fine_tune: float = Field(48 * HOUR, gt=0, alias="fine-tune")
    evaluate: float = Field(4 * HOUR, gt=0)
    register_: float = Field(HOUR / 2, gt=0, alias="register")
    approval: float = Field(7 * 24 * HOUR, gt=0)
    """Of a model that waits for a person, where register.approval is manual."""

    def of(self, stage: str) -> float:
        seconds: float = self.model_dump(by_alias=True)[stage]
        return seconds


ModelName = Annotated[str, Field(pattern=r"^[^/:@']{1,250}$")]
Revision = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./@^~-]{0,199}$")]


@flow(name="fine-tune", persist_result=False, validate_parameters=True)
def fine_tune(
    params: Params = deployed_params(),  # noqa: B008  the form shows the deployed file
    recipe: Recipe | None = None,
    revision: Revision | None = None,
    overrides: Overrides = {},  # noqa: B006  never changed
    timeout_seconds: TimeOuts = TimeOuts(),  # noqa: B008
) -> State[None]:
    """Fine-tune, evaluate and register a model: the DVC stages of one commit, in a workspace of their own.

    Args:
        params: Every section of params.yaml as deployed. What you change here is changed in the run's params file.
        recipe: Start from recipes/NAME.yaml in place of params.yaml.
        revision: Commit, tag or branch whose code, params and data the run takes. Empty takes the deployed commit.
        overrides: Single values by dotted name, set last, as in {"train.learning_rate": 5e-5}.
        timeout_seconds: Longest time of each stage.
    """
    pick = partial(choose, form=params, recipe=recipe, overrides=overrides)
    return run_stages(pick, revision, timeout_seconds)


@flow(name="retrain-on-data", persist_result=False)
def retrain_on_data(data: str, revision: Revision, timeout_seconds: TimeOuts = TimeOuts()) -> State[None]:  # noqa: B008
    """Train on a new version of a data set, with the params file of that commit that uses it.

    Args:
        data: Name of the data set, as in data.name.
        revision: The commit that holds the new version of its .dvc file.
        timeout_seconds: Longest time of each stage.
    """
    return run_stages(partial(choose_for_data, data=data), revision, timeout_seconds)


@flow(name="retrain-on-drift", persist_result=False)
def retrain_on_drift(
    model: ModelName,
    revision: Revision = "main",
    timeout_seconds: TimeOuts = TimeOuts(),  # noqa: B008
) -> State[None]:
    """Train a model again, with the params file that registers it, on the data set as it stands at the revision.

    Args:
        model: Name of the model, as in register.name.
        revision: Commit, tag or branch whose code, params and data the run takes.
        timeout_seconds: Longest time of each stage.
    """
    return run_stages(partial(choose_for_model, model=model), revision, timeout_seconds)


def run_stages(pick: Callable[[Path], Chosen], revision: str | None, timeouts: TimeOuts) -> State[None]:
    """The final state of a run of all stages. `pick` settles the params in the workspace. What a person can
    mend is told in one message, without a traceback."""
    tie_to_parent()
    try:
        need_tracking()
        waiting = approval.pending()  # then the run has been resumed, and its stages are done
        if waiting is None:
            decision = _in_workspace(pick, revision, timeouts)
            waiting = approval.pending()
        return approval.ask(waiting, timeouts.approval) if waiting else Completed(message=decision)
    except _StageEnded as ended:
        return ended.state
    except RemoteAway as error:
        return Failed(name=INTERRUPTED, message=str(error))
    except PipelineError as error:
        return Failed(name=REFUSED, message=str(error))


def _in_workspace(pick: Callable[[Path], Chosen], revision: str | None, timeouts: TimeOuts) -> str:
    """The decision, in a sentence."""
    with workspace(flow_run.get_name() or "run", revision) as place:
        chosen = pick(place.folder)
        (place.folder / layout.PARAMS).write_text(chosen.text, encoding="utf-8")
        artifacts.show_params(chosen, commit=place.commit, experiment=place.experiment)
        bring_raw_data(place, chosen.params.data.name)
        return _run_all(place, timeouts)


class _StageEnded(Exception):
    """A stage that did not succeed. The workspace is kept."""

    def __init__(self, state: State[None]) -> None:
        self.state = state


def _run_all(place: Workspace, timeouts: TimeOuts) -> str:
    env = {**place.env(), "TUNELINE_EXPERIMENT": place.experiment, "TUNELINE_FLOW_RUN": str(flow_run.get_id())}
    for stage in STAGES:
        task = TASKS[stage].with_options(timeout_seconds=timeouts.of(stage))
        state = task(stage_command(stage), place.folder, env, return_state=True)
        if not state.is_completed():
            raise _StageEnded(Failed(name=state.name, message=_last_words(stage, state, place)))
        if stage == "validate":
            artifacts.show_validation(place.folder)
        elif stage == "evaluate":
            artifacts.show_plots(place.folder)
    artifacts.show_scores(place.folder)
    decision = artifacts.show_decision(place.folder, place.experiment)
    save(place, decision)
    approval.remember(place.folder)
    return decision


def save(place: Workspace, decision: str) -> None:
    """Save the experiment. The model is registered by now, and a failure must not hide that."""
    try:
        save_experiment(place)
    except PipelineError as error:
        raise type(error)(
            f"{decision}. That stands, but the experiment {place.experiment} did not get to the origin: {error}\n"
            "Mend that and run the same again: every stage comes from the cache, and the version stays as it is."
        ) from error
    get_run_logger().info("experiment %s saved and pushed", place.experiment)


def _last_words(stage: str, state: State[Any], place: Workspace) -> str:
    said = state.message or state.name or ""
    named = said if said.startswith(f"{stage}: ") else f"{stage}: {said}"
    return f"{named}\nThe workspace is kept: {place.folder}"
