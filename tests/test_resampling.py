"""Bootstrap intervals: against scipy.stats.bootstrap, and where they cannot be had."""

import numpy as np
import pytest
from scipy import stats

from tuneline.metrics import classification, resampling
from tuneline.metrics.resampling import interval, intervals, replicates, resamples_of
from tuneline.metrics.weighted import mean


def test_each_resample_draws_as_many_rows_as_there_are() -> None:
    weights = np.concatenate(list(resamples_of(7, 500)))
    assert weights.shape == (500, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.15)
    assert weights.var() == pytest.approx(6 / 7, abs=0.05)  # multinomial: n p (1 - p)


def test_the_same_seed_gives_the_same_resamples_whatever_memory_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    together = np.concatenate(list(resamples_of(7, 500, seed=3)))
    monkeypatch.setattr(resampling, "MOST_NUMBERS", 100)
    apart = list(resamples_of(7, 500, seed=3))
    assert len(apart) == 36 and max(len(each) for each in apart) == 14
    assert np.array_equal(np.concatenate(apart), together)
    assert not np.array_equal(np.concatenate(list(resamples_of(7, 500, seed=4))), together)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_an_interval_of_a_mean_is_that_of_scipy(confidence: float) -> None:
    points = np.random.default_rng(0).exponential(size=80)
    theirs = stats.bootstrap(
        (points,), np.mean, confidence_level=confidence, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    ours = intervals({"mean": mean(points)}, 80, confidence=confidence, resamples=20_000)["mean"]
    assert ours == pytest.approx(tuple(theirs), abs=0.01)  # the interval is 0.3 to 0.5 wide


def test_an_interval_of_a_roc_auc_is_that_of_scipy() -> None:
    generator = np.random.default_rng(0)
    gold = generator.integers(0, 2, 60)
    scores = (gold * 0.5 + generator.random(60)).round(1)

    def auc(gold: np.ndarray, scores: np.ndarray) -> float:
        return stats.mannwhitneyu(scores[gold == 1], scores[gold == 0]).statistic / (gold.sum() * (1 - gold).sum())

    theirs = stats.bootstrap(
        (gold, scores), auc, paired=True, vectorized=False, n_resamples=3_000, method="percentile", rng=1
    ).confidence_interval
    ours = intervals({"auc": classification.roc_auc(gold, scores)}, 60, confidence=0.95, resamples=20_000)["auc"]
    assert ours == pytest.approx(tuple(theirs), abs=0.015)


def test_metrics_share_their_resamples() -> None:
    points = np.arange(5.0)
    found = replicates({"one": mean(points), "twice": mean(2 * points)}, 5, 100)
    assert found["twice"] == pytest.approx(2 * found["one"])


def test_rows_that_are_all_alike_have_an_interval_without_width() -> None:
    assert intervals({"mean": mean(np.ones(9))}, 9, confidence=0.95, resamples=200) == {"mean": (1.0, 1.0)}


def test_one_row_has_no_interval() -> None:
    assert intervals({"mean": mean(np.ones(1))}, 1, confidence=0.95, resamples=200) == {}


def test_undefined_resamples_are_left_out_and_many_leave_no_interval() -> None:
    values = np.arange(100.0)
    values[:5] = np.nan
    assert interval(values, 0.5) == (5 + 94 * 0.25, 5 + 94 * 0.75)
    values[5] = np.nan
    assert interval(values, 0.5) is None
    # Of 20 rows one is positive: (19/20)**20, a third of the resamples, have none.
    gold = np.eye(20, dtype=int)[0]
    assert intervals({"auc": classification.roc_auc(gold, np.arange(20.0))}, 20, confidence=0.9, resamples=500) == {}
