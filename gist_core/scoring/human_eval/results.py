"""What the answers say: win rates, agreement among people and with the judge, each with an interval over items.

A rating is 1 where the run's answer was preferred, 0 for a tie, -1 where the other was; "I don't know" and missing
answers are not ratings, and are counted separately. Items are resampled, not answers, because answers to one item are not
independent."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gist_core.scoring.human_eval.agreement import (
    Ratings,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    mean_over_pairs,
    mean_pairwise_kappa,
    percent_agreement,
)
from gist_core.scoring.human_eval.answers import Answers
from gist_core.scoring.human_eval.judge import JudgeRatings
from gist_core.scoring.human_eval.package import Package, Winner
from gist_core.scoring.statistics import drawn_rows, percentile_interval, wilson_interval

CATEGORIES = (-1.0, 0.0, 1.0)
_RATING: dict[Winner, float] = {"run": 1.0, "tie": 0.0, "against": -1.0, "unknown": np.nan}


def evaluate(
    package: Package, answers: Answers, *, judge: JudgeRatings | None, resamples: int, seed: int
) -> dict[str, Any]:
    """The figures of reports/human_eval.json.

    judge: the judge's ratings of the same rows; None where there is no judge.
    resamples, seed: of the bootstrap over items.
    """
    annotators = [name for name in package.annotators if answers.get(name)]
    ratings = _ratings(package, answers, annotators)
    draws = _draws(len(package.pairs), resamples, seed)
    identical = [pair.row_id for pair in package.pairs if pair.run_answer == pair.against_answer]
    given = [(name, row_id, choice) for name in annotators for row_id, choice in answers[name].items()]
    return {
        "package": package.id,
        "run": package.run,
        "against": package.against,
        "items": {
            "asked": package.asked,
            "drawn": len(package.pairs),
            "eligible": package.eligible,
            "identical": len(identical),
        },
        "annotators": {name: _one_annotator(package, answers, name, draws) for name in package.annotators},
        "num_annotators": {
            "planned": len(package.annotators),
            "started": len(annotators),
            "complete": sum(len(answers[name]) == len(package.pairs) for name in annotators),
        },
        "num_answers": {"expected": len(package.annotators) * len(package.pairs), "given": len(given)},
        "complete": all(len(answers.get(name, {})) == len(package.pairs) for name in package.annotators),
        "win_rate": _win_rate(ratings, _count(package, given), draws),
        "first_position": _first_position([choice for _, _, choice in given]),
        "identical_called_tie": _identical(given, set(identical)),
        "agreement": _agreement(ratings, annotators, draws),
        "judge": None if judge is None else _with_judge(package, ratings, annotators, judge, draws),
        "bootstrap": {"resamples": resamples, "seed": seed, "unit": "item"},
    }


def _ratings(package: Package, answers: Answers, annotators: list[str]) -> Ratings:
    """Shape (annotators, items), NaN = no rating."""
    ratings = np.full((len(annotators), len(package.pairs)), np.nan)
    for i, name in enumerate(annotators):
        for j, row_id in enumerate(package.row_ids):
            if row_id in answers[name]:
                ratings[i, j] = _RATING[package.unblind(name, row_id, answers[name][row_id])]
    return ratings


def _draws(num_items: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Shape (resamples, items): item numbers drawn with replacement, the same for every statistic."""
    return np.concatenate(list(drawn_rows(num_items, resamples=resamples, seed=seed)))


def _interval(
    statistic: Callable[[Ratings], float | None], ratings: Ratings, draws: NDArray[np.int64], name: str
) -> dict[str, Any]:
    """The statistic with its 95 % percentile interval over items. Resamples in which it is not defined (say, one
    category only) are left out and counted. There is no interval if they are more than 2.5 %, nor if all resamples give
    the same value, because that would claim certainty."""
    value = statistic(ratings)
    drawn = draws if value is not None else draws[:0]
    resampled = [statistic(ratings[:, d]) for d in tqdm(drawn, desc="resampling items", disable=None, leave=False)]
    defined = [r for r in resampled if r is not None]
    enough = len(set(defined)) > 1 and len(defined) >= 0.975 * len(resampled)
    low_high = list(percentile_interval(defined)) if enough else None
    ci = "ci95_pct" if name.endswith("_pct") else "ci95"
    return {name: value, ci: low_high, "undefined_resamples": len(resampled) - len(defined)}


def _win_rate_pct(ratings: Ratings) -> float | None:
    rated = ~np.isnan(ratings)
    return float(100 * np.mean((ratings[rated] + 1) / 2)) if rated.any() else None


def _count(package: Package, given: list[tuple[str, str, Any]]) -> dict[str, int]:
    winners = Counter(package.unblind(name, row_id, choice) for name, row_id, choice in given)
    return {"wins": winners["run"], "ties": winners["tie"], "losses": winners["against"], "unknown": winners["unknown"]}


