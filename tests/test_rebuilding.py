"""The verdict of a rebuild, step by step. tests/pipeline/test_lineage.py builds a version again."""

import io
from typing import Any

import pytest
from rich.console import Console

from tuneline.rebuilding import NOT, StageChange, Verdict, causes, print_verdict, same_answers, stage_changes, within


def lock(**hashes: str) -> dict[str, Any]:
    """validate makes v from raw and code; each stage after it makes one out from the one before."""
    made = {"validate": ("raw", "v"), "tokenize": ("v", "t"), "fine-tune": ("t", "m"), "evaluate": ("m", "e")}
    return {
        stage: {
            "deps": [{"path": dep, "md5": hashes.get(dep, "0")}, {"path": "src/a.py", "md5": hashes.get("src", "0")}],
            "outs": [{"path": out, "md5": hashes.get(out, "0")}],
        }
        for stage, (dep, out) in made.items()
    }


def test_a_stage_differs_by_its_outs_or_by_deps_that_no_stage_made() -> None:
    assert stage_changes(lock(), lock()) == []
    assert stage_changes(lock(), lock(m="1", e="1")) == [
        StageChange("fine-tune", [], ["m"]), StageChange("evaluate", [], ["e"])
    ]  # fmt: skip
    assert stage_changes(lock(), lock(raw="1"))[0] == StageChange("validate", ["raw"], [])


def test_the_first_stage_with_other_outs_is_named_with_all_that_went_into_it() -> None:
    found = causes(stage_changes(lock(), lock(src="1", m="1", e="1")), ["torch 2.13.0 → 2.14.0"])
    assert found == [
        "fine-tune first differed: m",
        "its inputs are not those of then: src/a.py",
        "the environment is not that of then: torch 2.13.0 → 2.14.0",
    ]
    assert "without a deterministic form" in causes(stage_changes(lock(), lock(m="1")), [])[-1]


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        ([{"label": "a", "score": 0.9}], [{"label": "a", "score": 0.8}], True),
        ([{"label": "a", "score": 0.9}], [{"label": "b", "score": 0.9}], False),
        ([{"answer": "", "start": None, "score": 0.9}], [{"answer": "", "start": 3, "score": 0.9}], False),
        ([{"value": 1.25}], [{"value": 1.25}], True),
        ([{"value": 1.25}], [{"value": 1.26}], False),
        ([{"labels": ["a"], "scores": [0.9]}], [{"labels": ["a"], "scores": [0.7]}], True),
        ([{"label": "a", "score": 0.9}], [], False),
    ],
)
def test_answers_are_compared_in_words_and_numbers_only_where_there_are_no_words(
    then: list[dict[str, Any]], now: list[dict[str, Any]], same: bool
) -> None:
    assert same_answers(then, now) is same


def test_every_metric_must_lie_within_its_recorded_interval() -> None:
    def metric(rebuilt: float | None, interval: list[float] | None) -> dict[str, Any]:
        return {"recorded": 0.9, "rebuilt": rebuilt, "interval": interval}

    assert within({"accuracy": metric(0.88, [0.85, 0.95]), "pr_auc": metric(0.1, None)})
    assert within({"accuracy": metric(0.85, [0.85, 0.95])})
    assert not within({"accuracy": metric(0.84, [0.85, 0.95])})
    assert not within({"accuracy": metric(None, [0.85, 0.95])})
    assert not within({"accuracy": metric(0.9, None)})  # nothing to be held to


def test_a_verdict_is_shown_with_its_causes_and_both_numbers() -> None:
    verdict = Verdict(
        "models:/toy/7", "c" * 40, NOT, ["fine-tune first differed: data/model"], [],
        {"accuracy": {"recorded": 0.9, "rebuilt": 0.5, "interval": [0.85, 0.95]},
         "roc_auc": {"recorded": 0.9, "rebuilt": None, "interval": None}},
        [], ["The commit is not the whole truth."],
    )  # fmt: skip
    shown = Console(file=io.StringIO(), width=100, record=True)
    print_verdict(shown, verdict)
    assert [line.rstrip() for line in shown.export_text().splitlines()] == [
        "note  The commit is not the whole truth.",
        "models:/toy/7 at cccccccccccc: not reproduced",
        "  fine-tune first differed: data/model",
        "  accuracy         0.9000 [0.8500, 0.9500] → 0.5000",
        "  roc_auc          0.9000 → not defined",
    ]
