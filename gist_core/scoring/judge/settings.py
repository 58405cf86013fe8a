"""How a language model is asked to judge."""

from dataclasses import dataclass
from typing import Literal

from gist_core.scoring.judge.prices import Prices

DEFAULT_BASE_URL = "https://api.openai.com/v1"


@dataclass(frozen=True)
class OpenAISettings:
    """How to ask. Only the first five change a request, and so the key of its answer; times are in seconds.

    lost_calls: what becomes of calls that were under way when an earlier process was killed: a failed verdict, so that
    nothing is ever paid twice, or another call.
    """

    model: str
    base_url: str | None = None
    temperature: float | None = 0.0
    max_output_tokens: int = 400
    output_limit_field: str = "max_tokens"
    mode: Literal["live", "batch"] = "live"
    concurrency: int = 8
    timeout_s: float = 60.0
    max_attempts: int = 6
    max_wait_s: float = 600.0
    lost_calls: Literal["fail", "ask_again"] = "fail"
    poll_s: float = 30.0
    budget_usd: float | None = None
    budget_calls: int | None = None
    prices: Prices | None = None

    @property
    def endpoint(self) -> str:
        """Where calls go. Always handed to the client, which would else take OPENAI_BASE_URL from the environment: the
        verdicts would name a judge that was never asked."""
        return self.base_url or DEFAULT_BASE_URL
