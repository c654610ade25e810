"""A model folder as MLflow serves it, with what clients send."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tuneline.errors import DataError
from tuneline.serving import TunelineModel


@pytest.fixture(scope="module")
def model(toy_model: Path) -> TunelineModel:
    return TunelineModel(toy_model)


def test_a_list_of_texts_is_predicted_whatever_characters_they_have(model: TunelineModel) -> None:
    found = model.predict(["good kettle", "", "\x00\u202e", "\U0001f468\u200d\U0001f469"])
    assert found["label"].iloc[0] == "good"
    assert len(found) == 4


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["good", None], "row 2: text is missing"),
        ([3], "row 1: text is 3. Expected text"),
        (["good", "a \ud800"], "row 2: text holds half of a character at place 3, '\\\\ud800'"),
        (pd.DataFrame({"text": ["good"], "text_pair": [7]}), "row 1: text_pair is 7. Expected text"),
        ([None] * 30, "and 10 more"),
    ],
)
def test_a_row_without_text_is_named(model: TunelineModel, rows: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        model.predict(rows)
