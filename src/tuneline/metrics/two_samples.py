"""Two samples: how far apart are they, and how often would chance alone set them so far apart?

Each test gives a distance and a p-value. The distance is 0 between equal samples and about 1 between samples that have
nothing in common, whatever their sizes; the p-value falls as they grow.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import pdist, squareform
from scipy.special import xlogy

from tuneline.metrics.significance import share_with_correction

Numbers = NDArray[np.float64]
LEAST_EXPECTED = 5.0  # rows of a label in each sample, below which labels are pooled (Cochran 1954)
CHUNK = 500  # permutations at a time
SEED = 0
TINY = 1e-300  # against 0 / 0, where every row has a word


class Comparison(NamedTuple):
    distance: float
    p_value: float


def kolmogorov_smirnov(first: Numbers, second: Numbers) -> Comparison:
    """The largest distance between both cumulative shares. With ties, as lengths have, p is too large rather than too
    small."""
    found = stats.ks_2samp(first, second)
    return Comparison(float(found.statistic), float(found.pvalue))


def smallest_visible(first_rows: int, second_rows: int, level: float) -> float:
    """The Kolmogorov-Smirnov distance from which on two samples of these sizes differ at a level (asymptotic)."""
    return float(np.sqrt(-0.5 * np.log(level / 2) * (1 / first_rows + 1 / second_rows)))


# Shares


def two_proportions(first: NDArray[np.int64], second: NDArray[np.int64]) -> Comparison:
    """Difference of two shares, second less first, and the two-sided z test with rows as clusters.

    first, second: (rows, 2), how many of each row's items have something, and how many items it has. Items of a row
    go together, so each sample counts as that many fewer items as its design effect says (Rao and Scott 1992). With
    one item a row this is the usual pooled test.
    """
    shares = np.array([each[:, 0].sum() / each[:, 1].sum() for each in (first, second)])
    sizes = np.array([_effective_size(each) for each in (first, second)])
    pooled = (shares * sizes).sum() / sizes.sum()
    error = np.sqrt(pooled * (1 - pooled) * (1 / sizes).sum())
    difference = float(shares[1] - shares[0])
    return Comparison(difference, float(2 * stats.norm.sf(abs(difference) / error)) if error else 1.0)


def _effective_size(counts: NDArray[np.int64]) -> float:
    """Items that would tell as much if they were independent of each other."""
    having, items = counts.sum(axis=0)
    share = having / items
    variance = ((counts[:, 0] - share * counts[:, 1]) ** 2).sum() / items**2
    return float(share * (1 - share) / variance) if variance else float(items)


def chi_square(first: NDArray[np.int64], second: NDArray[np.int64]) -> Comparison:
    """Total variation distance between two lists of shares, and Pearson's test of the counts, (labels,) each.

    Labels that are rare in both samples count together.
    """
    table = pooled_rare(np.stack([first, second]))
    if table.shape[1] < 2:
        return Comparison(0.0, 1.0)
    return Comparison(_variation(table), float(stats.chi2_contingency(table, correction=False).pvalue))


def chi_square_of_rows(first: NDArray[np.int64], second: NDArray[np.int64], permutations: int) -> Comparison:
    """The same where a row has any number of labels: (rows, labels) each. Labels of a row go together, so p comes from
    dealing the rows out anew."""
    rows = np.concatenate([first, second])
    _, groups = _rare(np.stack([first.sum(axis=0), second.sum(axis=0)]))
    rows = np.stack([rows[:, group].sum(axis=1) for group in groups], axis=1).astype(float)
    if rows.shape[1] < 2:
        return Comparison(0.0, 1.0)
    totals = rows.sum(axis=0)

    def statistics(dealt: Numbers) -> Numbers:
        new = dealt @ rows  # (deals, labels)
        new_expected = new.sum(axis=1, keepdims=True) * totals / totals.sum()
        old_expected = totals - new_expected
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nansum((new - new_expected) ** 2 * (1 / new_expected + 1 / old_expected), axis=1)

    table = np.stack([rows[: len(first)].sum(axis=0), rows[len(first) :].sum(axis=0)])
    return Comparison(_variation(table), permuted_p(statistics, len(first), len(second), permutations))


def pooled_rare(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """(samples, labels), with one last column for all labels of which a sample would be expected to hold too few."""
    _, groups = _rare(table)
    return np.stack([table[:, group].sum(axis=1) for group in groups], axis=1)


def _rare(table: NDArray[np.int64]) -> tuple[NDArray[np.bool_], list[NDArray[np.int64]]]:
    """Which labels are rare, and the columns that count together. Labels that neither sample has are in no group."""
    expected = table.sum(axis=0) * (table.sum(axis=1).min() / max(table.sum(), 1))
    seen, rare = table.sum(axis=0) > 0, expected < LEAST_EXPECTED
    groups = [np.array([column]) for column in np.flatnonzero(seen & ~rare)]
    together = np.flatnonzero(seen & rare)
    return rare, [*groups, together] if len(together) else groups


def _variation(table: NDArray[np.int64]) -> float:
    """Half the sum of the differences between the shares: of so many items the label would have to change."""
    first, second = table / table.sum(axis=1, keepdims=True)
    return float(np.abs(first - second).sum() / 2)


# Vectors


def maximum_mean_discrepancy(first: Numbers, second: Numbers, permutations: int) -> Comparison:
    """MMD with a Gaussian kernel whose width is the median distance of all pairs, and its permutation test (Gretton et
    al. 2012, JMLR 13). The distance is the root of the unbiased estimate, or 0 where that is negative.

    first, second: (rows, d). The distance is proportional to a share: where a tenth of the second sample is of some
    other kind, it is a tenth of what it would be if all were.
    """
    kernel = gaussian_kernel(np.concatenate([first, second]).astype(np.float64))
    statistics = _mmd_of(kernel, len(second))
    second_rows = np.repeat([0.0, 1.0], [len(first), len(second)])
    squared = float(statistics(second_rows[None])[0])
    return Comparison(max(squared, 0.0) ** 0.5, permuted_p(statistics, len(first), len(second), permutations))


def gaussian_kernel(vectors: Numbers) -> Numbers:
    """exp(-|x - y|² / (2 · median²)), (rows, rows), 0 on the diagonal."""
    distances = pdist(vectors)
    width = np.median(distances) or distances.mean() or 1.0
    kernel: Numbers = squareform(np.exp(-(distances**2) / (2 * width**2)))
    return kernel


def _mmd_of(kernel: Numbers, new: int) -> Callable[[Numbers], Numbers]:
    """The unbiased squared MMD of each deal: (deals, rows) of 0 and 1 to (deals,)."""
    old, of_rows, total = len(kernel) - new, kernel.sum(axis=1), kernel.sum()

    def statistics(dealt: Numbers) -> Numbers:
        within = np.einsum("ij,ij->i", dealt @ kernel, dealt)
        between = dealt @ of_rows - within
        rest = total - 2 * between - within
        return within / (new * (new - 1)) + rest / (old * (old - 1)) - 2 * between / (new * old)

    return statistics


def permuted_p(statistics: Callable[[Numbers], Numbers], first: int, second: int, permutations: int) -> float:
    """The share of deals whose statistic is as large as the one found.

    statistics: (deals, first + second), 1 where a row is in the second sample, to (deals,).
    """
    found_deal = np.repeat([0.0, 1.0], [first, second])
    found = statistics(found_deal[None])[0]
    least = found - 1e-9 * abs(found)  # equal deals may differ in the last digit
    random, as_large, left = np.random.default_rng(SEED), 0, permutations
    while left:
        deals = np.tile(found_deal, (min(CHUNK, left), 1))
        as_large += int((statistics(random.permuted(deals, axis=1)) >= least).sum())
        left -= len(deals)
    return share_with_correction(as_large, permutations)


# Several tests at once


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, so raised that the chance of any false alarm stays below the level (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    raised = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return [float(value) for value in adjusted]


def over_represented(
    first: Mapping[str, int], second: Mapping[str, int], first_rows: int, second_rows: int, level: float
) -> list[str]:
    """Words that more rows of the second sample have, by more than chance at a level, those that tell most first.

    first, second: word → rows that have it. By the log-likelihood ratio (Dunning 1993), the level shared among all
    words (Bonferroni).
    """
    words = sorted(second)
    if not words:
        return []
    table = np.array([[first.get(word, 0), second[word]] for word in words], dtype=float)
    rows = np.array([first_rows, second_rows], dtype=float)
    share = table.sum(axis=1, keepdims=True) / rows.sum()
    ratio = 2 * (
        xlogy(table, table / (rows * share)) + xlogy(rows - table, (rows - table) / (rows * (1 - share) + TINY))
    )
    evidence = ratio.sum(axis=1)
    more = table[:, 1] / rows[1] > table[:, 0] / rows[0]
    sure = more & (evidence > stats.chi2.isf(level / len(words), df=1))
    return [words[i] for i in np.argsort(-evidence, kind="stable") if sure[i]]
