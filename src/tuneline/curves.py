"""The learning curve: one line per logged step.

step,epoch,learning_rate,train_loss,validation_accuracy,validation_loss
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PLACE = ("step", "epoch")  # where a point stands
TIMING = ("_runtime", "_per_second")  # never in a file that DVC hashes


def from_history(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Points of the Trainer's log under our names, those of one step merged."""
    curve: dict[int, dict[str, float]] = {}
    for point in history:
        line = curve.setdefault(int(point["step"]), {"step": int(point["step"]), "epoch": round(point["epoch"], 4)})
        for name, value in point.items():
            if name not in PLACE and not name.endswith(TIMING):
                line[_renamed(name)] = value
    return list(curve.values())


def metrics_of(point: dict[str, Any]) -> dict[str, float]:
    """The measured values of one line, without where it stands."""
    return {name: value for name, value in point.items() if name not in PLACE}


def write(path: Path, curve: Sequence[dict[str, float]]) -> None:
    """As CSV, empty where a step has no value."""
    names = list(dict.fromkeys(name for point in curve for name in point))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(curve)


def read(path: Path) -> list[dict[str, float]]:
    """The lines of a curve, without the empty cells."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in line.items() if value} for line in csv.DictReader(file)]


def _renamed(name: str) -> str:
    if name.startswith("eval_"):
        return "validation_" + name.removeprefix("eval_")
    return {"loss": "train_loss"}.get(name, name)
