"""The door that MLflow opens: a model folder as a pyfunc model.

This module and what it imports travel inside every model folder (`code/`), so a registered model predicts
without tuneline being installed.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from tuneline.inference import Predictor


class TunelineModel:
    """Texts in, predictions out.

    predict takes a DataFrame with the task's input columns, or a list of texts, and returns a DataFrame with one line
    per row, in the words of the task: `label`, `score` (its probability) and `probabilities`; or `tags` and `entities`.
    """

    def __init__(self, folder: Path) -> None:
        self.predictor = Predictor.load(folder)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame({"text": list(model_input)})
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")  # an empty cell is None, not NaN
        return pd.DataFrame(self.predictor.predict(rows), index=frame.index)


def _load_pyfunc(path: str) -> TunelineModel:
    """Called by mlflow.pyfunc.load_model with the folder of the model."""
    return TunelineModel(Path(path))
