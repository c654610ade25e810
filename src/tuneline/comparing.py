"""Two models' predictions of the same rows, compared: how much one is better, and how sure that is.

accuracy 0.913 against 0.905: 0.008 better, 95% interval -0.001 to 0.017, p 0.04; McNemar's exact test p 0.08
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tuneline.errors import Undefined
from tuneline.metrics.resampling import FEWEST_ROWS, SEED, defined
from tuneline.metrics.significance import bootstrap_differences, mcnemar, randomisation, share_with_correction
from tuneline.metrics.weighted import Measure, Quotient
from tuneline.tasks.base import Prediction, Row, Score, Task


@dataclass(frozen=True)
class Comparison:
    """A challenger beside a champion by one metric. A gain above 0 is for the better, whichever way the metric runs."""

    metric: str
    rows: int
    challenger: float
    champion: float
    gain: float
    interval: tuple[float, float]  # of the gain: the middle share of the resamples, by the confidence
    lower: float  # the gain is above it with that confidence, one-sided
    p_value: float  # one-sided, of the paired bootstrap: that the gain is no more than minimum_effect
    test: str  # beside the bootstrap: that of no difference at all
    test_p_value: float  # two-sided


def compare(
    task: Task, labels: Sequence[str], rows: Sequence[Row], challenger_predictions: Sequence[Prediction],
    champion_predictions: Sequence[Prediction], metric: str, higher_is_better: bool, minimum_effect: float,
    confidence: float, resamples: int, seed: int = SEED, chosen: NDArray[np.bool_] | None = None,
) -> Comparison:  # fmt: skip
    """Compare by one metric. Arguments as for compare_by_each. Raises Undefined."""
    found = compare_by_each(
        task, labels, rows, challenger_predictions, champion_predictions, {metric: higher_is_better},
        minimum_effect, confidence, resamples, seed, chosen,
    )[metric]  # fmt: skip
    if isinstance(found, Undefined):
        raise found
    return found


def compare_by_each(
    task: Task, labels: Sequence[str], rows: Sequence[Row], challenger_predictions: Sequence[Prediction],
    champion_predictions: Sequence[Prediction], metrics: Mapping[str, bool], minimum_effect: float,
    confidence: float, resamples: int, seed: int = SEED, chosen: NDArray[np.bool_] | None = None,
) -> dict[str, Comparison | Undefined]:  # fmt: skip
    """Compare by several metrics, scored once and on the same resamples.

    metrics: name → True when higher is better. chosen: the rows to compare on, where that is not all of them, (rows,).
    A metric is Undefined, with the reason, where there are fewer than two rows, or where it is no number on them or on
    more than a few resamples. The others are compared all the same.
    """
    if chosen is not None:
        kept = np.flatnonzero(chosen).tolist()
        rows = [rows[i] for i in kept]
        challenger_predictions = [challenger_predictions[i] for i in kept]
        champion_predictions = [champion_predictions[i] for i in kept]
    if len(rows) < FEWEST_ROWS:
        few = Undefined(f"there is no comparing of two models on {len(rows)} rows. Expected {FEWEST_ROWS} at least.")
        return dict.fromkeys(metrics, few)

    @cache
    def mixed() -> Score:
        """Scored only where a test asks for it."""
        return task.score([*challenger_predictions, *champion_predictions], [*rows, *rows], labels)

    challenger = task.score(challenger_predictions, rows, labels)
    champion = task.score(champion_predictions, rows, labels)
    found: dict[str, Comparison | Undefined] = {}
    for metric, higher in metrics.items():
        try:
            found[metric] = _comparison(
                metric, challenger, champion, mixed, 1 if higher else -1, minimum_effect, confidence, resamples, seed
            )
        except Undefined as reason:
            found[metric] = reason
    return found


def _comparison(
    metric: str, challenger: Score, champion: Score, mixed: Callable[[], Score], sign: int, minimum_effect: float,
    confidence: float, resamples: int, seed: int,
) -> Comparison:  # fmt: skip
    ours, theirs = (_value(score, metric, who) for score, who in ((challenger, "challenger"), (champion, "champion")))
    rows = len(challenger.per_row)
    measures = challenger.measures[metric], champion.measures[metric]
    drawn = sign * bootstrap_differences(*measures, rows, resamples=resamples, seed=seed)
    gains = defined(drawn)
    if gains is None:
        raise Undefined(
            f"{metric} is undefined in {np.isnan(drawn).sum():,} of {resamples:,} resamples of these {rows:,} rows: "
            "too few of them bear on it. Compare on more rows, or by another metric."
        )
    low, high, lower = np.quantile(gains, [(1 - confidence) / 2, (1 + confidence) / 2, 1 - confidence])
    test, p_value = _test(measures, lambda: mixed().measures[metric], rows, resamples, seed)
    return Comparison(
        metric=metric,
        rows=rows,
        challenger=ours,
        champion=theirs,
        gain=sign * (ours - theirs),
        interval=(float(low), float(high)),
        lower=float(lower),
        p_value=share_with_correction(int((gains <= minimum_effect).sum()), len(gains)),
        test=test,
        test_p_value=p_value,
    )


def _value(score: Score, metric: str, who: str) -> float:
    value = score.metrics.get(metric, np.nan)
    if not np.isfinite(value):
        raise Undefined(
            f"{metric} of the {who} is {value} on these {len(score.per_row):,} rows. Expected a number: either no row "
            f"bears on it, or a prediction is no number. Measured: {', '.join(score.metrics)}."
        )
    return value


def _test(
    measures: tuple[Measure, Measure], mixed: Callable[[], Measure], rows: int, resamples: int, seed: int
) -> tuple[str, float]:
    """The name of the test that suits the metric, and its p-value."""
    outcomes = [measure.outcomes if isinstance(measure, Quotient) else None for measure in measures]
    if outcomes[0] is not None and outcomes[1] is not None:
        return "McNemar's exact test", mcnemar(outcomes[0], outcomes[1])
    return "approximate randomisation", randomisation(mixed(), rows, resamples=resamples, seed=seed)
