"""Whatever texts and numbers a row holds, its task says what is wrong or encodes it; and it decodes any output."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tasks.test_contract import CASES, case_of
from tuneline.checkpoints import load_tokenizer
from tuneline.tasks.base import Generated, Row

ODD = [
    "\u202e",
    "\u200b",
    "\u200d",
    "e\u0301",
    "\U0001f468\u200d\U0001f469",
    "\ufeff",
    "\x00",
    "\u2028",
    "ﷺ" * 9,
]
TEXTS = st.one_of(
    st.text(max_size=30), st.lists(st.sampled_from([*ODD, "good", " ", "\n", "[SEP]"]), max_size=6).map("".join)
)
NUMBERS = st.floats(width=32)


def varied(draw: st.DrawFn, value: Any) -> Any:
    """A value of the same shape with other texts and numbers."""
    if isinstance(value, str):
        return draw(st.one_of(TEXTS, st.just(value)))
    if isinstance(value, float):
        return draw(NUMBERS)
    if isinstance(value, int):
        return draw(st.integers(-5, 2**40))
    if isinstance(value, list):
        return [varied(draw, each) for each in value][: draw(st.integers(0, len(value)))]
    return {name: varied(draw, each) for name, each in value.items()} if isinstance(value, dict) else value


@st.composite
def rows_like(draw: st.DrawFn, rows: list[Row]) -> Row:
    return varied(draw, draw(st.sampled_from(rows)))


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_row_is_refused_with_a_sentence_or_encoded(toy_checkpoint: Path, name: str, data: st.DataObject) -> None:
    case = case_of(name)
    task = case["task"]
    row = data.draw(rows_like(case["rows"]))
    if problem := task.problem(row):
        assert problem.isprintable()
        return
    labels = task.labels(case["rows"])
    [feature] = task.encode(load_tokenizer(toy_checkpoint), [row], labels)
    assert all(isinstance(each, int) for each in feature["input_ids"])


@pytest.mark.parametrize("name", [name for name in CASES if not isinstance(CASES[name]["outputs"][0], Generated)])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_output_is_decoded(toy_checkpoint: Path, name: str, data: st.DataObject) -> None:
    case = case_of(name)
    task = case["task"]
    rows, labels = case["rows"], task.labels(case["rows"])
    features = task.encode(load_tokenizer(toy_checkpoint), rows, labels)
    shapes = [np.array(each, dtype=float).shape for each in case["outputs"]]
    finite = st.floats(-1e4, 1e4, width=32)
    drawn = [
        np.array(data.draw(st.lists(finite, min_size=size, max_size=size))).reshape(shape)
        for shape, size in ((shape, int(np.prod(shape))) for shape in shapes)
    ]
    outputs = [task.condense(each[None])[0] for each in drawn]
    decoded = task.decode(outputs, features, rows, labels)
    assert len(decoded) == len(rows)
    assert task.score(decoded, rows, labels).per_row.shape == (len(rows),)
