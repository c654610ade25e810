"""Two-sample tests: by hand, against scipy, against full enumeration, and how often they cry wolf."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from tuneline.drift_checks import checked
from tuneline.metrics import two_samples

RANDOM = np.random.default_rng(7)


def test_the_distance_of_two_samples_of_numbers_is_the_largest_gap_between_cumulative_shares() -> None:
    """At 1 the first has reached 1/3 and the second 0; at 3 they are at 1 and 2/3."""
    found = two_samples.kolmogorov_smirnov(np.array([1.0, 2, 3]), np.array([2.0, 3, 4]))
    assert found.distance == pytest.approx(1 / 3)
    assert found.p_value == stats.ks_2samp([1, 2, 3], [2, 3, 4]).pvalue


def test_the_smallest_visible_distance_is_where_the_asymptotic_p_meets_the_level() -> None:
    distance = two_samples.smallest_visible(400, 300, 0.01)
    effective = (400 * 300 / 700) ** 0.5
    assert stats.kstwobign.sf(distance * effective) == pytest.approx(0.01, rel=1e-4)


def test_shares_of_single_items_are_tested_as_a_two_by_two_table_is() -> None:
    first, second = np.repeat([[1, 1], [0, 1]], [10, 90], axis=0), np.repeat([[1, 1], [0, 1]], [24, 96], axis=0)
    found = two_samples.two_proportions(first, second)
    assert found.distance == pytest.approx(0.1)
    table = [[10, 90], [24, 96]]
    assert found.p_value == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)


def test_items_that_go_together_count_as_one() -> None:
    """A row whose four words are all unknown, or none, tells no more than a row of one word."""
    first, second = np.repeat([[1, 1], [0, 1]], [10, 90], axis=0), np.repeat([[1, 1], [0, 1]], [24, 96], axis=0)
    assert two_samples.two_proportions(4 * first, 4 * second) == pytest.approx(
        two_samples.two_proportions(first, second)
    )


def test_nothing_unknown_on_either_side_is_no_difference() -> None:
    assert two_samples.two_proportions(np.array([[0, 5]] * 60), np.array([[0, 4]] * 60)) == (0.0, 1.0)


def test_shares_of_labels_are_tested_as_scipy_does_with_rare_ones_together() -> None:
    first, second = np.array([60, 38, 1, 1]), np.array([40, 50, 4, 6])
    found = two_samples.chi_square(first, second)
    assert two_samples.pooled_rare(np.stack([first, second])).tolist() == [[60, 38, 2], [40, 50, 10]]
    assert found.distance == pytest.approx(0.2)  # 0.20 less of the first, 0.12 and 0.08 more of the others
    expected = stats.chi2_contingency([[60, 38, 2], [40, 50, 10]], correction=False).pvalue
    assert found.p_value == pytest.approx(expected)


def test_one_label_for_all_is_no_difference() -> None:
    assert two_samples.chi_square(np.array([60, 0]), np.array([80, 0])) == (0.0, 1.0)


def test_dealing_rows_of_one_label_out_anew_comes_to_the_p_of_chi_square() -> None:
    first, second = (
        np.repeat(np.eye(3, dtype=int), [30, 40, 30], axis=0),
        np.repeat(np.eye(3, dtype=int), [45, 35, 20], axis=0),
    )
    dealt = two_samples.chi_square_of_rows(first, second, 9_999)
    plain = two_samples.chi_square(first.sum(axis=0), second.sum(axis=0))
    assert dealt.distance == plain.distance
    assert dealt.p_value == pytest.approx(plain.p_value, abs=0.01)


def test_labels_that_go_together_are_not_taken_for_evidence() -> None:
    """Twenty tags a row, all alike: as many rows of each kind differ by chance, and their tags must not."""
    first, second = np.repeat(np.eye(2, dtype=int), [35, 25], axis=0), np.repeat(np.eye(2, dtype=int), [25, 35], axis=0)
    many = two_samples.chi_square_of_rows(20 * first, 20 * second, 1_999)
    assert many.p_value > 0.05
    assert two_samples.chi_square(20 * first.sum(axis=0), 20 * second.sum(axis=0)).p_value < 1e-6


def unbiased_mmd(kernel: np.ndarray, first: list[int], second: list[int]) -> float:
    """Equation 3 of Gretton et al. 2012, as it stands."""
    m, n = len(first), len(second)
    within_first = sum(kernel[i, j] for i in first for j in first if i != j) / (m * (m - 1))
    within_second = sum(kernel[i, j] for i in second for j in second if i != j) / (n * (n - 1))
    between = sum(kernel[i, j] for i in first for j in second) / (m * n)
    return float(within_first + within_second - 2 * between)


def test_the_discrepancy_is_that_of_the_paper_and_its_p_that_of_all_deals() -> None:
    first, second = RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(4, 3)) + 1
    vectors = np.concatenate([first, second])
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=-1)
    kernel = np.exp(-(distances**2) / (2 * np.median(distances[np.triu_indices(9, 1)]) ** 2))
    found = two_samples.maximum_mean_discrepancy(first, second, 20_000)
    observed = unbiased_mmd(kernel, [0, 1, 2, 3, 4], [5, 6, 7, 8])
    assert found.distance == pytest.approx(observed**0.5)
    deals = [unbiased_mmd(kernel, sorted(set(range(9)) - set(new)), list(new)) for new in combinations(range(9), 4)]
    exact = float(np.mean([deal >= observed - 1e-12 for deal in deals]))
    assert found.p_value == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 20_000) ** 0.5)


def test_vectors_that_are_all_alike_differ_in_nothing() -> None:
    assert two_samples.maximum_mean_discrepancy(np.ones((5, 2)), np.ones((6, 2)), 99) == (pytest.approx(0.0), 1.0)


def test_the_discrepancy_grows_with_the_share_of_other_rows() -> None:
    first, second = RANDOM.normal(size=(400, 8)), RANDOM.normal(size=(400, 8))
    all_other = two_samples.maximum_mean_discrepancy(first, second + 2, 1).distance
    second[:100] += 2
    assert two_samples.maximum_mean_discrepancy(first, second, 1).distance == pytest.approx(all_other / 4, rel=0.2)


def test_holm_raises_the_smallest_p_most_and_keeps_their_order() -> None:
    """0.01 · 3, then 0.02 · 2 = 0.04, then 0.03 · 1, which may not be below the one before it."""
    assert two_samples.holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert two_samples.holm([0.9, 0.6]) == [1.0, 1.0]
    assert two_samples.holm([]) == []


def test_words_that_more_rows_have_are_named_with_those_that_tell_most_first() -> None:
    before, now = {"lamp": 50, "was": 80}, {"lamp": 20, "was": 82, "film": 40, "actor": 15, "once": 1}
    assert two_samples.over_represented(before, now, 100, 100, 0.01) == ["film", "actor"]
    assert two_samples.over_represented({}, {"film": 100}, 100, 100, 0.01) == ["film"]
    assert two_samples.over_represented(before, {}, 100, 0, 0.01) == []


# How often they cry wolf

RUNS, LEVEL = 400, 0.1
MOST = stats.binom.ppf(0.999, RUNS, LEVEL) / RUNS  # false alarms, were the rate LEVEL
LEAST = stats.binom.ppf(0.001, RUNS, LEVEL) / RUNS


def words(rows: int) -> np.ndarray:
    """Unknown words and words of rows that differ in how many of theirs are unknown, (rows, 2)."""
    counts = RANDOM.integers(5, 30, rows)
    return np.stack([RANDOM.binomial(counts, RANDOM.beta(0.5, 4, rows)), counts], axis=1)


def tags(rows: int) -> np.ndarray:
    """Tags of rows that have a taste for some of them, (rows, 4)."""
    return RANDOM.multinomial(12, RANDOM.dirichlet([2, 1, 1, 0.5], rows))


@pytest.mark.parametrize(
    ("draw", "test", "exact"),
    [
        (lambda rows: RANDOM.normal(size=rows), two_samples.kolmogorov_smirnov, False),
        (words, two_samples.two_proportions, True),
        (lambda rows: np.bincount(RANDOM.integers(0, 5, rows), minlength=5), two_samples.chi_square, True),
        (tags, lambda a, b: two_samples.chi_square_of_rows(a, b, 99), True),
        (lambda rows: RANDOM.normal(size=(rows, 3)), lambda a, b: two_samples.maximum_mean_discrepancy(a, b, 99), True),
    ],
    ids=["numbers", "words", "labels", "tags", "vectors"],
)
def test_samples_of_one_source_differ_as_often_as_the_level_says(draw, test, exact) -> None:
    alarms = np.mean([test(draw(80), draw(60)).p_value <= LEVEL for _ in range(RUNS)])
    assert (LEAST if exact else 0) <= alarms <= MOST


def test_all_checks_together_raise_a_false_alarm_no_more_often_than_the_confidence_says() -> None:
    """Observations without a model: labels, numbers, words and vectors of one source on both sides."""

    def observations(rows: int) -> list[dict[str, object]]:
        lengths = RANDOM.poisson(12, rows) + 1
        return [
            {
                "words": int(length), "characters": int(length * 5 + RANDOM.integers(9)),
                "vocabulary": [str(word) for word in set(RANDOM.integers(0, 40, length))],
                "labels": [str(RANDOM.integers(3))], "number": float(RANDOM.normal()),
                "confidence": float(RANDOM.beta(5, 1)), "embedding": RANDOM.normal(size=4),
            }
            for length in lengths
        ]  # fmt: skip

    known, runs = frozenset(map(str, range(35))), 100
    alarms = sum(
        any(check.drifted for check in checked(
            observations(60), observations(60), known, confidence=1 - LEVEL, smallest_effect=0.0))
        for _ in range(runs)
    )  # fmt: skip
    assert alarms <= stats.binom.ppf(0.999, runs, LEVEL)
