"""How alike two models see the same texts: pure functions of their vectors, one row of an array per text."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating[Any]]
FEWEST_TEXTS = 4  # below, the estimate of linear_cka does not exist


def linear_cka(one: Vectors, other: Vectors) -> float:
    """Linear centered kernel alignment of (texts, d) and (texts, e): 1 for the same geometry, near 0 for none shared.

    Rotating or scaling all vectors of a side changes nothing (Kornblith et al. 2019, Similarity of neural network
    representations revisited). HSIC is estimated without bias (Song et al. 2012, Feature selection via dependence
    maximization): with about as many texts as dimensions, the plain estimate is far above 0 for vectors that share
    nothing. So a value may lie a little below 0. 0 where a side is the same for all texts, or not a number.
    ValueError for fewer than 4 texts.
    """
    if len(one) != len(other) or len(one) < FEWEST_TEXTS:
        raise ValueError(f"needs at least {FEWEST_TEXTS} texts, the same on both sides: {len(one)} and {len(other)}")
    first, second = _hollow_gram(one), _hollow_gram(other)
    own = _hsic(first, first) * _hsic(second, second)
    return float(_hsic(first, second) / np.sqrt(own)) if own > 0 else 0.0


def _hollow_gram(vectors: Vectors) -> Vectors:
    """Inner products of all pairs, (texts, texts), the diagonal 0. Centered first, which keeps the digits."""
    centered = np.asarray(vectors, dtype=np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    gram: Vectors = centered @ centered.T
    np.fill_diagonal(gram, 0.0)
    return gram


def _hsic(one: Vectors, other: Vectors) -> float:
    count = len(one)
    corner = one.sum() * other.sum() / ((count - 1) * (count - 2))
    cross = one.sum(axis=0) @ other.sum(axis=0) * 2 / (count - 2)
    return float(((one * other).sum() + corner - cross) / (count * (count - 3)))


def similarity_agreement(one: Vectors, other: Vectors) -> float:
    """Spearman correlation of the cosine similarities of all pairs of texts: (texts, d) and (texts, e).

    1 where both order the pairs alike from least to most similar, 0 where the orders have nothing in common, or a side
    finds all pairs equally similar, or is not a number. ValueError for fewer than 3 texts.
    """
    if len(one) != len(other) or len(one) < 3:
        raise ValueError(f"needs at least 3 texts, the same on both sides: {len(one)} and {len(other)}")
    ranks = np.stack([_ranks(_cosines(one)), _ranks(_cosines(other))])
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1)
    return float(ranks[0] @ ranks[1] / lengths.prod()) if lengths.all() else 0.0


def _cosines(vectors: Vectors) -> Vectors:
    """Cosine similarity of each pair of texts, (texts * (texts - 1) / 2,). Vectors of length 0 are like none."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = np.asarray(vectors, dtype=np.float64) / np.where(lengths == 0, 1, lengths)
    upper = np.triu_indices(len(vectors), k=1)
    cosines: Vectors = (directions @ directions.T)[upper]
    return cosines


def _ranks(values: Vectors) -> Vectors:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Vectors = (last - (counts - 1) / 2)[group]
    return ranks
