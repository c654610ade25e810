"""The flow `score`: every row of a file with its prediction, by a registered model.

prefect deployment run score/score --param model=reviews --param source=/data/new.csv --param output=/data/scored
"""

import sys
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from flows import ROOT
from flows.stage_runner import REFUSED, command_task, need_tracking, of_flow
from tuneline.errors import PipelineError
from tuneline.leash import leashed, tie_to_parent

TextFile = Annotated[str, Field(pattern=r"(?i)\.(csv|tsv|parquet)$")]
Folder = Annotated[str, Field(pattern="^/")]  # the flow's own folder goes with its run
TASK = command_task("score")


@flow(name="score", persist_result=False)
def score(
    model: str,
    source: TextFile,
    output: Folder,
    columns: dict[str, str] = {},  # noqa: B006  never changed
    rows_per_part: Annotated[int, Field(ge=1)] = 10_000,
) -> State[Any]:
    """Predict every row of a file with a registered model. A run that was cut short is gone on with when it is
    submitted again with the same parameters.

    Args:
        model: models:/NAME@ALIAS, models:/NAME/VERSION, or NAME for its champion.
        source: A CSV, TSV or Parquet file, as the worker sees it.
        output: The folder for the Parquet parts, as the worker sees it, from the root.
        columns: Where an input column has another name in the file, ours to theirs, as in {"text": "review"}.
        rows_per_part: Rows of each part.
    """
    tie_to_parent()
    try:
        need_tracking()
    except PipelineError as error:
        return Failed(name=REFUSED, message=str(error))
    options = [f"--column={ours}={theirs}" for ours, theirs in columns.items()]
    arguments = [f"--rows-per-part={rows_per_part}", *options, "--", model, source, output]
    command = leashed(sys.executable, "-m", "tuneline", "score", *arguments)
    state: State[Any] = TASK(command, Path.cwd(), {"PYTHONPATH": str(ROOT / "src")}, return_state=True)
    return of_flow(state)
