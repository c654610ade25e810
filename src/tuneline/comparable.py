"""What a model answers to, and whether two models answer to the same: the same labels, problem, scheme or goal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tuneline.errors import Unscorable
from tuneline.tasks import task_class
from tuneline.tasks.base import Task

SHOWN_LABELS = 20
FACTS = "tuneline.json"  # of a model folder


class Facts(NamedTuple):
    """What a model answers to."""

    task: Task
    labels: list[str]


def facts_of(folder: Path) -> Facts:
    """Those of a model folder; the task has what was fitted."""
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return Facts(task_class(facts["task"]["name"]).model_validate(facts["task"]), facts["labels"])


def same_question(then: Facts, now: Facts) -> None:
    """Unscorable, with what changed, where gold means another thing to the champion than to the model of today."""
    if then.task.name != now.task.name:
        raise Unscorable(f"the champion's task is {then.task.name}, this model's is {now.task.name}")
    options = {name: (getattr(then.task, name), getattr(now.task, name)) for name in now.task.gold_options}
    changes = [
        f"task.{name} changed since the champion (then {theirs}, now {ours})"
        for name, (theirs, ours) in options.items()
        if theirs != ours
    ]
    if changes:
        raise Unscorable("; ".join(changes))
    _same_labels(then.labels, now.labels)


def _same_labels(then: Sequence[str], now: Sequence[str]) -> None:
    """Unscorable, with the labels that came and went, where the champion's label set is not today's."""
    if list(then) == list(now):
        return
    sides = {"new": sorted(set(now) - set(then)), "gone": sorted(set(then) - set(now))}
    changes = [f"{side}: {_some(labels)}" for side, labels in sides.items() if labels]
    raise Unscorable(f"label set changed since the champion ({'; '.join(changes) or 'its order'})")


def _some(labels: Sequence[str]) -> str:
    more = len(labels) - SHOWN_LABELS
    return ", ".join(labels[:SHOWN_LABELS]) + (f" and {more} more" if more > 0 else "")
