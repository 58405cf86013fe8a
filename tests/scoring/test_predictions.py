"""Generations are read as they were written, and runs on different rows are not compared."""

from pathlib import Path

import pytest

from gist_core.scoring.predictions import exactly_equal, read_predictions, rows_answered_by_all

from .made_rows import AWKWARD, make_rows, write_generations


def test_awkward_texts_survive_the_round_trip(tmp_path: Path) -> None:
    rows = make_rows("seen", len(AWKWARD))
    write_generations(tmp_path / "seen.jsonl", "gist-1", rows, AWKWARD)
    assert list(read_predictions(tmp_path / "seen.jsonl").values()) == AWKWARD


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"row_id": "1", "prediction": "x"}\n{"row_id": "2", "pred', "line 2 is not JSON"),
        ('{"row_id": "1"}\n', "line 1: not a generation"),
        ('{"row_id": "1", "prediction": null}\n', "must be strings"),
        ('{"row_id": "1", "prediction": "x"}\n{"row_id": "1", "prediction": "y"}\n', "row 1 is answered twice"),
        ('{"row_id": "1", "prediction": "\\ud83d"}\n', "half a surrogate pair"),
        ("", "holds no answers"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "seen.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_predictions(tmp_path / "seen.jsonl")


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dvc repro generate"):
        read_predictions(tmp_path / "seen.jsonl")


def test_runs_on_different_rows_are_refused_with_run_count_and_row() -> None:
    rows = make_rows("seen", 4)
    answers = {row.row_id: "x" for row in rows[:3]}
    fewer = {row.row_id: "x" for row in rows[:2]}
    more = {row.row_id: "x" for row in rows}
    assert rows_answered_by_all(rows, {"a": answers, "b": dict(reversed(answers.items()))}, "seen") == rows[:3]
    with pytest.raises(ValueError, match=f"on seen: b lacks 1 of the 3 rows of a, e.g. {rows[2].row_id}"):
        rows_answered_by_all(rows, {"a": answers, "b": fewer}, "seen")
    with pytest.raises(ValueError, match=f"b has 1 row.s. that a lacks, e.g. {rows[3].row_id}"):
        rows_answered_by_all(rows, {"a": answers, "b": more}, "seen")
    with pytest.raises(ValueError, match=r"b has 1 answer.s. to rows that are not in the split, e.g. other"):
        rows_answered_by_all(rows, {"a": answers, "b": answers | {"other": "x"}}, "seen")


def test_exact_match_ignores_only_white_space_at_the_ends() -> None:
    assert exactly_equal(" a b\n", "a b")
    assert not exactly_equal("a  b", "a b")
    assert not exactly_equal("A", "a")
