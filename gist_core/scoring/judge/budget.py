"""Limits on what judging may cost, counted over everything that was ever spent on the same requests."""

from dataclasses import dataclass, field, replace

from gist_core.scoring.judge.prices import Prices, estimated_tokens
from gist_core.scoring.judge.request import JudgeRequest


@dataclass
class Budget:
    """calls, dollars: limits, None = none. spent_*: so far. A call under way is counted at its highest price (its input
    by the estimate of prices.py, and as many output tokens as it may have), so that concurrent calls do not exceed the
    limit together."""

    calls: int | None
    dollars: float | None
    prices: Prices | None
    max_output_tokens: int
    spent_calls: int = 0
    spent_dollars: float = 0.0
    _reserved: dict[int, float] = field(default_factory=dict)

    def must_wait(self, request: JudgeRequest) -> bool:
        """Whether the call does not fit the limit now, but may once the calls under way turn out to have cost less."""
        if self.dollars is None or not self._reserved:
            return False
        price = self._highest_price(request)
        return self.spent_dollars + price <= self.dollars < self._committed() + price

    def reserve(self, attempt: int, request: JudgeRequest) -> None:
        """Counts a call that is about to be made.

        Raises:
            ValueError: it would exceed a limit; the message says which, and what to do.
        """
        if self.calls is not None and self.spent_calls + 1 > self.calls:
            raise ValueError(
                f"judge.budget_calls = {self.calls} is used up; raise it and run the same command again, "
                "the answers so far are kept"
            )
        price = self._highest_price(request)
        if self.dollars is not None and self._committed() + price > self.dollars:
            raise ValueError(
                f"judge.budget_usd = {self.dollars:g} would be passed: {self.spent_dollars:.4f} USD are spent, or may "
                f"have been, and the next call may cost up to {price:.4f}; raise it and run the same command again, the "
                "answers so far are kept"
            )
        self.spent_calls += 1
        self._reserved[attempt] = price

    def settle(self, attempt: int, cost_usd: float | None, *, billed: bool) -> None:
        """Counts what a call that has ended cost, or its highest price if the cost is not known.

        billed: whether it was billed, or may have been, as after a time-out.
        """
        reserved = self._reserved.pop(attempt)
        if billed:
            self.spent_dollars += reserved if cost_usd is None else cost_usd

    def charge_unpriced(self, request: JudgeRequest, calls: int) -> None:
        """Counts earlier calls that were billed, or may have been, at their highest price, because their cost is unknown;
        without the discount of batches, because nobody knows in which mode they were made."""
        self.spent_dollars += calls * self._highest_price(request, factor=1.0)

    def _committed(self) -> float:
        return self.spent_dollars + sum(self._reserved.values())

    def _highest_price(self, request: JudgeRequest, factor: float | None = None) -> float:
        if self.prices is None:
            return 0.0
        prices = self.prices if factor is None else replace(self.prices, factor=factor)
        return prices.cost_usd(estimated_tokens(request.prompt_text), self.max_output_tokens)
