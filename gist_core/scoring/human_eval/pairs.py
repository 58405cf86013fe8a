"""The rows that can be judged: those of the split that both runs answered."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gist_core.data.rows import Row
from gist_core.scoring.human_eval.package import Pair


def pairs_of(rows: Sequence[Row], run_answers: Mapping[str, str], against_answers: Mapping[str, str]) -> list[Pair]:
    """One pair per row with an answer (possibly empty) by both runs, in the order of the rows. Answers by row id."""
    return [
        Pair(row.row_id, row.instruction, row.input, run_answers[row.row_id], against_answers[row.row_id])
        for row in rows
        if row.row_id in run_answers and row.row_id in against_answers
    ]


def read_predictions(path: Path) -> dict[str, str]:
    """The predictions of a generations file (JSON Lines) by row id.

    Raises:
        ValueError: the file is missing, or a line is not a generation.
    """
    return {line["row_id"]: line["prediction"] for line in _lines(path, ("row_id", "prediction"))}


def read_judge_ratings(path: Path) -> dict[str, float]:
    """The judge's ratings by row id from a verdicts file: 1 where the run's answer won, 0 for a tie, -1 where it lost.
    Rows without a verdict (refused, unparsable, failed) are left out.

    Raises:
        ValueError: the file is missing, or a line is not a verdict.
    """
    return {
        line["row_id"]: _RATING_OF_VERDICT[line["winner"]]
        for line in _lines(path, ("row_id", "winner"))
        if line["winner"] is not None
    }


_RATING_OF_VERDICT = {"a": 1.0, "tie": 0.0, "b": -1.0}


def _lines(path: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; is `human` among generate.splits?") from None
    lines = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}") from None
        missing = [field for field in fields if not isinstance(value, dict) or field not in value]
        if missing:
            raise ValueError(f"{path}, line {number} has no {', '.join(missing)}")
        lines.append(value)
    return lines
