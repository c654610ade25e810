"""The flow `drift`: does the text of a file differ from that which a registered model is known by?

prefect deployment run drift/drift --param model=reviews --param source=/data/today.csv
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.stage_runner import command_task, on_registry, renamed

TASK = command_task("drift")


@flow(name="drift", persist_result=False)
def drift(
    model: str,
    source: str,
    columns: dict[str, str] = {},  # noqa: B006  never changed
    confidence: Annotated[float, Field(ge=0.5, le=0.9999)] = 0.99,
    smallest_effect: Annotated[float, Field(ge=0, le=1)] = 0.1,
    emit: bool = True,
) -> State[Any]:
    """Compare the texts of a file with those that a registered model is known by. The message of the run says what
    came of it.

    Args:
        model: models:/NAME@ALIAS, models:/NAME/VERSION, or NAME for its champion.
        source: A CSV, TSV or Parquet file, or the output folder of a scoring, as the worker sees it.
        columns: Where a column has another name in the file, ours to theirs, as in {"text": "review"}.
        confidence: 1 less the chance that all tests together raise a false alarm.
        smallest_effect: Distance below which a difference does not matter, however sure it is.
        emit: On drift, send the event that retrain-on-drift waits for.
    """
    options = [f"--confidence={confidence}", f"--smallest-effect={smallest_effect}", *renamed(columns)]
    return on_registry(TASK, ["drift", *options, *(["--emit"] if emit else []), "--", model, source])
