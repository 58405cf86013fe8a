"""The judge as one more rater: its verdicts on the rows, and what it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gist_core.data.json_lines import read_json_lines

_RATING = {"a": 1.0, "tie": 0.0, "b": -1.0}
_IDENTITY = ("provider", "model", "protocol", "is_language_model")


@dataclass(frozen=True)
class JudgeRatings:
    """ratings: by row id, 1 where the run's answer won, 0 for a tie, -1 where it lost; rows without a verdict (refused,
    unparsable, failed) are not in it, and no row is if the judge gave no verdict at all. identity: provider, model, protocol,
    is_language_model, as far as stated."""

    ratings: Mapping[str, float]
    identity: Mapping[str, Any]


def read_judge_ratings(path: Path) -> JudgeRatings:
    """Reads a verdicts file (`data/verdicts/RUN/SPLIT.jsonl`, answer a is the run's).

    Raises:
        ValueError: the file is missing, or a line is not a verdict.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist; judge this run on this split first (`dvc repro judge`)")
    ratings: dict[str, float] = {}
    identity: dict[str, Any] = {}
    statuses = set()
    for number, verdict in read_json_lines(path):
        try:
            row_id, winner = verdict["row_id"], verdict["winner"]
            statuses.add(verdict["status"])
            if winner is not None:
                ratings[row_id] = _RATING[winner]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is not a verdict ({error!r})") from None
        identity = {name: verdict.get(name) for name in _IDENTITY}
    if "ok" not in statuses and statuses != {"identical"}:  # identical answers are ties without a call
        ratings = {}
    return JudgeRatings(ratings, identity)
