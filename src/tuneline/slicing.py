"""The parts of the test split that are scored by themselves, in the first metric of the task.

    {"name": "label: negative", "by": "label", "rows": 197, "value": 0.93, "interval": [0.89, 0.96], "judged": True}

The same rows and params give the same slices, so that two models can be compared slice by slice.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tuneline import conditions
from tuneline.metrics.resampling import intervals
from tuneline.metrics.weighted import Measure
from tuneline.params import Evaluate, Slices
from tuneline.tasks.base import Prediction, Row, Score, Task

Mask = NDArray[np.bool_]  # (rows,)
Interval = tuple[float, float]
NO_VALUE, OTHER_VALUES = "(none)", "(others)"


@dataclass(frozen=True)
class Slice:
    """Some of the rows."""

    name: str
    by: str  # length, label, column or where
    mask: Mask


@dataclass(frozen=True)
class SliceScore:
    """How a model does on a slice."""

    name: str
    by: str
    rows: int
    value: float | None  # None where the metric says nothing of such rows
    interval: Interval | None  # of slices that are judged
    judged: bool  # whether it is large enough


def measured(
    table: pa.Table,
    task: Task,
    predictions: Sequence[Prediction],
    score: Score,
    labels: Sequence[str],
    evaluate: Evaluate,
) -> list[SliceScore]:
    """How a model does on each slice of the test rows. predictions, score: of all these rows."""
    rows, metric = table.to_pylist(), task.default_metric

    def among(mask: Mask) -> Measure:
        chosen: list[int] = np.flatnonzero(mask).tolist()
        return task.score([predictions[i] for i in chosen], [rows[i] for i in chosen], labels).of_slices(metric)

    return scored(
        slices(table, task, evaluate.slices), score.of_slices(metric), among, evaluate,
        higher_is_better=task.metrics[metric],
    )  # fmt: skip


def slices(table: pa.Table, task: Task, wanted: Slices) -> list[Slice]:
    """The slices of validated rows, each name once. ParamsError names each condition that is none."""
    rows: list[Row] = table.to_pylist()
    paths = {name: f"evaluate.slices.where.{name}" for name in wanted.where}
    masks = conditions.holds(table, {paths[name]: condition for name, condition in wanted.where.items()})
    found = [
        *_by_length([len(task.input_text(row)) for row in rows], wanted.length_groups),
        *(_by_label([task.gold_labels(row) for row in rows]) if wanted.labels else ()),
        *(each for name in wanted.columns for each in _by_value(name, [row[name] for row in rows], wanted.most_values)),
        *(Slice(name, "where", masks[path]) for name, path in paths.items()),
    ]
    once: dict[str, Slice] = {}
    for each in found:
        once.setdefault(each.name, each)
    return list(once.values())


def _by_length(lengths: Sequence[int], groups: int) -> Iterator[Slice]:
    """Groups of like size. Rows of one length stay together, so there may be fewer."""
    if not groups or not lengths:
        return
    sizes = np.array(lengths)
    cuts = np.unique(np.quantile(sizes, np.arange(1, groups) / groups, method="inverted_cdf"))
    group = np.searchsorted(cuts, sizes)
    for number in np.unique(group):
        mask = group == number
        yield Slice(f"length: {sizes[mask].min()} to {sizes[mask].max()} characters", "length", mask)


def _by_label(labels: Sequence[Sequence[str]]) -> Iterator[Slice]:
    for label in sorted({label for named in labels for label in named}):
        yield Slice(f"label: {label}", "label", np.array([label in named for named in labels]))


def _by_value(column: str, cells: Sequence[Any], most: int) -> Iterator[Slice]:
    """The most frequent values, then the rest as one slice."""
    values = [_text(cell) for cell in cells]
    common = [value for value, _ in sorted(Counter(values).items(), key=lambda each: (-each[1], each[0]))[:most]]
    for value in common:
        yield Slice(f"{column}: {value}", "column", np.array([each == value for each in values]))
    rest = np.array([each not in common for each in values])
    if rest.any():
        yield Slice(f"{column}: {OTHER_VALUES}", "column", rest)


def _text(cell: Any) -> str:
    if cell is None or cell == []:
        return NO_VALUE
    return " ".join(map(str, cell)) if isinstance(cell, list) else str(cell)


def scored(
    found: Sequence[Slice],
    measure: Measure,
    measure_among: Callable[[Mask], Measure],
    evaluate: Evaluate,
    *,
    higher_is_better: bool,
) -> list[SliceScore]:
    """The score of each slice. Those that are judged come first, the worst of them at the top.

    measure: the metric, over all rows. measure_among: the same over the rows of a mask alone, so that a
    small slice is resampled quickly.
    """

    def interval(mask: Mask) -> Interval | None:
        found = intervals(
            {"metric": measure_among(mask)}, int(mask.sum()), confidence=evaluate.confidence,
            resamples=evaluate.resamples,
        )  # fmt: skip
        return found.get("metric")

    scores = [_scored(each, measure, interval, evaluate.slices.fewest_rows) for each in found]
    worse = 1 if higher_is_better else -1
    judged = sorted((each for each in scores if each.judged), key=lambda each: worse * (each.value or 0.0))
    return [*judged, *(each for each in scores if not each.judged)]


def _scored(each: Slice, measure: Measure, interval: Callable[[Mask], Interval | None], fewest_rows: int) -> SliceScore:
    rows, value = int(each.mask.sum()), float(measure(each.mask[None].astype(float))[0])
    known = math.isfinite(value)
    judged = known and rows >= fewest_rows
    return SliceScore(
        each.name, each.by, rows, value if known else None, interval(each.mask) if judged else None, judged
    )
