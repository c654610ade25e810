"""The flow `score`: every row of a file with its prediction, by a registered model.

prefect deployment run score/score --param model=reviews --param source=/data/new.csv --param output=/data/scored
"""

import sys
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.tasks import exponential_backoff
from pydantic import Field

from flows.stage_runner import run_command, state_of, worth_a_retry
from tuneline.leash import tie_to_parent

TextFile = Annotated[str, Field(pattern=r"(?i)\.(csv|tsv|parquet)$")]


@flow(name="score", persist_result=False)
def score(
    model: str,
    source: TextFile,
    output: str,
    columns: dict[str, str] = {},  # noqa: B006  never changed
    rows_per_part: Annotated[int, Field(ge=1)] = 10_000,
) -> State[Any]:
    """Predict every row of a file with a registered model. A run that was cut short is gone on with when it is
    submitted again with the same parameters.

    Args:
        model: models:/NAME@ALIAS, models:/NAME/VERSION, or NAME for its champion.
        source: A CSV, TSV or Parquet file, as the worker sees it.
        output: The folder for the Parquet parts, as the worker sees it.
        columns: Where an input column has another name in the file, ours to theirs, as in {"text": "review"}.
        rows_per_part: Rows of each part.
    """
    tie_to_parent()
    options = [f"--column={ours}={theirs}" for ours, theirs in columns.items()]
    arguments = [f"--rows-per-part={rows_per_part}", *options, "--", model, source, output]
    state: State[Any] = score_file(arguments, return_state=True)
    return state


@task(
    name="score", task_run_name="score", cache_policy=NO_CACHE, persist_result=False,
    retries=3, retry_delay_seconds=exponential_backoff(backoff_factor=10), retry_jitter_factor=0.5,
    retry_condition_fn=worth_a_retry,
)  # fmt: skip
def score_file(arguments: list[str]) -> State[Any]:
    python = [sys.executable, "-m"]
    command = [*python, "tuneline.leash", *python, "tuneline", "score", *arguments]
    ending = run_command(command, Path.cwd(), {}, log=get_run_logger().info)
    return state_of("score", ending)
