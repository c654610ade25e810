"""Tests of a difference: against exact enumeration, scipy, and by hand; and how often they are wrong."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from tuneline.metrics import classification
from tuneline.metrics.significance import bootstrap_differences, mcnemar, randomisation, share_with_correction
from tuneline.metrics.weighted import Measure, Quotient, mean


def test_mcnemar_worked_by_hand() -> None:
    """Of 10 rows that one model alone has right, 1 is the second's: 2 (1 + 10) / 2**10."""
    first, second = np.array([1] * 9 + [0] + [1] * 5, bool), np.array([0] * 9 + [1] + [1] * 5, bool)
    assert mcnemar(first, second) == mcnemar(second, first) == 22 / 1024


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (3, 3), (12, 5), (121, 59), (700, 900), (9_000, 9_300)])
def test_mcnemar_is_the_binomial_test_of_scipy(gained: int, lost: int) -> None:
    # 121 and 59 are the discordant pairs of the example of statsmodels.stats.contingency_tables.mcnemar's page.
    first = np.array([True] * gained + [False] * lost + [True] * 4)
    second = np.array([False] * gained + [True] * lost + [True] * 4)
    theirs = stats.binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert mcnemar(first, second) == pytest.approx(theirs)


def every_swap(mixed: Measure, rows: int) -> float:
    """The two-sided p-value over all 2**rows ways to swap."""
    swapped = np.array(list(product([0.0, 1.0], repeat=rows)))
    first = np.concatenate([1 - swapped, swapped], axis=1)
    differences = np.abs(mixed(first) - mixed(1 - first))
    return float((differences >= differences[0] - 1e-12).mean())


def test_randomisation_of_a_corpus_metric_is_that_of_every_swap() -> None:
    generator = np.random.default_rng(0)
    gold = np.tile(generator.integers(0, 3, 12), 2)
    predicted = np.where(generator.random(24) < np.repeat([0.9, 0.4], 12), gold, generator.integers(0, 3, 24))
    mixed = classification.macro_f1(classification.label_counts(gold, predicted, 3))
    exact = every_swap(mixed, 12)
    assert 0.01 < exact < 0.3
    assert randomisation(mixed, 12, resamples=20_000) == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))


def test_randomisation_of_a_mean_is_the_permutation_test_of_scipy() -> None:
    generator = np.random.default_rng(1)
    first = generator.random(40)
    second = first - 0.05 + generator.normal(0, 0.2, 40)
    theirs = stats.permutation_test(
        (first, second), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=20_000, rng=2,
    ).pvalue  # fmt: skip
    ours = randomisation(mean(np.r_[first, second]), 40, resamples=20_000)
    assert ours == pytest.approx(theirs, abs=0.015)


def test_a_draw_that_leaves_the_metric_undefined_speaks_for_chance() -> None:
    mixed = Quotient(np.array([1, 0, 0, 0]), np.array([1, 0, 1, 0]))  # only the two predictions of row 0 bear on it
    assert randomisation(mixed, 2, resamples=500) == 1.0
    undefined = Quotient(np.array([1, 0, 0, 0]), np.array([1, 0, 0, 1]))  # a draw may take both away from a side
    assert randomisation(undefined, 2, resamples=500) == 1.0


def test_the_bootstrap_is_paired() -> None:
    """A second model that is worse by 0.01 in every row: whatever is drawn, the difference is that."""
    points = np.random.default_rng(0).random(50)
    found = bootstrap_differences(mean(points), mean(points - 0.01), 50, resamples=300)
    assert found == pytest.approx(np.full(300, 0.01))


def test_a_p_value_is_never_zero() -> None:
    assert share_with_correction(0, 999) == 0.001
    assert share_with_correction(999, 999) == 1.0


def rate_of_gains(advantage: float, confidence: float, trials: int, *, right_or_wrong: bool) -> float:
    """How often the lower bound of the gain is above 0, over models and test rows drawn anew."""
    generator = np.random.default_rng(7)
    above = 0
    for trial in range(trials):
        hardness = generator.normal(size=200)  # what both models share
        first, second = (hardness + shift + generator.normal(size=200) for shift in (advantage, 0.0))
        if right_or_wrong:
            first, second = (first > 0).astype(float), (second > 0).astype(float)
        drawn = bootstrap_differences(mean(first), mean(second), 200, resamples=400, seed=trial)
        above += bool(np.quantile(drawn, 1 - confidence) > 0)
    return above / trials


@pytest.mark.parametrize("right_or_wrong", [False, True])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_under_no_difference_gains_are_found_as_seldom_as_the_confidence_says(
    confidence: float, right_or_wrong: bool
) -> None:
    trials = 1_000
    rate = rate_of_gains(0.0, confidence, trials, right_or_wrong=right_or_wrong)
    expected = 1 - confidence
    error = np.sqrt(expected * confidence / trials)
    assert rate < expected + 3 * error
    # Shares of rows move in steps, and a bound at 0 is not above 0: a little more seldom than that.
    assert rate > (0.6 if right_or_wrong else 1) * expected - 3 * error


@pytest.mark.parametrize("advantage", [0.15, 0.3])
def test_a_gain_is_found_as_often_as_the_normal_distribution_says(advantage: float) -> None:
    """A row's gain has deviation sqrt(2), the mean gain of 200 rows sqrt(2 / 200) = 0.1."""
    expected, trials = stats.norm.cdf(advantage / 0.1 - stats.norm.ppf(0.95)), 300
    rate = rate_of_gains(advantage, 0.95, trials, right_or_wrong=False)
    assert rate == pytest.approx(expected, abs=3 * np.sqrt(expected * (1 - expected) / trials))
