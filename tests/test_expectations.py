"""Each expectation fails for its own reason, and says so with numbers."""

import json

import numpy as np
import pandas as pd
import pytest

from tuneline import layout
from tuneline.errors import DataError
from tuneline.expectations import CheckBroken, Outcome, percent, validate
from tuneline.params import Checks

ROW_COLUMNS = ("present", "length", "control_characters", "encoding", "task", "id", "conflict", "row",
               "duplicate", "near_duplicate", "leaked")  # fmt: skip


def tables(rows=100):
    """Frames without a fault."""
    good = pd.arrays.BooleanArray(np.ones(rows, bool), np.zeros(rows, bool))
    return {
        "rows": pd.DataFrame(
            {
                "split": ["train"] * rows,
                "label": ["a", "b"] * (rows // 2),
                "shortest": [5] * rows,
                "longest": [9] * rows,
                **{f"ok_{column}": good.copy() for column in ROW_COLUMNS},
            }
        ),
        "splits": pd.DataFrame({"split": layout.SPLITS, "rows": [80, 10, 10]}, index=list(layout.SPLITS)),
        "labels": labels(a=40, b=40),
    }


def labels(**train):
    counts = pd.Series(train)
    trained = counts > 0
    names = counts.index.to_series()
    rows = counts.where(trained).astype(float)
    return pd.DataFrame(
        {"label": names, "train": counts, "trained": names.where(trained), "trained_rows": rows,
         "trained_share": rows / rows.sum()}
    )  # fmt: skip


def failures(found: list[Outcome]) -> list[str]:
    return [outcome.column for outcome in found if not outcome.success]


def test_rows_without_a_fault_pass_every_check():
    found = validate(tables(), Checks())
    assert failures(found) == []
    assert all(outcome.checked for outcome in found if outcome.frame == "rows")


@pytest.mark.parametrize("column", ROW_COLUMNS)
def test_a_check_fails_alone_when_too_many_rows_fail_it(column):
    frames = tables()
    frames["rows"].loc[[17, 42, 50, 60, 61, 62, 63], f"ok_{column}"] = False
    outcome = next(o for o in validate(frames, Checks()) if not o.success)
    assert (outcome.column, outcome.unexpected, outcome.checked) == (f"ok_{column}", 7, 100)
    assert outcome.examples[:2] == (17, 42)
    assert outcome.change[0].startswith("data.checks.max_")


def test_a_limit_comes_from_params():
    frames = tables()
    frames["rows"].loc[[1, 2, 3], "ok_present"] = False
    assert failures(validate(frames, Checks())) == ["ok_present"]
    assert failures(validate(frames, Checks(max_rejected_share=0.03))) == []


def test_exactly_the_share_allowed_passes():
    frames = tables()
    frames["rows"].loc[[1, 2], "ok_present"] = False
    assert failures(validate(frames, Checks(max_rejected_share=0.02))) == []


def test_rows_that_a_check_is_not_about_do_not_dilute_the_share():
    frames = tables()
    ok = np.ones(100, bool)
    ok[0] = False
    not_about = np.arange(100) >= 10
    frames["rows"]["ok_leaked"] = pd.arrays.BooleanArray(ok, not_about)
    outcome = next(o for o in validate(frames, Checks()) if not o.success)
    assert (outcome.column, outcome.unexpected, outcome.checked) == ("ok_leaked", 1, 10)


def test_a_check_about_no_row_at_all_passes():
    frames = tables()
    frames["rows"]["ok_id"] = pd.arrays.BooleanArray(np.ones(100, bool), np.ones(100, bool))
    found = validate(frames, Checks())
    assert failures(found) == []
    assert next(o for o in found if o.column == "ok_id").checked == 0


def test_a_single_trained_label_is_one_class_only():
    frames = tables() | {"labels": labels(a=80)}
    outcome = next(o for o in validate(frames, Checks()) if not o.success)
    assert (outcome.column, outcome.observed, outcome.allowed) == ("trained", 1, "at least 2")


def test_a_label_without_training_rows_is_named():
    frames = tables() | {"labels": labels(a=40, b=40, c=0)}
    outcome = next(o for o in validate(frames, Checks()) if not o.success)
    assert (outcome.column, outcome.examples) == ("train", ("c",))


def test_a_rare_label_fails_by_count_and_by_share():
    frames = tables() | {"labels": labels(a=95, b=4, c=1)}
    assert failures(validate(frames, Checks())) == ["trained_rows"]
    assert failures(validate(frames, Checks(min_rows_per_label=1))) == []
    found = validate(frames, Checks(min_rows_per_label=1, min_label_share=0.02))
    outcome = next(o for o in found if not o.success)
    assert (outcome.column, outcome.examples) == ("trained_share", ("c",))
    assert outcome.change == ("data.checks.min_label_share",)


def test_an_empty_split_is_named():
    frames = tables()
    frames["splits"].loc["test", "rows"] = 0
    outcome = next(o for o in validate(frames, Checks()) if not o.success)
    assert (outcome.column, outcome.examples) == ("rows", ("test",))


def test_a_check_that_raised_is_a_bug_and_not_bad_data(tmp_path):
    suites = write_suites(tmp_path, {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "nope"}})
    with pytest.raises(CheckBroken, match=r'(?s)rows: No nope\. .*"nope"'):
        validate(tables(), Checks(), suites)


