"""From the body of a server's response to an answer for the store; the same for live calls and batches."""

import json
from typing import TYPE_CHECKING, Any

from gist_core.scoring.judge.prices import Prices
from gist_core.scoring.judge.store import StoredAnswer, now

if TYPE_CHECKING:
    import openai

NO_CREDIT = (
    "insufficient_quota",
    "insufficient_balance",
    "billing_hard_limit_reached",
)  # codes of an error, whatever its HTTP status
REDIRECTS = (301, 302, 303, 307, 308)
_MOST_TOKENS = 2**31  # far more than any model reads; a higher count is not believed, and SQLite could not hold all


def completion_body(text: str) -> dict[str, Any] | None:
    """The chat completion in a response, or None if it is something else: HTML of a proxy, an empty body, cut JSON."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, a number of more digits than Python reads, or too deep
        return None
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list) or not body["choices"]:
        return None
    first = body["choices"][0]
    return body if isinstance(first, dict) and isinstance(first.get("message"), dict) else None


def is_passing(error: "openai.APIStatusError") -> bool:
    """Whether the server may answer the same request a little later, because it is only busy or out of order."""
    return error.code not in NO_CREDIT and (error.status_code in (408, 409, 429) or error.status_code >= 500)


def refused_account(error: "openai.APIStatusError", where: str, said: str) -> str | None:
    """What to tell if the server wants another key, or money; None if it does not. said: by the server."""
    if error.status_code == 402 or error.code in NO_CREDIT:
        return f"the account at {where} has no credit left: {said}; top it up and run the same command again"
    if error.status_code in (401, 403):
        return f"{where} refuses the key in OPENAI_API_KEY: {said}"
    return None


def redirected(error: "openai.APIStatusError") -> str:
    """What to say of a server that redirects calls. Redirects are not followed: another server would have judged."""
    location = error.response.headers.get("location", "an address that it does not name")
    return f"sends calls on to {location} (HTTP {error.status_code}); give judge.base_url the address that answers them"


def stored_answer(key: str, body: dict[str, Any], prices: Prices | None, *, latency_ms: float | None) -> StoredAnswer:
    """The answer with the provider's own token counts, and its price where counts and prices are known."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        usage = {}
    prompt_tokens, completion_tokens = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    cost = None
    if prices is not None and prompt_tokens is not None and completion_tokens is not None:
        cost = prices.cost_usd(prompt_tokens, completion_tokens)
    return StoredAnswer(key, body, _name(body.get("model")), prompt_tokens, completion_tokens, cost, latency_ms, now())


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_TOKENS else None


def _name(value: object) -> str | None:
    """A text that SQLite accepts: half of a surrogate pair, which JSON may hold, is written as its escape."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else None
