"""From the scores of single rows to the figures of one split (`reports/metrics.json`)."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from gist_core.scoring.rouge import RougeScores
from gist_core.scoring.statistics import (
    Interval,
    RatioEstimate,
    bootstrap_mean,
    normalised_score,
    paired_difference,
    wilson_interval,
)

DIGITS = 4  # decimals of a percentage in a report; more would be noise, fewer would show in a difference


def summarise_split(
    scores: Mapping[str, Sequence[RougeScores]],
    exact_match: Mapping[str, Sequence[bool]],
    *,
    resamples: int,
    seed: int,
    alike: Sequence[Sequence[str]] = (),
) -> dict[str, Any]:
    """Means, intervals, normalised scores and significance of every run on the rows of one split.

    scores, exact_match: by run, over the same rows in the same order; pos_control and neg_control must be among the runs.
    alike: groups of runs that differ only in their seed.

    Returns:
        `rouge_1`, `rouge_2`, `rouge_l`, `exact_match`: by run `mean_pct`, `ci95_pct` (bootstrap, null if all rows score
        the same; Wilson for exact match), `n`, and for ROUGE `bootstrap_median_pct`, the figure that the paper prints.
        `normalised`: by run, null unless pos_control scores above neg_control. `significance`: ROUGE-L of every two runs.
        `over_seeds`: for every group in `alike` the mean over its runs, and the standard deviation `sd_pct` of the runs'
        own values.
    """
    summary: dict[str, Any] = {}
    for index, kind in enumerate(("rouge_1", "rouge_2", "rouge_l")):
        summary[kind] = {
            run: _mean([row[index] for row in rows], resamples=resamples, seed=seed) for run, rows in scores.items()
        }
    summary["exact_match"] = {run: _share(matches) for run, matches in exact_match.items()}
    rouge_l = {run: [row.rouge_l_pct for row in rows] for run, rows in scores.items()}
    summary["normalised"] = {}
    for run, values in rouge_l.items():
        ratio = normalised_score(values, rouge_l["neg_control"], rouge_l["pos_control"], resamples=resamples, seed=seed)
        summary["normalised"][run] = {"rouge_l": _ratio(ratio)}
    summary["significance"] = []
    for a, b in combinations(rouge_l, 2):
        test = paired_difference(rouge_l[a], rouge_l[b], resamples=resamples, seed=seed)
        summary["significance"].append(
            {
                "a": a,
                "b": b,
                "difference_pct": rounded(test.difference),
                "ci95_pct": _interval(test.ci95),
                "p_value": test.p_value,
            }
        )
    summary["over_seeds"] = [_over_seeds(runs, rouge_l, alike, resamples=resamples, seed=seed) for runs in alike]
    return summary


def _over_seeds(
    runs: Sequence[str],
    rouge_l: Mapping[str, Sequence[float]],
    alike: Sequence[Sequence[str]],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """ROUGE-L of several runs as if they were one: each row has its mean over them. Controls with several seeds likewise."""
    negative, positive = (
        next((group for group in alike if control in group), (control,)) for control in ("neg_control", "pos_control")
    )
    values, low, high = (np.mean([rouge_l[run] for run in group], axis=0) for group in (runs, negative, positive))
    mean = bootstrap_mean(values, resamples=resamples, seed=seed)
    ratio = normalised_score(values, low, high, resamples=resamples, seed=seed)
    sd = float(np.std([np.mean(rouge_l[run]) for run in runs], ddof=1))
    return {
        "runs": [*runs],
        "controls": [*negative, *positive],
        "rouge_l": {"mean_pct": rounded(mean.mean), "ci95_pct": _interval(mean.ci95), "sd_pct": rounded(sd)},
        "normalised": {
            "rouge_l": {
                **_ratio(ratio),
                "sd_pct": None if ratio.value is None else rounded(100 * sd / float(np.mean(high) - np.mean(low))),
            }
        },
    }


def rounded(value: float) -> float:
    """A percentage with the digits of a report; never -0.0."""
    return round(value, DIGITS) + 0.0


def interval_pct(interval: Interval) -> list[float]:
    """An interval of fractions as percentages."""
    return [rounded(100 * end) for end in interval]


def _mean(values: Sequence[float], *, resamples: int, seed: int) -> dict[str, Any]:
    estimate = bootstrap_mean(values, resamples=resamples, seed=seed)
    return {
        "mean_pct": rounded(estimate.mean),
        "ci95_pct": _interval(estimate.ci95),
        "bootstrap_median_pct": rounded(estimate.bootstrap_median),
        "n": estimate.n,
    }


def _ratio(ratio: RatioEstimate) -> dict[str, Any]:
    return {
        "pct": None if ratio.value is None else rounded(100 * ratio.value),
        "ci95_pct": None if ratio.ci95 is None else interval_pct(ratio.ci95),
    }


def _interval(ends: Interval | None) -> list[float] | None:
    return None if ends is None else [rounded(end) for end in ends]


def _share(matches: Sequence[bool]) -> dict[str, Any]:
    n = len(matches)
    return {
        "mean_pct": rounded(100 * sum(matches) / n),
        "ci95_pct": interval_pct(wilson_interval(sum(matches), n)),
        "n": n,
    }
