"""How far raters agree beyond chance: Cohen's weighted kappa, Fleiss' kappa, Krippendorff's alpha.

`ratings` is always a float array of shape (raters, items); NaN = no rating. A coefficient that the data do not define
(fewer than two ratings anywhere, or one category only, so that chance agreement is certain) is None, never 0 or 1."""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ratings = NDArray[np.float64]


def cohen_kappa(first: Ratings, second: Ratings, categories: Sequence[float]) -> float | None:
    """Cohen's kappa of two raters with linear weights (Cohen 1968; weights of Cicchetti and Allison 1971), over the
    items that both rated.

    first, second: shape (items,). categories: all possible ratings in their order; the weight of a disagreement is the
        distance of their places in it.
    """
    from sklearn.metrics import cohen_kappa_score

    both = ~(np.isnan(first) | np.isnan(second))
    used = np.union1d(first[both], second[both])
    if len(used) < 2:
        return None
    places = [np.searchsorted(categories, rating[both]) for rating in (first, second)]
    return float(cohen_kappa_score(*places, labels=list(range(len(categories))), weights="linear"))


def mean_pairwise_kappa(ratings: Ratings, categories: Sequence[float]) -> float | None:
    """Mean of `cohen_kappa` over all pairs of raters for which it is defined, each weighted by the number of items that
    both rated. If everybody rated everything, this is the paper's plain mean (section 4.2)."""
    return mean_over_pairs(combinations(ratings, 2), lambda one, other: cohen_kappa(one, other, categories))


def fleiss_kappa(ratings: Ratings) -> float | None:
    """Fleiss' kappa (Fleiss 1971) over the items that every rater rated."""
    from statsmodels.stats.inter_rater import aggregate_raters
    from statsmodels.stats.inter_rater import fleiss_kappa as fleiss_kappa_of_counts

    complete = ratings[:, ~np.isnan(ratings).any(axis=0)]
    if len(ratings) < 2 or len(np.unique(complete)) < 2:
        return None
    counts, _ = aggregate_raters(complete.T)
    return float(fleiss_kappa_of_counts(counts, method="fleiss"))


def krippendorff_alpha(ratings: Ratings, level: Literal["nominal", "ordinal"]) -> float | None:
    """Krippendorff's alpha by coincidences (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability",
    repository.upenn.edu/asc_papers/43, sections C to E). Items with fewer than two ratings do not count.

    alpha = 1 - (n - 1) * sum(o_ck * d_ck) / sum(n_c * n_k * d_ck), with the coincidences o_ck of the values c and k,
    their row sums n_c, n = sum(n_c), and the squared difference d_ck of the level of measurement.
    """
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = (
        (ratings[:, :, None] == values).sum(axis=0).astype(float)
    )  # (items, values): how often the item got the value
    per_item = counts.sum(axis=1)
    counts, per_item = counts[per_item >= 2], per_item[per_item >= 2]
    # An item with m ratings gives m (m - 1) ordered pairs, each with the weight 1 / (m - 1).
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))
    coincidences = (pairs / (per_item - 1)[:, None, None]).sum(axis=0)
    totals = coincidences.sum(axis=1)
    difference = _squared_difference(totals, level)
    expected = (np.outer(totals, totals) * difference).sum()
    if expected == 0:
        return None
    return float(1 - (totals.sum() - 1) * (coincidences * difference).sum() / expected)


def percent_agreement(first: Ratings, second: Ratings) -> float | None:
    """Share of the items rated by both on which both gave the same rating, in percent; uncorrected for chance.

    first, second: shape (items,).
    """
    both = ~(np.isnan(first) | np.isnan(second))
    return float(100 * np.mean(first[both] == second[both])) if both.any() else None


def mean_over_pairs(
    pairs: Iterable[tuple[Ratings, Ratings]], agreement: Callable[[Ratings, Ratings], float | None]
) -> float | None:
    """The mean of a coefficient over the pairs of raters for which it is defined, weighted by the number of items that both
    rated, so that a rater who has just begun counts little."""
    found = [(agreement(one, other), int((~(np.isnan(one) | np.isnan(other))).sum())) for one, other in pairs]
    defined = [(value, items) for value, items in found if value is not None]
    return sum(value * items for value, items in defined) / sum(items for _, items in defined) if defined else None


def _squared_difference(totals: NDArray[np.float64], level: Literal["nominal", "ordinal"]) -> NDArray[np.float64]:
    if level == "nominal":
        return 1 - np.eye(len(totals))
    # Ordinal: the number of ratings between two values, with half of those at the two values themselves.
    middle = np.cumsum(totals) - totals / 2
    return (middle[:, None] - middle[None, :]) ** 2
