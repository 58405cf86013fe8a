"""Reads the files that the paper's authors released: model outputs, and ChatGPT's pairwise verdicts.

Used to calibrate our scorers against published figures. The forms, as found in the files:

- outputs: CSV with `x` (prompt, gist tokens and reference in one string), `y_pred`, `y_true`;
- verdicts: one JSON object with `names` {a, b}, `scores` (points of each, by name), `results`, `estimated_cost`. A
  result has `choice`: "A", "B" or "tie", in lower case where the order was swapped, and already turned back, so that it
  always speaks of `names`; `swapped`: true where b was shown first; `reason` as the judge wrote it, which speaks of the
  order shown; `x`, and both answers under the names.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Winner = Literal["a", "b", "tie"]


@dataclass(frozen=True)
class ReleasedOutput:
    """One row of a released output file."""

    prompt: str
    prediction: str
    reference: str


@dataclass(frozen=True)
class ReleasedVerdict:
    """One released verdict, with a and b as the file names them. `first`: whose answer the judge saw first."""

    winner: Winner
    first: Literal["a", "b"]
    reason: str
    prompt: str
    answer_a: str
    answer_b: str

    @property
    def won_by_first(self) -> bool | None:
        """Whether the answer shown first won; None for a tie."""
        return None if self.winner == "tie" else self.winner == self.first


@dataclass(frozen=True)
class ReleasedJudgement:
    """One released file. Points: 1 for a win, 1/2 for a tie, for `names` in the order (a, b)."""

    names: tuple[str, str]
    stated_points: tuple[float, float]
    verdicts: list[ReleasedVerdict]
    cost_usd: float

    @property
    def recounted_points(self) -> tuple[float, float]:
        """The points of a and b counted from the verdicts."""
        a = sum({"a": 1.0, "b": 0.0, "tie": 0.5}[verdict.winner] for verdict in self.verdicts)
        return a, len(self.verdicts) - a

    @property
    def discrepancy(self) -> str | None:
        """What the file states against what its rows say; None where they agree."""
        if self.stated_points == self.recounted_points:
            return None
        return (
            f"{self.names[0]} against {self.names[1]}: the file states {self.stated_points[0]:g} to "
            f"{self.stated_points[1]:g}, its {len(self.verdicts)} rows say {self.recounted_points[0]:g} to "
            f"{self.recounted_points[1]:g}"
        )

    @property
    def decided(self) -> int:
        """Verdicts that are not a tie."""
        return sum(verdict.won_by_first is not None for verdict in self.verdicts)

    @property
    def first_position_share_pct(self) -> float:
        """Of the decided verdicts, the share won by the answer shown first, 0 to 100."""
        return 100 * sum(bool(verdict.won_by_first) for verdict in self.verdicts) / self.decided


def read_released_outputs(path: Path) -> list[ReleasedOutput]:
    """Reads `model_outputs/*.csv`. Every field is text: "None", "NA" and "" stay what they are.

    Raises:
        ValueError: the columns are not those of the release.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != ["x", "y_pred", "y_true"]:
            raise ValueError(f"{path} is not a released output file: its columns are {reader.fieldnames}")
        return [ReleasedOutput(row["x"], row["y_pred"], row["y_true"]) for row in reader]


def read_released_judgement(path: Path) -> ReleasedJudgement:
    """Reads `chatgpt/*.json`.

    Raises:
        ValueError: the file is not of the released form; names the row and the value.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        names = (record["names"]["a"], record["names"]["b"])
        stated = (float(record["scores"][names[0]]), float(record["scores"][names[1]]))
        verdicts = [_verdict(result, names, f"{path}, result {i}") for i, result in enumerate(record["results"])]
        return ReleasedJudgement(names, stated, verdicts, float(record["estimated_cost"]))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a released ChatGPT file: {error!r}") from None


def _verdict(result: dict[str, object], names: tuple[str, str], where: str) -> ReleasedVerdict:
    choice, swapped = result["choice"], result["swapped"]
    if not isinstance(swapped, bool):
        raise ValueError(f"{where}: swapped must be true or false, got {swapped!r}")
    winner = {"a": "a", "b": "b", "tie": "tie"}.get(str(choice).lower())
    if winner is None:
        raise ValueError(f"{where}: choice must be A, B or tie, got {choice!r}")
    return ReleasedVerdict(
        winner=winner,  # type: ignore[arg-type]
        first="b" if swapped else "a",
        reason=str(result["reason"]),
        prompt=str(result["x"]),
        answer_a=str(result[names[0]]),
        answer_b=str(result[names[1]]),
    )
