"""What a judge's raw answer says. Pure functions, so that stored answers can be parsed again without a new call."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

CallStatus = Literal["ok", "refused", "unparsable", "failed"]
Choice = Literal["A", "B", "tie"]

_CHOICES: dict[str, Choice] = {"a": "A", "b": "B", "tie": "tie"}
# A choice that stands in no object; not `"choice": "A" | "B" | "tie"`, which is the form that was asked for.
_OUTSIDE = re.compile(r"""["']choice["']\s*:\s*["'](\w+)["'](?!\s*\|)""")
_MAX_STARTS = 200  # opening braces that are tried; a judge's answer has one


@dataclass(frozen=True)
class Reply:
    """status: ok, refused or unparsable. choice: as shown to the judge, so A is the first answer; None unless ok.
    reason: None if the judge gave no text."""

    status: CallStatus
    choice: Choice | None = None
    reason: str | None = None


def parse_completion(body: dict[str, Any]) -> Reply:
    """Parses a chat completion (`answer.completion_body`). Refused: the message says so, or the provider's filter cut it off."""
    first = body["choices"][0]
    message = first["message"]
    if message.get("refusal"):
        return Reply("refused", reason=_text(message["refusal"]))
    if first.get("finish_reason") == "content_filter":
        return Reply("refused", reason="the provider's content filter")
    return parse_content(message.get("content"))


def parse_content(content: object) -> Reply:
    """Finds the choice, in a JSON object that is the whole text or stands inside prose or a code fence.

    Different choices (also one in a broken object), a choice other than A, B or tie, and no object at all are unparsable: a
    guess would turn a judge's failure into a result.
    """
    if not isinstance(content, str):
        return Reply("unparsable")
    objects, rest = _objects(content)
    found = [record for record in objects if "choice" in record]
    named = [*(_text(record["choice"]) for record in found), *_OUTSIDE.findall(rest)]
    choices = {_CHOICES.get((name or "").strip().lower()) for name in named}
    if not found or len(choices) != 1 or None in choices:
        return Reply("unparsable")
    return Reply("ok", choices.pop(), _text(found[-1].get("reason")))


def _text(value: object) -> str | None:
    """A text that a file can hold: half of a surrogate pair, which JSON may hold, becomes a question mark (`raw` keeps it)."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else None


def _objects(text: str) -> tuple[list[dict[str, Any]], str]:
    """The JSON objects in a text, without those inside another object, and the text around them."""
    # Models write raw line breaks inside strings. Numbers do not matter here, and as floats they may have any length.
    decoder = json.JSONDecoder(strict=False, parse_int=float, object_pairs_hook=_record)
    objects, rest, end, position = [], "", 0, 0
    for _ in range(_MAX_STARTS):
        position = text.find("{", position)
        if position < 0:
            break
        try:
            record, after = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            position += 1
            continue
        objects.append(record)
        rest += text[end:position]
        end = position = after
    return objects, rest + text[end:]


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; one with two choices has none."""
    record = dict(pairs)
    if sum(name == "choice" for name, _ in pairs) > 1:
        record["choice"] = None
    return record
