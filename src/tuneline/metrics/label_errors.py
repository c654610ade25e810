"""Gold labels that are likely wrong, by confident learning.

    gold  probabilities of a and b          thresholds: a (0.9 + 0.8 + 0.1) / 3 = 0.6, b (0.3 + 0.7) / 2 = 0.5
    a     0.9 0.1 · 0.8 0.2 · 0.1 0.9       the third row reaches that of b, not its own: likely b
    b     0.7 0.3 · 0.3 0.7                 the fourth reaches that of a, not its own: likely a

After Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels": the items off
the diagonal of their confident joint. The model must not have been trained on the items.
"""

from dataclasses import dataclass

import numpy as np

from tuneline.metrics.classification import Codes, Scores


@dataclass(frozen=True)
class Suspect:
    """An item whose gold label is likely another one."""

    item: int
    suggested: int  # code of the label that it likely has
    confidence: float  # its probability
    margin: float  # probability of the gold label, less that of the likeliest other one: -1 to 1


def suspects(gold: Codes, probabilities: Scores) -> list[Suspect]:
    """The items for which another label is the likeliest of those whose probability reaches their threshold, the mean
    probability of a label among the items that have it. The lowest margin first.

    gold: (items,), below 0 where the model does not know the label; such items are left out. probabilities: (items,
    labels). A label that no item has is never suggested.
    """
    known = np.flatnonzero(gold >= 0)
    if not len(known):
        return []
    given, chances = gold[known], probabilities[known]
    items = np.arange(len(known))
    reached = np.where(chances >= thresholds(given, chances), chances, -1.0)
    suggested = reached.argmax(axis=1)
    others = chances.copy()
    others[items, given] = -1.0
    margin = chances[items, given] - others.max(axis=1)
    chosen = np.flatnonzero((reached.max(axis=1) >= 0) & (suggested != given))
    chosen = chosen[np.argsort(margin[chosen], kind="stable")]
    return [
        Suspect(int(known[i]), int(suggested[i]), float(chances[i, suggested[i]]), float(margin[i])) for i in chosen
    ]


def thresholds(gold: Codes, probabilities: Scores) -> Scores:
    """The mean probability of each label among the items that have it; infinite where none has it. (labels,)"""
    labels = probabilities.shape[1]
    counts = np.bincount(gold, minlength=labels)
    sums = np.bincount(gold, probabilities[np.arange(len(gold)), gold], minlength=labels)
    return np.divide(sums, counts, out=np.full(labels, np.inf), where=counts > 0)
