"""The checks of `tuneline drift`: one thing about rows, on both sides, and whether it changed.

    known    vocabulary {"broke", "days", ...}   of training rows
    before   test rows of the model              {"words": 4, "labels": ["negative"], ...}, an observation each
    now      rows of today

A check finds drift when its p-value, raised for the number of checks, is below 1 - confidence, and its effect is at
least the smallest one that matters: of enough rows the least difference is more than chance.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from tuneline.metrics import two_samples
from tuneline.metrics.two_samples import Comparison
from tuneline.observations import Observation, sample

FEWEST_ROWS = 50  # of either side; with fewer the tests see nothing but the coarsest change
EMBEDDED_ROWS = 1_000  # of either side, for the test of embeddings takes time by their square
NAMED_WORDS = 10
Figures = dict[str, float]
Found = tuple[Figures, Figures, Comparison]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, on both sides."""

    of: str
    test: str
    reference: Figures  # {"median": 14.0}; of labels, the share of each
    new: Figures
    effect: float  # distance of the samples: 0 where they are alike, about 1 where they have nothing in common
    p_value: float
    adjusted_p: float
    drifted: bool


@dataclass(frozen=True)
class NewWord:
    """A word that more rows have than had it, as shares of the rows."""

    word: str
    reference: float
    new: float


@dataclass(frozen=True)
class Sides:
    """What is compared, and how often the tests that deal rows out anew deal."""

    before: Sequence[Observation]
    now: Sequence[Observation]
    known: Collection[str]
    permutations: int


def checked(
    before: Sequence[Observation], now: Sequence[Observation], known: Collection[str],
    *, confidence: float, smallest_effect: float,
) -> list[Check]:  # fmt: skip
    """A check of everything that both sides have FEWEST_ROWS rows of. known: the words of training rows."""
    level = 1 - confidence
    permutations = ceil(10 * len(CHECKS) / level)  # so that the smallest p that can come out is far below the level
    sides = Sides(before, now, known, permutations)
    made = [(of, test, *found) for of, test, measure in CHECKS if (found := measure(sides)) is not None]
    adjusted = two_samples.holm([comparison.p_value for *_, comparison in made])
    return [
        Check(
            of, test, reference, new, comparison.distance, comparison.p_value, p,
            drifted=p < level and abs(comparison.distance) >= smallest_effect,
        )
        for (of, test, reference, new, comparison), p in zip(made, adjusted, strict=True)
    ]  # fmt: skip


def new_words(before: Sequence[Observation], now: Sequence[Observation], *, confidence: float) -> list[NewWord]:
    """NAMED_WORDS at most of those that more rows have now, by more than chance; those that tell most first."""
    then, today = (Counter(word for row in side for word in row["vocabulary"]) for side in (before, now))
    words = two_samples.over_represented(then, today, len(before), len(now), 1 - confidence)
    return [NewWord(word, then[word] / len(before), today[word] / len(now)) for word in words[:NAMED_WORDS]]


def _number(name: str) -> Callable[[Sides], Found | None]:
    """The check of a number that rows have."""

    def measure(sides: Sides) -> Found | None:
        before, now = (
            np.array([row[name] for row in side if row[name] is not None], float) for side in (sides.before, sides.now)
        )
        if min(len(before), len(now)) < FEWEST_ROWS:
            return None
        medians = [{"median": float(np.median(side))} for side in (before, now)]
        return medians[0], medians[1], two_samples.kolmogorov_smirnov(before, now)

    return measure


def _unknown_words(sides: Sides) -> Found | None:
    """The check of the share of words that no training row has, each word of a row counted once."""
    before, now = (
        np.array([(sum(word not in sides.known for word in row["vocabulary"]), len(row["vocabulary"]))
                  for row in side if row["vocabulary"]])
        for side in (sides.before, sides.now)
    )  # fmt: skip
    if not sides.known or min(len(before), len(now)) < FEWEST_ROWS:
        return None
    shares = [{"share": float(side[:, 0].sum() / side[:, 1].sum())} for side in (before, now)]
    return shares[0], shares[1], two_samples.two_proportions(before, now)


def _embedding(sides: Sides) -> Found:
    before, now = (
        np.array([side[i]["embedding"] for i in sample(len(side), EMBEDDED_ROWS)], float)
        for side in (sides.before, sides.now)
    )
    return {}, {}, two_samples.maximum_mean_discrepancy(before, now, sides.permutations)


def _labels(sides: Sides) -> Found | None:
    """The check of the shares of predicted labels."""
    counted: list[list[Counter[str]]] = [
        [Counter(row["labels"]) for row in side if row["labels"]] for side in (sides.before, sides.now)
    ]
    if min(map(len, counted)) < FEWEST_ROWS:
        return None
    names = sorted({name for side in counted for row in side for name in row})
    before, now = (np.array([[row[name] for name in names] for row in side]) for side in counted)
    shares = [dict(zip(names, (side.sum(axis=0) / side.sum()).tolist(), strict=True)) for side in (before, now)]
    if all((side.sum(axis=1) == 1).all() for side in (before, now)):
        found = two_samples.chi_square(before.sum(axis=0), now.sum(axis=0))
    else:
        found = two_samples.chi_square_of_rows(before, now, sides.permutations)
    return shares[0], shares[1], found


CHECKS: tuple[tuple[str, str, Callable[[Sides], Found | None]], ...] = (
    ("length in words", "Kolmogorov-Smirnov", _number("words")),
    ("length in characters", "Kolmogorov-Smirnov", _number("characters")),
    ("unknown words", "two proportions", _unknown_words),
    ("embedding", "MMD", _embedding),
    ("predicted labels", "chi-square", _labels),
    ("predicted number", "Kolmogorov-Smirnov", _number("number")),
    ("confidence", "Kolmogorov-Smirnov", _number("confidence")),
)
