"""The flow `score`: every row of a file with its prediction, by a registered model.

prefect deployment run score/score --param model=reviews --param source=/data/new.csv --param output=/data/scored
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.stage_runner import command_task, on_registry, renamed

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
    options = [f"--rows-per-part={rows_per_part}", *renamed(columns)]
    return on_registry(TASK, ["score", *options, "--", model, source, output])
