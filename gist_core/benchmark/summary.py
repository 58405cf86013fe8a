"""The efficiency table of a run from its raw measurements: means, and paired relative differences with intervals.

One raw measurement is one forward pass of one batch of prompts under one strategy: "none" (the whole prompts are encoded),
"instruction" (the instructions' keys and values are cached) or "gist" (those of the gist tokens are). Its row id is that of
the batch's first prompt. Repeats of a batch are averaged first. A batch counts only if it was measured under every strategy
that was measured at its size."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist, fmean, stdev
from typing import Any, Literal

from gist_core.scoring.statistics import paired_relative_difference

Strategy = Literal["none", "instruction", "gist"]
STRATEGIES: tuple[Strategy, ...] = ("none", "instruction", "gist")
COMPARISONS = (("gist", "none"), ("instruction", "none"), ("gist", "instruction"))
QUANTITIES = ("gflops_formula", "gflops_counted", "device_ms", "wall_ms", "peak_bytes", "kv_bytes")
LENGTHS = ("prompt_tokens", "instruction_tokens", "input_tokens")


def summarise(rows: Iterable[Mapping[str, Any]], resamples: int, seed: int) -> dict[str, Any]:
    """Summary of raw measurements, per batch size.

    rows: mappings with row_id, strategy, batch_size, repeat, the QUANTITIES (None where not measured) and the LENGTHS in
        tokens; all are of the whole batch.
    resamples, seed: of the bootstrap over batches.

    Returns:
        {"resamples", "seed", "batch_sizes": {"1": {
            "n": batches, "n_unpaired": batches left out because a strategy is missing, "repeats": the most of any batch,
            "tokens": {length: mean}, "formula_vs_counted_max_pct": largest deviation or None,
            "strategies": {strategy: {quantity: mean, None where not measured}},
            "relative": {"gist_vs_none" | "instruction_vs_none" | "gist_vs_instruction": {quantity: {
                "pct": saved, in % of the mean of the second strategy; negative where the first costs more,
                "ci95_pct": [low, high], bootstrap over batches of the ratio of means,
                "ci95_paper_pct": [low, high], the paper's estimator, which takes the second mean as fixed} or None}}}}}

    Raises:
        ValueError: no measurements, an unknown strategy, or a batch size with fewer than two strategies or without a batch
            that was measured under all of them.
    """
    by_batch: dict[int, dict[str, dict[str, list[Mapping[str, Any]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in rows:
        if row["strategy"] not in STRATEGIES:
            raise ValueError(
                f"unknown strategy {row['strategy']!r} in row {row['row_id']}; known: {', '.join(STRATEGIES)}"
            )
        by_batch[row["batch_size"]][row["row_id"]][row["strategy"]].append(row)
    if not by_batch:
        raise ValueError("there are no measurements to summarise; run the benchmark stage first")
    batches = {str(size): _batch(by_batch[size], size, resamples, seed) for size in sorted(by_batch)}
    return {"resamples": resamples, "seed": seed, "batch_sizes": batches}


def _batch(
    batches: Mapping[str, Mapping[str, list[Mapping[str, Any]]]], size: int, resamples: int, seed: int
) -> dict[str, Any]:
    present = [s for s in STRATEGIES if any(s in batch for batch in batches.values())]
    paired = sorted(row_id for row_id, batch in batches.items() if all(s in batch for s in present))
    if len(present) < 2 or not paired:
        raise ValueError(
            f"batch size {size} has no batch that was measured under two strategies; nothing can be compared"
        )
    values = {
        strategy: {q: _per_batch([batches[row_id][strategy] for row_id in paired], q) for q in (*QUANTITIES, *LENGTHS)}
        for strategy in present
    }
    return {
        "n": len(paired),
        "n_unpaired": len(batches) - len(paired),
        "repeats": max(len(measured) for batch in batches.values() for measured in batch.values()),
        "tokens": {q: _mean(values[present[0]][q]) for q in LENGTHS},
        "formula_vs_counted_max_pct": _formula_error(values),
        "strategies": {s: {q: _mean(values[s][q]) for q in QUANTITIES} for s in present},
        "relative": {
            f"{a}_vs_{b}": {q: saved(values[b][q], values[a][q], resamples=resamples, seed=seed) for q in QUANTITIES}
            for a, b in COMPARISONS
            if a in present and b in present
        },
    }


def saved(
    baseline: Sequence[float] | None, other: Sequence[float] | None, *, resamples: int, seed: int
) -> dict[str, Any] | None:
    """How much of `baseline` is saved by `other`, paired: the difference of the means over the mean of `baseline`, in %.

    Returns None if either was not measured or the baseline is zero (the cached bytes of "none"). With a single pair there
    is no interval: both are None.
    """
    if baseline is None or other is None:
        return None
    difference = paired_relative_difference(other, baseline, resamples=resamples, seed=seed)
    if difference.value is None:
        return None
    result: dict[str, Any] = {"pct": -100 * difference.value + 0.0, "ci95_pct": None, "ci95_paper_pct": None}
    if difference.ci95 is not None:
        low, high = difference.ci95
        result["ci95_pct"] = [-100 * high + 0.0, -100 * low + 0.0]
        result["ci95_paper_pct"] = list(relative_difference_normal(baseline, other)[1:])
    return result


def relative_difference_normal(without: Sequence[float], cached: Sequence[float]) -> tuple[float, float, float]:
    """(estimate, low, high) in %: the estimator of the paper's efficiency table.

    Estimate: difference of the means over the mean without caching. Interval: the normal 95 % interval of the mean
    paired difference, over the same mean without caching, which is taken as fixed. On the released files this gives
    39.6 % [36.9, 42.3] FLOPs and 6.8 % [5.5, 8.1] CUDA time, as published; a t interval would print [36.8, 42.4].
    The second mean varies from sample to sample as well: a bootstrap over the prompts, which lets it, gives the wider
    [34.9, 44.7] for FLOPs."""
    differences = [a - b for a, b in zip(without, cached, strict=True)]
    mean, half = fmean(differences), NormalDist().inv_cdf(0.975) * stdev(differences) / math.sqrt(len(differences))
    scale = 100 / fmean(without)
    return mean * scale, (mean - half) * scale, (mean + half) * scale


def _per_batch(measured: list[list[Mapping[str, Any]]], quantity: str) -> list[float] | None:
    """The mean over repeats, per batch; None if any repeat of any batch lacks the quantity."""
    if any(row.get(quantity) is None for repeats in measured for row in repeats):
        return None
    return [fmean([row[quantity] for row in repeats]) for repeats in measured]


def _mean(values: Sequence[float] | None) -> float | None:
    return None if values is None else fmean(values)


def _formula_error(values: Mapping[Strategy, Mapping[str, Sequence[float] | None]]) -> float | None:
    deviations = [
        100 * abs(formula / counted - 1)
        for strategy in values.values()
        for formula, counted in zip(strategy["gflops_formula"] or (), strategy["gflops_counted"] or (), strict=False)
    ]
    return max(deviations, default=None)
