"""The judge as one more rater: its verdicts on the rows, and what it is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RATING = {"a": 1.0, "tie": 0.0, "b": -1.0}
_IDENTITY = ("provider", "model", "protocol", "is_language_model")


@dataclass(frozen=True)
class JudgeRatings:
    """ratings: by row id, 1 where the run's answer won, 0 for a tie, -1 where it lost; rows without a verdict (refused,
    unparsable, failed) are not in it. identity: provider, model, protocol, is_language_model, as far as stated."""

    ratings: Mapping[str, float]
    identity: Mapping[str, Any]


def read_judge_ratings(path: Path) -> JudgeRatings:
    """Reads a verdicts file (`data/verdicts/RUN/SPLIT.jsonl`, answer a is the run's).

    Raises:
        ValueError: the file is missing, or a line is not a verdict.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; judge this run on this split first (`dvc repro judge`)") from None
    ratings: dict[str, float] = {}
    identity: dict[str, Any] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            verdict = json.loads(line)
            row_id, winner = verdict["row_id"], verdict["winner"]
            if winner is not None:
                ratings[row_id] = _RATING[winner]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is not a verdict ({error!r})") from None
        identity = {name: verdict.get(name) for name in _IDENTITY}
    return JudgeRatings(ratings, identity)
