"""The predictions that changed between two versions, on the rows that both were tested on.

    right → wrong 3, wrong → right 11: {"text": "Not bad at all.", "gold": "positive", "answer": "negative", …}

Where a row is more than right or wrong, as a summary is, its score got better or worse.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuneline import predictions, record, row_changes
from tuneline.digests import file_digest
from tuneline.errors import TrackingError
from tuneline.parquet import read_rows
from tuneline.recorded import Recorded
from tuneline.registry import TEST_DIGEST, TEST_ROWS
from tuneline.tasks.base import Prediction, Row, Task

EXAMPLES = 5  # each way


@dataclass(frozen=True)
class Answered:
    """A version's test rows, and what it answered."""

    task: Task
    labels: list[str]
    rows: list[Row]
    predictions: list[Prediction]
    row_scores: list[float]

    @classmethod
    def of(cls, version: Recorded) -> "Answered":
        """TrackingError where its test rows or predictions are not those that were recorded."""
        task, labels = version.task()
        rows, answers = version.file(TEST_ROWS), version.need(record.PREDICTIONS)
        if rows is None or file_digest(rows) != version.tag(TEST_DIGEST):
            state = "gone" if rows is None else "changed"
            raise TrackingError(f"{version}: {TEST_ROWS} in MLflow run {version.version.run_id} is {state}.")
        scores = [row["row_score"] for row in read_rows(answers, ["row_score"])]
        return cls(task, labels, list(read_rows(rows)), predictions.read(answers, task), scores)


@dataclass(frozen=True)
class Pair:
    """One row and what became of its answer."""

    row: Row
    then: Prediction
    now: Prediction
    before: float
    after: float


def flips(then: Answered, now: Answered) -> dict[str, Any]:
    """How many answers changed each way, and those that the wrong side was surest of."""
    if then.task.name != now.task.name:
        return {"not_compared": f"the tasks differ: {then.task.name}, {now.task.name}"}
    both = pairs(then, now)
    graded = any(score not in (0, 1) for pair in both for score in (pair.before, pair.after))
    worse, better = ("worse", "better") if graded else ("right_to_wrong", "wrong_to_right")
    found = {
        worse: [pair for pair in both if pair.after < pair.before],
        better: [pair for pair in both if pair.after > pair.before],
    }
    return {
        "not_compared": None,
        "rows": len(both),
        "counts": {kind: len(each) for kind, each in found.items()},
        "examples": {kind: _examples(now.task, each, wrong_now=kind == worse) for kind, each in found.items()},
    }


def pairs(then: Answered, now: Answered) -> list[Pair]:
    """Rows that both have, with the same texts and the same gold, wherever they stand in the data."""
    held, has = (row_changes.numbered(_key(row, now.task) for row in side.rows) for side in (then, now))
    shared = [(held[key], place) for key, place in has.items() if key in held]
    return [
        Pair(now.rows[j], then.predictions[i], now.predictions[j], then.row_scores[i], now.row_scores[j])
        for i, j in shared
    ]


def _key(row: Row, task: Task) -> tuple[Any, ...]:
    gold = json.dumps({name: row.get(name) for name in task.gold}, ensure_ascii=False)
    return row.get("id"), record.inputs_key(row, task), gold


def _examples(task: Task, changed: Sequence[Pair], *, wrong_now: bool) -> list[dict[str, Any]]:
    """Those that changed most; of these, those whose wrong answer was the surest."""
    found = [(pair, task.mistake(pair.row, pair.now if wrong_now else pair.then)) for pair in changed]
    found.sort(key=lambda each: (-abs(each[0].after - each[0].before), -each[1].score))
    return [
        {"id": pair.row.get("id"), "text": mistake.text, "gold": mistake.gold, "answer": mistake.predicted,
         "score": mistake.score}
        for pair, mistake in found[:EXAMPLES]
    ]  # fmt: skip