def _win_rate(ratings: Ratings, counts: dict[str, int], draws: NDArray[np.int64]) -> dict[str, Any]:
    """Tie = 1/2; "I don't know" does not count. Pooled over annotators. If all items have the same mean rating, so has
    every resample, and the interval is Wilson's over the items that were rated."""
    n = counts["wins"] + counts["ties"] + counts["losses"]
    rate = _interval(_win_rate_pct, ratings, draws, "win_rate_pct") | {"interval": "bootstrap"}
    rated = ~np.isnan(ratings)
    per_item = np.nansum(ratings, axis=0)[rated.any(axis=0)] / rated.sum(axis=0)[rated.any(axis=0)]
    items = len(per_item)
    if len(np.unique(per_item)) == 1:
        low, high = wilson_interval(rate["win_rate_pct"] / 100 * items, items)
        rate |= {"ci95_pct": [100 * low, 100 * high], "interval": "wilson"}
    return rate | counts | {"n": n, "items_rated": items}


def _one_annotator(package: Package, answers: Answers, name: str, draws: NDArray[np.int64]) -> dict[str, Any]:
    own = answers.get(name, {})
    ratings = _ratings(package, {name: own}, [name])
    rate = _win_rate(ratings, _count(package, [(name, row_id, choice) for row_id, choice in own.items()]), draws)
    missing = len(package.pairs) - len(own)
    return {"answered": len(own), "missing": missing, "complete": missing == 0} | rate


def _first_position(choices: list[Any]) -> dict[str, Any]:
    """Share of the answers A and B that are A: far from 50 % means that the position decided, not the answer."""
    a, b = choices.count("A"), choices.count("B")
    return {"share_pct": 100 * a / (a + b) if a + b else None, "n": a + b}


def _identical(given: list[tuple[str, str, Any]], identical: set[str]) -> dict[str, Any]:
    """Of the answers on items whose two texts are the same, how many are a tie: a check of attention."""
    choices = [choice for _, row_id, choice in given if row_id in identical]
    return {"ties": choices.count("tie"), "n": len(choices)}


def _agreement(ratings: Ratings, annotators: list[str], draws: NDArray[np.int64]) -> dict[str, Any]:
    pairs = [
        {
            "annotators": [annotators[i], annotators[j]],
            "kappa": cohen_kappa(ratings[i], ratings[j], CATEGORIES),
            "agreement_pct": percent_agreement(ratings[i], ratings[j]),
            "n": int((~np.isnan(ratings[[i, j]]).any(axis=0)).sum()),
        }
        for i, j in combinations(range(len(annotators)), 2)
    ]
    per_item = (~np.isnan(ratings)).sum(axis=0)
    return {
        "cohen_kappa_linear": _interval(lambda r: mean_pairwise_kappa(r, CATEGORIES), ratings, draws, "value")
        | {"pairs": pairs},
        "fleiss_kappa": _interval(fleiss_kappa, ratings, draws, "value")
        | {"n_items": int((per_item == len(annotators)).sum()) if len(annotators) > 1 else 0},
        "krippendorff_alpha_nominal": _interval(lambda r: krippendorff_alpha(r, "nominal"), ratings, draws, "value")
        | {"n_items": int((per_item >= 2).sum())},
        "krippendorff_alpha_ordinal": _interval(lambda r: krippendorff_alpha(r, "ordinal"), ratings, draws, "value")
        | {"n_items": int((per_item >= 2).sum())},
        "percent_agreement": _interval(_mean_pairwise_percent, ratings, draws, "mean_pct"),
    }


def _mean_pairwise_percent(ratings: Ratings) -> float | None:
    return mean_over_pairs(combinations(ratings, 2), percent_agreement)


def _with_judge(
    package: Package, ratings: Ratings, annotators: list[str], judge: JudgeRatings, draws: NDArray[np.int64]
) -> dict[str, Any]:
    """The judge as one more rater, against each annotator; comparable with the agreement among people."""
    verdicts = np.array([judge.ratings.get(row_id, np.nan) for row_id in package.row_ids])
    both = np.vstack([ratings, verdicts])  # the judge is the last row
    rated = ~np.isnan(verdicts)

    def kappa(r: Ratings) -> float | None:
        pairs = ((person, r[-1]) for person in r[:-1])
        return mean_over_pairs(pairs, lambda person, machine: cohen_kappa(person, machine, CATEGORIES))

    def agreement(r: Ratings) -> float | None:
        return mean_over_pairs(((person, r[-1]) for person in r[:-1]), percent_agreement)

    return dict(judge.identity) | {
        "verdicts": int(rated.sum()),
        "n": int((~np.isnan(ratings[:, rated])).sum()),
        "cohen_kappa_linear": _interval(kappa, both, draws, "value"),
        "percent_agreement": _interval(agreement, both, draws, "mean_pct"),
        "win_rate_of_judge_pct": _win_rate_pct(verdicts),
        "annotators": {
            name: {
                "kappa": cohen_kappa(ratings[i], verdicts, CATEGORIES),
                "agreement_pct": percent_agreement(ratings[i], verdicts),
                "n": int((~np.isnan(ratings[i]) & rated).sum()),
            }
            for i, name in enumerate(annotators)
        },
    }
