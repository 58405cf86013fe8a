"""From the calls for one row to its verdict, and the line that is stored for it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gist_core.scoring.judge.pair import Order, Pair, Protocol, Winner, winner_of
from gist_core.scoring.judge.reply import CallStatus, Choice

VerdictStatus = Literal["ok", "identical", "refused", "unparsable", "failed"]
_WORST_FIRST: tuple[CallStatus, ...] = ("failed", "refused", "unparsable")


@dataclass(frozen=True)
class Judge:
    """Who judges, as every verdict records it. `note` says in words what the judge is."""

    provider: str
    model: str
    is_language_model: bool
    note: str
    prompt_sha256: str | None = None


@dataclass(frozen=True)
class Call:
    """One question to a judge and its answer. `choice` is as shown: A is the answer shown first.

    key: hash of the request. raw: the answer as it came. answered_at: UTC, ISO 8601.
    times_billed: how often the provider can have charged for this question; 1 unless an answer was lost on the way.
    """

    order: Order
    status: CallStatus
    choice: Choice | None = None
    reason: str | None = None
    key: str | None = None
    raw: str | None = None
    error: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    answered_at: str | None = None
    times_billed: int | None = None

    @property
    def winner(self) -> Winner | None:
        """Who won according to this call; None unless it is ok."""
        return None if self.choice is None else winner_of(self.choice, self.order)


@dataclass(frozen=True)
class Verdict:
    """The verdict on one row. `winner` is None unless the status is ok or identical.

    length_difference: characters of answer a minus characters of answer b, without white space at the ends.
    """

    row_id: str
    status: VerdictStatus
    winner: Winner | None
    calls: tuple[Call, ...]
    length_difference: int

    @property
    def score(self) -> float | None:
        """What a gets: 1 for a win, 1/2 for a tie, 0 for a loss; None where there is no winner."""
        return None if self.winner is None else {"a": 1.0, "tie": 0.5, "b": 0.0}[self.winner]


def identical_verdict(pair: Pair) -> Verdict:
    """Equal answers: a tie without a call."""
    return Verdict(pair.row_id, "identical", "tie", (), 0)


def verdict_of(pair: Pair, calls: Sequence[Call]) -> Verdict:
    """The verdict from one call (paper) or from both orders (strict), where a disagreement is a tie.

    If a call is not ok, neither is the verdict: its status is the first of failed, refused, unparsable that occurs.
    """
    difference = len(pair.answer_a.strip()) - len(pair.answer_b.strip())
    for status in _WORST_FIRST:
        if any(call.status == status for call in calls):
            return Verdict(pair.row_id, status, None, tuple(calls), difference)
    winners = {call.winner for call in calls}
    return Verdict(pair.row_id, "ok", winners.pop() if len(winners) == 1 else "tie", tuple(calls), difference)


def verdict_record(
    verdict: Verdict, judge: Judge, protocol: Protocol, *, run: str, other: str, split: str
) -> dict[str, Any]:
    """One line of `data/verdicts/RUN/SPLIT.jsonl`: answer a is `run`'s, answer b is `other`'s."""
    return {
        "row_id": verdict.row_id,
        "split": split,
        "run": run,
        "a": run,
        "b": other,
        "status": verdict.status,
        "winner": verdict.winner,
        "score": verdict.score,
        "protocol": protocol,
        **asdict(judge),
        "length_difference": verdict.length_difference,
        "calls": [asdict(call) | {"winner": call.winner} for call in verdict.calls],
    }
