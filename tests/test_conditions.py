"""Conditions of params.yaml over the columns of rows, as DuckDB reads them."""

import numpy as np
import pyarrow as pa
import pytest

from tuneline.conditions import holds, problems
from tuneline.errors import ParamsError

ROWS = pa.table({"text": ["Broke.", "Why did it break?", None], "country": ["DE", "FR", "DE"]})


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("country = 'DE'", [True, False, True]),
        ("text like '%?'", [False, True, False]),  # of no text it is not known, so it does not hold
        ("length(text) < 10 and country = 'DE'", [True, False, False]),
        ("text is null", [False, False, True]),
        ("false", [False, False, False]),
    ],
)
def test_a_condition_holds_for_some_rows(condition: str, expected: list[bool]) -> None:
    assert holds(ROWS, {"where": condition})["where"].tolist() == expected


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("contry = 'DE'", 'Candidate bindings: "country"'),
        ("country", "it is of type VARCHAR, expected BOOLEAN"),
        ("count(*) > 1", "it does not say yes or no to each row"),
        ("unnest([true, false])", "it does not say yes or no to each row"),
        ("true, false", "found 2 expressions"),
        ("columns(*) is null", "it is of type BOOLEAN, BOOLEAN, expected BOOLEAN"),
        ("true) from rows; drop table rows; select (true", "syntax error"),
        ("true; drop table rows", "more than one statement"),
        ("country = ", "syntax error"),
        ("country::int = 3", "Could not convert string 'DE' to INT32"),
        ("", "Parser Error"),
    ],
)
def test_what_is_no_condition_is_told_with_the_reason_and_the_columns(condition: str, reason: str) -> None:
    with pytest.raises(ParamsError) as caught:
        holds(ROWS, {"evaluate.slices.where.mine": condition})
    assert str(caught.value).startswith(f"evaluate.slices.where.mine: {condition!r} is no condition: ")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("Known columns: text, country")


def test_all_that_are_no_conditions_are_told_at_once() -> None:
    told = problems(ROWS.schema, {"a": "contry = 'DE'", "b": "country = 'DE'", "c": "length(text)"})
    assert [sentence.partition(":")[0] for sentence in told] == ["a", "c"]


@pytest.mark.parametrize(
    "condition",
    [
        "exists (select * from read_csv('/etc/passwd'))",
        "exists (select * from '/etc/passwd')",
        "exists (select * from ROWS)",  # a variable of this module
        "getenv('HOME') = '/root'",
        "exists (select * from read_parquet('https://example.org/x.parquet'))",
    ],
)
def test_a_condition_sees_no_file_no_network_and_no_variable(condition: str) -> None:
    assert len(problems(ROWS.schema, {"where": condition})) == 1


def test_chance_is_the_same_each_time() -> None:
    rows = pa.table({"number": list(range(200))})
    first, again = (holds(rows, {"half": "random() < 0.5"})["half"] for _ in range(2))
    assert 50 < first.sum() < 150
    assert np.array_equal(first, again)
