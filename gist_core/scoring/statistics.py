"""Means with intervals, ratios of paired means, and paired significance: the estimators of every score in the project.

All resampling is over rows, with `numpy.random.Generator(PCG64(seed))` and nothing else, so the same values, seed and
numpy give the same result to the bit. Two samples of the same rows are always resampled together (the same rows are
drawn for both), so what they share cancels, and the interval is that of a paired experiment.

Sources: percentile bootstrap, Efron and Tibshirani (1993), chapters 13 and 16; approximate randomisation for paired
scores, Noreen (1989), as used for text generation by Riezler and Maxwell (2005).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float] | NDArray[np.floating] | NDArray[np.bool_]
Interval = tuple[float, float]

_ROWS_DRAWN_AT_ONCE = 4_000_000  # bounds the memory of one block of resamples to about 64 MB


@dataclass(frozen=True)
class MeanEstimate:
    """A mean in the unit of its values, its 95 % percentile bootstrap interval, and the median of the resampled means
    (the figure that `evaluate`'s aggregator calls `mid`, and that the paper prints). `ci95` is None if all values are
    equal (or there is only one): all resamples would then be equal too, and claim certainty."""

    mean: float
    ci95: Interval | None
    bootstrap_median: float
    n: int


@dataclass(frozen=True)
class RatioEstimate:
    """A ratio of means and its 95 % interval. `value` is None if the denominator is not positive, or is only the rounding
    error between two equal means. `ci95` is None for a single row, and if an end of the interval is not finite: a resample
    with such a denominator counts as infinite, with the sign of its numerator."""

    value: float | None
    ci95: Interval | None


@dataclass(frozen=True)
class PairedDifference:
    """mean(a) - mean(b), its 95 % interval (None if all rows differ by the same amount), and the two-sided p value of "a
    and b are interchangeable row by row"."""

    difference: float
    ci95: Interval | None
    p_value: float


def resampled_means(*samples: Values, resamples: int = 1000, seed: int = 0) -> NDArray[np.float64]:
    """Means of `resamples` draws of n rows with replacement, the same rows for every sample.

    samples: one or more sequences of n values over the same rows.

    Returns:
        Array of shape (number of samples, resamples).

    Raises:
        ValueError: no rows, samples of different lengths, or a value that is not finite.
    """
    table = _table(samples)
    blocks = drawn_rows(table.shape[1], resamples=resamples, seed=seed)
    return np.concatenate([[values[rows].mean(axis=1) for values in table] for rows in blocks], axis=1)


def drawn_rows(n: int, *, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """The rows of every resample: numbers below n, drawn with replacement.

    Yields:
        Blocks of shape (some of the resamples, n). Together they are `resamples` draws, the same for every block size.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    block = max(1, _ROWS_DRAWN_AT_ONCE // n)
    for start in range(0, resamples, block):
        yield generator.integers(0, n, size=(min(block, resamples - start), n))


def percentile_interval(resampled: Values) -> Interval:
    """The 95 % percentile interval of a statistic from its values in the resamples."""
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)


def bootstrap_mean(values: Values, *, resamples: int = 1000, seed: int = 0) -> MeanEstimate:
    """The exact mean with a seeded 95 % percentile bootstrap interval.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    means = resampled_means(values, resamples=resamples, seed=seed)[0]
    array = _table([values])[0]
    interval = percentile_interval(means) if np.ptp(array) > 0 else None
    return MeanEstimate(float(array.mean()), interval, float(np.median(means)), len(array))


def normalised_score(
    values: Values, negative: Values, positive: Values, *, resamples: int = 1000, seed: int = 0
) -> RatioEstimate:
    """(mean - mean of neg_control) / (mean of pos_control - mean of neg_control), by paired resampling.

    1 = all that the instruction is worth is kept, 0 = none of it (the paper, appendix on normalised scores).

    Raises:
        ValueError: no rows, samples of different lengths, or a value that is not finite.
    """
    table = _table([values, negative, positive])
    # First the means of the rows themselves, then those of the resamples.
    run, low, high = np.c_[table.mean(axis=1), resampled_means(*table, resamples=resamples, seed=seed)]
    gap = np.where(high - low > 1e-9 * np.abs(table).max(), high - low, 0.0)
    return _ratio(run - low, gap, table.shape[1])


def paired_relative_difference(a: Values, b: Values, *, resamples: int = 1000, seed: int = 0) -> RatioEstimate:
    """(mean(a) - mean(b)) / mean(b), with b the baseline; negative where a is smaller (a saving is minus this value).

    The paper's estimator for the efficiency of caching (its table 3): the ratio of means, not the mean of ratios, with
    the rows of a and b resampled together.

    Raises:
        ValueError: no rows, samples of different lengths, or a value that is not finite.
    """
    table = _table([a, b])
    changed, baseline = np.c_[table.mean(axis=1), resampled_means(*table, resamples=resamples, seed=seed)]
    return _ratio(changed - baseline, baseline, table.shape[1])


def paired_difference(a: Values, b: Values, *, resamples: int = 1000, seed: int = 0) -> PairedDifference:
    """mean(a) - mean(b) over the same rows, with a bootstrap interval and a sign-flip randomisation test.

    The p value is (1 + flips at least as extreme) / (1 + resamples), so it is never 0 and is valid at any number of
    flips. Swapping a and b negates the difference and keeps the p value.

    Raises:
        ValueError: no rows, samples of different lengths, or a value that is not finite.
    """
    table = _table([a, b])
    differences = table[0] - table[1]
    estimate = bootstrap_mean(differences, resamples=resamples, seed=seed)
    generator = np.random.Generator(np.random.PCG64(seed))
    n = len(differences)
    # A flip that differs from the observed sum only by rounding must count as "at least as extreme".
    observed = abs(float(differences.sum())) - 1e-9 * float(np.abs(differences).sum())
    extreme = 0
    block = max(1, _ROWS_DRAWN_AT_ONCE // n)
    for start in range(0, resamples, block):
        flips = generator.integers(0, 2, size=(min(block, resamples - start), n)) * 2 - 1
        extreme += int((np.abs(flips @ differences) >= observed).sum())
    return PairedDifference(estimate.mean, estimate.ci95, (1 + extreme) / (1 + resamples))


def wilson_interval(successes: float, n: int) -> Interval:
    """Wilson's 95 % interval of a proportion, as fractions. successes: of `n`; a tie may count one half."""
    from statsmodels.stats.proportion import proportion_confint  # here, because it takes a second to import

    low, high = proportion_confint(successes, n, method="wilson")
    return float(low), float(high)


def _ratio(numerators: NDArray[np.float64], denominators: NDArray[np.float64], n: int) -> RatioEstimate:
    """numerators, denominators: shape (1 + resamples,); the first element is that of the rows themselves."""
    if denominators[0] <= 0:
        return RatioEstimate(None, None)
    ratios = np.copysign(np.inf, numerators)
    np.divide(numerators, denominators, out=ratios, where=denominators > 0)
    with np.errstate(invalid="ignore"):  # when it interpolates between infinite values
        interval = percentile_interval(ratios[1:])
    return RatioEstimate(float(ratios[0]), interval if n > 1 and np.isfinite(interval).all() else None)


def _table(samples: Sequence[Values] | NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = [len(sample) for sample in samples]
    if len(set(lengths)) != 1:
        raise ValueError(f"paired samples must have the same rows, got {lengths} values")
    if lengths[0] == 0:
        raise ValueError("no rows: a mean over nothing is not defined")
    table = np.asarray([np.asarray(sample, dtype=np.float64) for sample in samples])
    if not np.isfinite(table).all():
        sample, row = np.argwhere(~np.isfinite(table))[0]
        raise ValueError(f"value {row} of sample {sample} is {table[sample, row]}, which is not a number to average")
    return table
