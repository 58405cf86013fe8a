"""From the body of a server's response to an answer for the store; the same for live calls and batches."""

import json
from typing import Any

from gist_core.scoring.judge.prices import Prices
from gist_core.scoring.judge.store import StoredAnswer, now


def completion_body(text: str) -> dict[str, Any] | None:
    """The chat completion in a response, or None if it is something else: HTML of a proxy, an empty body, cut JSON."""
    try:
        body = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list) or not body["choices"]:
        return None
    first = body["choices"][0]
    return body if isinstance(first, dict) and isinstance(first.get("message"), dict) else None


def stored_answer(key: str, body: dict[str, Any], prices: Prices | None, *, latency_ms: float | None) -> StoredAnswer:
    """The answer with the provider's own token counts, and its price where counts and prices are known."""
    usage = body.get("usage") or {}
    prompt_tokens, completion_tokens = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    cost = None
    if prices is not None and prompt_tokens is not None and completion_tokens is not None:
        cost = prices.cost_usd(prompt_tokens, completion_tokens)
    model = body.get("model")
    return StoredAnswer(
        key, body, None if model is None else str(model), prompt_tokens, completion_tokens, cost, latency_ms, now()
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