def test_an_own_expectation_is_checked_and_described(tmp_path):
    kwargs = {"column": "longest", "max_value": 8}
    suites = write_suites(tmp_path, {"type": "expect_column_values_to_be_between", "kwargs": kwargs})
    (outcome,) = validate(tables(), Checks(), suites)
    assert (outcome.success, outcome.description, outcome.allowed) == (False, "No nope.", "at most 8")


def test_an_unknown_expectation_is_a_data_error_that_names_the_file(tmp_path):
    suites = write_suites(tmp_path, {"type": "expect_the_unexpected", "kwargs": {}})
    with pytest.raises(
        DataError, match=r"(?s)suites\.json holds.*rows, expectation 1: expect_the_unexpected not found"
    ):
        validate(tables(), Checks(), suites)


def test_an_unknown_parameter_is_a_data_error_that_lists_the_known_ones(tmp_path):
    kwargs = {"column": "longest", "max_value": {"$PARAMETER": "max_lenght"}}
    suites = write_suites(tmp_path, {"type": "expect_column_values_to_be_between", "kwargs": kwargs})
    with pytest.raises(DataError, match=r"max_lenght.*Known parameters: .*max_length"):
        validate(tables(), Checks(), suites)


def test_broken_json_is_a_data_error_with_its_line(tmp_path):
    suites = tmp_path / "suites.json"
    suites.write_text('[\n{"name": "rows",,}]')
    with pytest.raises(DataError, match="line 2: not valid JSON"):
        validate(tables(), Checks(), suites)


def test_a_missing_suite_file_says_how_to_bring_it_back(tmp_path):
    with pytest.raises(DataError, match="git checkout"):
        validate(tables(), Checks(), tmp_path / "gone.json")


def test_the_suite_in_the_repository_holds_no_ids_and_describes_everything():
    suites = json.loads(layout.SUITE.read_text(encoding="utf-8"))
    expectations = [expectation for suite in suites for expectation in suite["expectations"]]
    assert all("id" not in each for each in (*suites, *expectations))
    assert all(expectation["description"] for expectation in expectations)


def test_a_share_is_written_with_the_digits_that_say_something():
    assert [percent(share) for share in (0.02, 0.0025, 1 / 3, 0, 1 - 0.98)] == [
        "2%",
        "0.25%",
        "33.3%",
        "0%",
        "2%",
    ]


def write_suites(folder, expectation):
    path = folder / "suites.json"
    path.write_text(json.dumps([{"name": "rows", "expectations": [{"description": "No nope.", **expectation}]}]))
    return path
