"""The request that asks a judge about one pair in one order, and its key."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from gist_core.lineage.hashing import sha256_of_json
from gist_core.scoring.judge.pair import Order, Pair, Protocol
from gist_core.scoring.judge.settings import OpenAISettings

_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"reason": {"type": "string"}, "choice": {"type": "string", "enum": ["A", "B", "tie"]}},
            "required": ["reason", "choice"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class JudgeRequest:
    """key: SHA-256 of endpoint and body. body: as sent to /chat/completions."""

    key: str
    body: dict[str, Any]

    @property
    def prompt_text(self) -> str:
        """All text that the model reads, for estimates of tokens."""
        return "".join(message["content"] for message in self.body["messages"])


@cache
def prompt() -> tuple[str, str]:
    """The judge's instructions (prompt.txt in this package) and the SHA-256 of the file."""
    data = files("gist_core.scoring.judge").joinpath("prompt.txt").read_bytes()
    return data.decode("utf-8"), hashlib.sha256(data).hexdigest()


def make_request(pair: Pair, order: Order, protocol: Protocol, settings: OpenAISettings) -> JudgeRequest:
    """The request for one pair in one order. The texts are sent as one JSON object, so that no text, however odd, can be
    taken for a part of the frame.

    The strict protocol asks for a JSON schema, the paper's asks in words only.
    """
    first, second = pair.shown(order)
    material = {"instruction": pair.instruction, "input": pair.input, "answer_a": first, "answer_b": second}
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": [
            {"role": "system", "content": prompt()[0]},
            {"role": "user", "content": json.dumps(material, ensure_ascii=False, indent=1)},
        ],
        settings.output_limit_field: settings.max_output_tokens,
    }
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    if protocol == "strict":
        body["response_format"] = _SCHEMA
    return JudgeRequest(sha256_of_json([settings.endpoint.rstrip("/"), body]), body)
