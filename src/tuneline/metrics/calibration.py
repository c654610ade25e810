"""Whether a model is as often right as it says it is.

    claims of 0.9, 0.9, 0.9 and 0.7, of which the second is wrong    ECE |2.7 - 2| / 4 + |0.7 - 1| / 4 = 0.25

A claim is what a model says of one item: of a row, of a word of a row, or of a label of a row. Rows may be weighted, so
ECE and Brier score come as functions of the rows' weights.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneline.metrics.classification import LEAST, Codes, Scores
from tuneline.metrics.weighted import Measure, Quotient, divided, once

BINS = 15  # as Guo et al. 2017 count
COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are tried
FEWEST_ITEMS = 50  # a temperature fitted on fewer says more of these items than of the model
STEPS = 60  # a bisection alone would be exact to the last digit by then


@dataclass(frozen=True)
class Claims:
    """What a model claims, item by item."""

    confidence: Scores  # the probability of what is claimed, (items,)
    right: Scores  # 1 where the claim holds, else 0, (items,)
    squared_error: Scores  # Brier's, (items,)
    row: Codes  # the row of each item, (items,)
    rows: int


def of_classes(probabilities: Scores, gold: Codes, row: Codes | None = None, rows: int | None = None) -> Claims:
    """Each item is of its likeliest class. Its squared error is summed over the classes, as in Brier 1950: from 0 to 2.

    probabilities: (items, classes). gold: the code of each item's class; below 0, one that the model does not know.
    Without row and rows, each item is a row.
    """
    items = np.arange(len(gold))
    of_gold = np.where(gold >= 0, probabilities[items, gold], 0.0)
    squared_error = (probabilities**2).sum(axis=1) - 2 * of_gold + 1
    right = (probabilities.argmax(axis=1) == gold).astype(float)
    row, rows = (items, len(gold)) if row is None or rows is None else (row, rows)
    return Claims(probabilities.max(axis=1), right, squared_error, row, rows)


def of_labels(probabilities: Scores, gold: Codes) -> Claims:
    """Each item is a label of a row, claimed with its probability; it holds where the row has it. (rows, labels)"""
    row = np.repeat(np.arange(len(gold)), gold.shape[1])
    chances, right = probabilities.ravel(), gold.ravel().astype(float)
    return Claims(chances, right, (chances - right) ** 2, row, len(gold))


def ece(claims: Claims) -> Measure:
    """Expected calibration error: how far confidence and share right are apart in each bin of the confidence, averaged
    over the items (Guo et al. 2017, "On Calibration of Modern Neural Networks"). Lower is better."""
    counts = np.bincount(claims.row, minlength=claims.rows).astype(float)
    cells = claims.row * BINS + _bins(claims.confidence)
    gaps = np.bincount(cells, claims.confidence - claims.right, minlength=claims.rows * BINS)
    by_bin = gaps.reshape(claims.rows, BINS)
    return lambda weights: divided(np.abs(weights @ by_bin).sum(axis=1), weights @ counts, np.nan)


def brier(claims: Claims) -> Quotient:
    """Brier score: the mean squared error of the probabilities. Lower is better."""
    counts = np.bincount(claims.row, minlength=claims.rows).astype(float)
    errors = np.bincount(claims.row, claims.squared_error, minlength=claims.rows)
    return Quotient(errors, counts)


def measures(claims: Claims | None) -> dict[str, Measure]:
    """By metric name; none where nothing is claimed."""
    return {} if claims is None or not len(claims.row) else {"ece": ece(claims), "brier": brier(claims)}


def scores(claims: Claims | None) -> dict[str, float]:
    """The same where every row counts once."""
    return {name: once(measure, claims.rows) for name, measure in measures(claims).items() if claims}


def reliability(claims: Claims | None) -> list[dict[str, Any]]:
    """Of each bin of the confidence that holds items: its bounds, mean confidence, share right and count."""
    if claims is None:
        return []
    bins = _bins(claims.confidence)
    held = ((number, bins == number) for number in range(BINS))
    return [
        {
            "from": round(number / BINS, 4),
            "to": round((number + 1) / BINS, 4),
            "confidence": round(float(claims.confidence[inside].mean()), 6),
            "share_right": round(float(claims.right[inside].mean()), 6),
            "count": int(inside.sum()),
        }
        for number, inside in held
        if inside.any()
    ]


def temperature(logits: Scores, gold: Codes) -> float:
    """What logits are best divided by: the temperature with the least negative log-likelihood on these items (Guo et
    al. 2017), to four decimals. 1 for fewer than FEWEST_ITEMS, and where no item is wrong, for then the colder is ever
    the likelier.

    logits: (items, classes). gold: the code of each item's class. The likelihood is convex in 1 / temperature, so
    Newton's steps find the one minimum; a step beyond what is known of its place is a bisection instead.
    """
    if len(gold) < FEWEST_ITEMS or (logits.argmax(axis=1) == gold).all():
        return 1.0
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    of_gold = shifted[np.arange(len(gold)), gold].mean()
    low, high, factor = 1 / HOTTEST, 1 / COLDEST, 1.0  # of the logits
    for _ in range(STEPS):
        chances = np.exp(factor * shifted)
        chances /= chances.sum(axis=1, keepdims=True)
        mean = (chances * shifted).sum(axis=1)
        slope = mean.mean() - of_gold
        curvature = (chances * shifted**2).sum(axis=1).mean() - (mean**2).mean()
        low, high = (factor, high) if slope < 0 else (low, factor)
        before, factor = factor, factor - slope / max(curvature, LEAST)
        if not low < factor < high:
            factor = (low + high) / 2
        if abs(factor - before) < 1e-9 * factor:
            break
    return round(1 / factor, 4)


def pairs(logits: NDArray[Any]) -> Scores:
    """Logits of single decisions as logits of two classes, no and yes: (...,) to (items, 2)."""
    flat = logits.ravel().astype(np.float64)
    return np.stack([np.zeros_like(flat), flat], axis=1)


def without(probabilities: Scores, temperature: float) -> Scores:
    """Probabilities over the last axis, as they would be had the logits not been divided by the temperature."""
    if temperature == 1:
        return probabilities
    raised = (probabilities / probabilities.max(axis=-1, keepdims=True)) ** temperature
    return raised / raised.sum(axis=-1, keepdims=True)


def without_each(probabilities: Scores, temperature: float) -> Scores:
    """The same for probabilities of single decisions."""
    both = np.stack([1 - probabilities, probabilities], axis=-1)
    return without(both, temperature)[..., 1]


def _bins(confidence: Scores) -> Codes:
    """The bin of each confidence: 0 to BINS - 1. A bin holds its upper bound, the first one its lower bound too."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
