"""Metrics under weights, against the reference implementations on rows written down as often."""

import numpy as np
import pytest
import sacrebleu
from scipy import stats
from sklearn import metrics as reference

from tuneline.metrics import classification, multi_label, regression
from tuneline.metrics.generation import bleu_and_chrf
from tuneline.metrics.weighted import Measure, Quotient, mean, of_sums

RANDOM = np.random.default_rng(3)
ROWS = 60
WEIGHTS = RANDOM.integers(0, 4, (20, ROWS)).astype(float)


def repeated(weights: np.ndarray) -> np.ndarray:
    """The rows that the weights stand for."""
    return np.repeat(np.arange(len(weights)), weights.astype(int))


def test_a_mean_worked_by_hand() -> None:
    weights = np.array([[1.0, 1, 1], [0, 2, 1], [1, 0, 0], [0, 0, 0]])
    found = mean(np.array([1, 1, 0]))(weights)
    assert found[:3].tolist() == pytest.approx([2 / 3, 2 / 3, 1])
    assert np.isnan(found[3])  # no row, no mean
    among = mean(np.array([1, 0, 0]), among=np.array([True, True, False]))(weights)
    assert among[:3].tolist() == pytest.approx([0.5, 0, 1])


def test_what_counts_nothing_has_the_value_for_it_but_without_rows_none() -> None:
    found = Quotient(np.array([0, 1]), np.array([0, 1]), empty=0.0)(np.array([[1.0, 0], [0, 1], [0, 0]]))
    assert found[:2].tolist() == [0, 1]
    assert np.isnan(found[2])


def test_a_formula_of_sums_is_undefined_without_rows() -> None:
    found = of_sums(lambda sums: sums[0] - sums[1], np.array([5, 3]), np.array([1, 1]))(np.array([[2.0, 1], [0, 0]]))
    assert found[0] == 2 * 4 + 2
    assert np.isnan(found[1])


def test_outcomes_are_known_of_shares_of_rows_alone() -> None:
    assert mean(np.array([True, False])).outcomes.tolist() == [True, False]  # type: ignore[union-attr]
    assert mean(np.array([0.5, 1])).outcomes is None
    assert mean(np.array([1, 0]), among=np.array([True, False])).outcomes is None
    assert Quotient(np.array([1, 2]), np.array([2, 3])).outcomes is None


GOLD, PREDICTED = RANDOM.integers(0, 3, ROWS), RANDOM.integers(0, 3, ROWS)
POSITIVE, TIED = RANDOM.integers(0, 2, ROWS), RANDOM.random(ROWS).round(1)
NUMBERS, GUESSES = RANDOM.integers(0, 6, ROWS).astype(float), RANDOM.normal(2, 2, ROWS).round()
TABLE, CHANCES = RANDOM.integers(0, 2, (ROWS, 4)), RANDOM.random((ROWS, 4)).round(1)


@pytest.mark.parametrize(
    ("measure", "theirs"),
    [
        (
            classification.macro_f1(classification.label_counts(GOLD, PREDICTED, 3)),
            lambda at: reference.f1_score(GOLD[at], PREDICTED[at], average="macro", labels=np.unique(GOLD[at])),
        ),
        (
            classification.weighted_f1(classification.label_counts(GOLD, PREDICTED, 3)),
            lambda at: reference.f1_score(GOLD[at], PREDICTED[at], average="weighted"),
        ),
        (classification.roc_auc(POSITIVE, TIED), lambda at: reference.roc_auc_score(POSITIVE[at], TIED[at])),
        (
            classification.average_precision(POSITIVE, TIED),
            lambda at: reference.average_precision_score(POSITIVE[at], TIED[at]),
        ),
        (
            multi_label.micro_average_precision(TABLE, CHANCES),
            lambda at: reference.average_precision_score(TABLE[at], CHANCES[at], average="micro"),
        ),
        (regression.rmse(NUMBERS, GUESSES), lambda at: reference.root_mean_squared_error(NUMBERS[at], GUESSES[at])),
        (regression.pearson(NUMBERS, GUESSES), lambda at: stats.pearsonr(NUMBERS[at], GUESSES[at])[0]),
        (regression.spearman(NUMBERS, GUESSES), lambda at: stats.spearmanr(NUMBERS[at], GUESSES[at])[0]),
    ],
    ids=["macro_f1", "weighted_f1", "roc_auc", "average_precision", "micro_average_precision", "rmse", "pearson",
         "spearman"],
)  # fmt: skip
def test_under_weights_a_metric_is_that_of_scikit_learn_and_scipy_on_the_rows_repeated(
    measure: Measure, theirs: object
) -> None:
    expected = [theirs(repeated(weights)) for weights in WEIGHTS]  # type: ignore[operator]
    assert measure(WEIGHTS).tolist() == pytest.approx(expected)


def test_bleu_and_chrf_under_weights_are_those_of_sacrebleu_on_the_rows_repeated() -> None:
    words = ["the", "cat", "sat", "on", "a", "mat", "."]
    generator = np.random.default_rng(0)
    said, gold = ([" ".join(generator.choice(words, generator.integers(low, 9))) for _ in range(12)] for low in (0, 1))
    gold[0] = said[0] = "the cat sat on a mat ."
    weights = np.concatenate([generator.integers(0, 3, (20, 12)), np.eye(12)]).astype(float)  # each row alone, too
    measures = bleu_and_chrf(said, [[text] for text in gold]).measures
    for name, theirs in (("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)):
        expected = [
            theirs([said[i] for i in repeated(line)], [[gold[i] for i in repeated(line)]]).score / 100
            for line in weights
        ]
        assert measures[name](weights).tolist() == pytest.approx(expected)
    assert len(set(measures["bleu"](weights).round(6))) > 5


def test_where_a_metric_is_undefined_it_is_no_number() -> None:
    positives = np.where(POSITIVE == 1, 1.0, 0.0)[None]
    assert np.isnan(classification.roc_auc(POSITIVE, TIED)(positives))
    assert np.isnan(classification.average_precision(POSITIVE, TIED)(1 - positives))
    assert np.isnan(classification.average_precision(np.zeros(3, int), np.ones(3))(np.ones((1, 3))))
    assert np.isnan(regression.pearson(NUMBERS, GUESSES)(np.zeros((1, ROWS))))


@pytest.mark.parametrize("correlation", [regression.pearson, regression.spearman])
def test_a_resample_of_one_row_alone_shows_no_correlation(correlation: object) -> None:
    weights = np.zeros((1, ROWS))
    weights[0, 7] = ROWS
    assert correlation(NUMBERS + 1e6, GUESSES)(weights).tolist() == [0]  # type: ignore[operator]


@pytest.mark.parametrize("metric", [regression.rmse, regression.mae, regression.pearson, regression.spearman])
def test_a_prediction_that_is_no_number_makes_no_number(metric: object) -> None:
    broken = np.where(np.arange(ROWS) == 5, np.nan, GUESSES)
    assert np.isnan(metric(NUMBERS, broken)(np.ones((1, ROWS))))  # type: ignore[operator]
