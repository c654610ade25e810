"""Two views of the same texts: what counts as the same, and what as nothing in common."""

import numpy as np
import pytest
from scipy.stats import ortho_group, spearmanr

from tuneline.metrics.similarity import linear_cka, similarity_agreement

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(40, 8)) * np.arange(1, 9)


def test_cka_of_four_texts_worked_by_hand() -> None:
    """Texts at 0, 0, 1, 1 on one side, at 0, 1, 0, 1 on the other.

    Unbiased, HSIC times 4 * 1 is  sum(K * L) + sum(K) * sum(L) / 6 - colsums(K) . colsums(L), K and L with an empty
    diagonal. Centered, one side is (-1, -1, 1, 1) / 2: its K is 1/4 within a pair and -1/4 across, each column sums to
    -1/4, all to -1. With the other side crossed, L is 1/4 for the pairs (1, 3) and (2, 4), where K is -1/4:
        K with K: 12/16 + 1/6 - 4/16 = 2/3
        K with L: (1/4)(-1/4) * 4 * 2 + (1/16) * 4 + 1/6 - 1/4 = -1/2 + 1/4 + 1/6 - 1/4 = -1/3
    so CKA is (-1/3) / (2/3) = -1/2.
    """
    one, crossed = np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([[0.0], [1.0], [0.0], [1.0]])
    assert linear_cka(one, crossed) == pytest.approx(-0.5)
    assert linear_cka(one, one) == pytest.approx(1.0)


def test_cka_is_one_after_a_rotation_a_scaling_and_a_shift() -> None:
    rotation = ortho_group.rvs(8, random_state=0)
    assert linear_cka(VECTORS, 3.0 * VECTORS @ rotation + 5.0) == pytest.approx(1.0)


def test_cka_is_below_one_after_a_stretch_of_one_dimension() -> None:
    assert linear_cka(VECTORS, VECTORS * np.array([100] + [1] * 7)) < 0.9


def test_cka_of_unrelated_vectors_is_near_zero_where_the_plain_estimate_is_not() -> None:
    one, other = RANDOM.normal(size=(100, 384)), RANDOM.normal(size=(100, 384))
    assert abs(linear_cka(one, other)) < 0.1
    centered = [side - side.mean(axis=0) for side in (one, other)]
    shared = np.linalg.norm(centered[0].T @ centered[1]) ** 2
    plain = shared / np.prod([np.linalg.norm(side.T @ side) for side in centered])
    assert plain > 0.7


def test_a_model_that_sees_no_difference_any_more_has_kept_nothing() -> None:
    collapsed = np.ones((40, 8))
    assert linear_cka(VECTORS, collapsed) == similarity_agreement(VECTORS, collapsed) == 0.0
    lost = np.full((40, 8), np.nan)
    assert linear_cka(VECTORS, lost) == similarity_agreement(VECTORS, lost) == 0.0


def test_agreement_of_three_texts_worked_by_hand() -> None:
    """Pairs (1,2), (1,3), (2,3) have cosines 0.8, 0, 0.6 on one side and 0, 0.8, 0.6 on the other: ranks 3, 1, 2 and
    1, 3, 2, so the correlation is 1 - 6 * (4 + 4 + 0) / (3 * 8) = -1."""
    one = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    other = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    assert similarity_agreement(one, other) == pytest.approx(-1.0)


def test_agreement_is_what_scipy_says_with_ties_too() -> None:
    one, other = RANDOM.integers(0, 3, size=(30, 4)).astype(float), RANDOM.integers(0, 3, size=(30, 6)).astype(float)
    upper = np.triu_indices(30, k=1)

    def cosines(side: np.ndarray) -> np.ndarray:
        directions = side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
        return (directions @ directions.T)[upper]

    assert similarity_agreement(one, other) == pytest.approx(spearmanr(cosines(one), cosines(other))[0], abs=1e-3)


def test_a_model_agrees_with_itself() -> None:
    assert similarity_agreement(VECTORS, VECTORS) == pytest.approx(1.0)


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 texts"):
        linear_cka(VECTORS[:3], VECTORS[:3])
    with pytest.raises(ValueError, match="at least 3 texts"):
        similarity_agreement(VECTORS[:2], VECTORS[:2])
