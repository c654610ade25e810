"""The verdict of a rebuild, step by step. tests/pipeline/test_lineage.py builds a version again."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tuneline import tracking
from tuneline.digests import file_digest
from tuneline.errors import DataError
from tuneline.rebuilding import (
    NOT,
    StageChange,
    Verdict,
    causes,
    link_ignored,
    pinned_texts,
    print_verdict,
    same_answers,
    stage_changes,
    tracking_of,
    within,
)


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


def test_a_checkpoint_and_texts_that_git_ignores_are_linked_into_the_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, clone = tmp_path / "here", tmp_path / "clone"
    for folder in (here / "base", here / "texts", clone):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    general, replayed, held = Path("texts/general.txt"), Path("texts/replay.txt"), Path("held.txt")
    for path in (general, replayed, held):
        path.write_text(path.name)
    pins = {path: file_digest(path) for path in (general, replayed, held)}
    held.write_text("edited since")
    (clone / held).write_text(held.name)  # git has it
    params = {
        "model": {"checkpoint": "base", "sha256": None},
        "evaluate": {"forgetting": {"text": str(general), "sha256": pins[general]}, "other": {"text": "no file"}},
        "train": {"regularization": {"replay": {"text": str(replayed), "sha256": pins[replayed]}}},
        "register": {"text": str(held), "sha256": pins[held]},
    }
    assert pinned_texts(params) == pins
    link_ignored(params, clone)
    assert (clone / "base").resolve() == here / "base"
    assert {path: file_digest(clone / path) for path in pins} == pins
    assert not (clone / held).is_symlink()

    (clone / held).unlink()
    with pytest.raises(
        DataError, match=r"held\.txt: params pin it with sha256 .* neither the commit nor this checkout"
    ):
        link_ignored(params, clone)


def test_no_text_is_pinned_by_default() -> None:
    assert pinned_texts({"evaluate": {"forgetting": {"text": None, "sha256": None}}, "train": {"replay": None}}) == {}


def test_the_stages_of_a_rebuild_write_to_no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://10.0.0.5:5000")
    fresh, tuned = (
        tracking_of({"model": {"checkpoint": name}}, tmp_path) for name in ("ORG/NAME", "models:/reviews@champion")
    )
    assert fresh["MLFLOW_TRACKING_URI"].startswith(f"sqlite:///{tmp_path}")
    assert tuned["MLFLOW_TRACKING_URI"] == "http://10.0.0.5:5000"  # to read the base
    assert fresh[tracking.READ_ONLY] == tuned[tracking.READ_ONLY] == "yes"
