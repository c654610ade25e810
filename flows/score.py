"""The flow `score`: every row of a file with its prediction, by a registered model.

prefect deployment run score/score --param model=reviews --param source=/data/new.csv --param output=/data/scored
"""

import sys
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.stage_runner import command_task
from tuneline.leash import tie_to_parent

TextFile = Annotated[str, Field(pattern=r"(?i)\.(csv|tsv|parquet)$")]
TASK = command_task("score")


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
    python = [sys.executable, "-m"]
    arguments = [f"--rows-per-part={rows_per_part}", *options, "--", model, source, output]
    command = [*python, "tuneline.leash", *python, "tuneline", "score", *arguments]
    state: State[Any] = TASK(command, Path.cwd(), {}, return_state=True)
    return state
