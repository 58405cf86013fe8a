"""Two answers to one row, and the order in which a judge sees them."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from gist_core.scoring.predictions import exactly_equal

Protocol = Literal["paper", "strict"]
Order = Literal["ab", "ba"]
Winner = Literal["a", "b", "tie"]


@dataclass(frozen=True)
class Pair:
    """Answers a and b to one row, with the row's reference output."""

    row_id: str
    instruction: str
    input: str
    reference: str
    answer_a: str
    answer_b: str

    @property
    def identical(self) -> bool:
        """Equal answers are a tie without asking anyone."""
        return exactly_equal(self.answer_a, self.answer_b)

    def shown(self, order: Order) -> tuple[str, str]:
        """The answers in the order in which a judge sees them."""
        return (self.answer_a, self.answer_b) if order == "ab" else (self.answer_b, self.answer_a)


def orders(pair: Pair, protocol: Protocol, seed: int) -> tuple[Order, ...]:
    """The orders to show: one that is drawn by row id and seed (paper), or both (strict).

    The draw decides which of the two *texts* comes first, not which of the two runs, so judging (b, a) asks exactly what
    judging (a, b) asks, and gives the same winner.
    """
    if protocol == "strict":
        return ("ab", "ba")
    digest = hashlib.sha256(json.dumps([pair.row_id, seed]).encode()).digest()
    smaller_text_first = digest[0] % 2 == 0
    return ("ab",) if (pair.answer_a < pair.answer_b) == smaller_text_first else ("ba",)


def winner_of(choice: Literal["A", "B", "tie"], order: Order) -> Winner:
    """Who won, given the choice of the judge, for whom A is the answer shown first."""
    if choice == "tie":
        return "tie"
    return "a" if (choice == "A") == (order == "ab") else "b"
