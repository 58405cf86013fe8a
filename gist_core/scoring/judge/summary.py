"""The figures of one split: win rate, rows without a verdict, and how far order and length explain the result."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gist_core.scoring.judge.pair import Protocol
from gist_core.scoring.judge.verdict import Judge, Verdict
from gist_core.scoring.statistics import Interval, bootstrap_mean, wilson_interval
from gist_core.scoring.summary import interval_pct, rounded


def summarise_verdicts(
    verdicts: Sequence[Verdict], judge: Judge, protocol: Protocol, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Summary of one split, as `reports/judge/RUN.json` holds it.

    The win rate is over the judged rows (ok and identical), and a tie counts 1/2; refused, unparsable and failed rows are
    counted separately and are only in `n`. `ties` are the judge's own; `identical` answers are ties without a call. If a
    judge was asked and gave no verdict at all, there is no win rate: identical answers alone would make it 50.
    asked_twice: requests that the provider may have charged for more than once (an answer was lost or came too late).
    cost_usd: the sum of the known costs. calls_unpriced: further calls that may have been charged for, at an unknown cost.
    All three count a request that several rows share once, because it was asked once.
    n = wins + ties + losses + identical + refused + unparsable + failed. The interval is a bootstrap over rows, or
    Wilson's if all rows score the same, when a bootstrap would claim certainty; `interval` says which.
    """
    counts = Counter(verdict.status for verdict in verdicts)
    winners = Counter(verdict.winner for verdict in verdicts if verdict.status == "ok")
    was_silent = not counts["ok"] and counts["identical"] < len(verdicts)
    judged = [] if was_silent else [verdict for verdict in verdicts if verdict.score is not None]
    scores = [verdict.score for verdict in judged if verdict.score is not None]
    interval, kind = _interval(scores, resamples=resamples, seed=seed)
    requests = {call.key: call for verdict in verdicts for call in verdict.calls if call.key is not None}.values()
    costs = [call.cost_usd for call in requests if call.cost_usd is not None]
    return {
        "win_rate_pct": rounded(100 * sum(scores) / len(scores)) if scores else None,
        "ci95_pct": interval_pct(interval) if interval else None,
        "interval": kind,
        "resamples": resamples,
        "seed": seed,
        "wins": winners["a"],
        "ties": winners["tie"],
        "losses": winners["b"],
        "identical": counts["identical"],
        "refused": counts["refused"],
        "unparsable": counts["unparsable"],
        "failed": counts["failed"],
        "n": len(verdicts),
        "asked_twice": sum((call.times_billed or 0) > 1 for call in requests),
        "first_position_share_pct": _first_position_share(verdicts),
        "order_agreement_pct": _order_agreement(verdicts),
        "length_controlled_win_rate_pct": length_controlled_win_rate_pct(judged),
        "provider": judge.provider,
        "model": _models(verdicts) or judge.model,
        "protocol": protocol,
        "cost_usd": round(sum(costs), 6) if costs or not requests else None,
        "calls_unpriced": sum(call.times_billed or 0 for call in requests) - len(costs),
        "is_language_model": judge.is_language_model,
        "note": judge.note,
        "prompt_sha256": judge.prompt_sha256,
    }


def length_controlled_win_rate_pct(verdicts: Sequence[Verdict]) -> float | None:
    """The win rate that answers of equal length would have, 0 to 100; None without a judged row.

    Dubois, Galambosi, Liang and Hashimoto (2024), "Length-Controlled AlpacaEval", arXiv 2404.04475, section 3: a
    logistic regression of the verdict on tanh(length difference / its standard deviation), evaluated at a difference of
    zero. Their term for the difficulty of an instruction is left out: it needs many models on the same rows. A tie is
    half a win and half a loss. Lengths are in characters.
    """
    judged = [(verdict.score, verdict.length_difference) for verdict in verdicts if verdict.score is not None]
    if not judged:
        return None
    scores = np.array([score for score, _ in judged])
    differences = np.array([difference for _, difference in judged], dtype=np.float64)
    # The spread about zero, not about the mean, so that swapping a and b does not change it.
    spread = float(np.sqrt((differences**2).mean()))
    if spread == 0 or len(set(scores)) == 1:
        return rounded(100 * float(scores.mean()))
    return rounded(100 * _rate_at_equal_length(np.tanh(differences / spread), scores))


def _rate_at_equal_length(lengths: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    from sklearn.linear_model import LogisticRegression

    # Each row counts once as a win and once as a loss, weighted by its score. The weak penalty keeps the slope finite
    # if length separates wins from losses.
    model = LogisticRegression(C=100.0, tol=1e-10, max_iter=10_000)
    features = np.concatenate([lengths, lengths])[:, None]
    outcomes = np.repeat([1, 0], len(scores))
    model.fit(features, outcomes, sample_weight=np.concatenate([scores, 1 - scores]))
    return float(model.predict_proba([[0.0]])[0, 1])


def _interval(scores: list[float], *, resamples: int, seed: int) -> tuple[Interval | None, str | None]:
    if not scores:
        return None, None
    if len(set(scores)) == 1:
        return wilson_interval(sum(scores), len(scores)), "wilson"
    return bootstrap_mean(scores, resamples=resamples, seed=seed).ci95, "bootstrap"


def _first_position_share(verdicts: Sequence[Verdict]) -> float | None:
    """Of the calls that chose an answer, the share that chose the one shown first. 50 = no preference."""
    choices = Counter(call.choice for verdict in verdicts for call in verdict.calls)
    decided = choices["A"] + choices["B"]
    return rounded(100 * choices["A"] / decided) if decided else None


def _order_agreement(verdicts: Sequence[Verdict]) -> float | None:
    """Of the rows judged in both orders, the share with the same winner in both."""
    both = [verdict.calls for verdict in verdicts if verdict.status == "ok" and len(verdict.calls) == 2]
    return rounded(100 * sum(one.winner == other.winner for one, other in both) / len(both)) if both else None


def _models(verdicts: Sequence[Verdict]) -> str:
    return ", ".join(sorted({call.model for verdict in verdicts for call in verdict.calls if call.model}))
