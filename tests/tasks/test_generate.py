"""Which rows of a split are answered, and that no answer is lost or read twice."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gist_core.data.prompt import Prompt
from gist_core.data.rows import Row, row_id
from gist_core.generation import decode
from gist_core.generation.decode import answer_split
from gist_core.out_of_memory import enough_memory
from tasks.trained import draw_rows, load_model
from tests.tiny import tiny_gist_model


def test_rows_are_drawn_over_the_whole_split_and_a_larger_draw_holds_a_smaller_one() -> None:
    rows = []
    for index in range(300):
        instruction = f"Do task {index // 100}."
        identity = row_id("alpaca", instruction, str(index), "done", 0)
        rows.append(Row(identity, "seen", instruction, str(index), "done", "alpaca", "made", index))
    drawn = draw_rows(rows, 60)
    assert len(drawn) == 60
    assert [row.source_index for row in drawn] == sorted(row.source_index for row in drawn)
    assert {row.instruction for row in drawn} == {"Do task 0.", "Do task 1.", "Do task 2."}
    assert {row.row_id for row in drawn} < {row.row_id for row in draw_rows(rows, 61)}
    assert draw_rows(rows[::-1], 60) == drawn[::-1]
    assert draw_rows(rows, None) == draw_rows(rows, 1000) == rows


def test_a_kill_within_a_character_costs_that_row_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gist_model = tiny_gist_model("llama")
    questions = [Prompt(f"{index:02}", "Say it in Greek.", "x" * index) for index in range(1, 7)]
    progress = tmp_path / "seen.jsonl"

    def answers() -> list[dict]:
        return list(answer_split(gist_model, questions, progress, batch_size=1, max_new_tokens=3))

    whole = answers()
    lines = progress.read_bytes().splitlines(keepends=True)
    progress.write_bytes(
        b"".join(lines[:4]) + '{"row_id": "05", "prediction": "\N{GREEK SMALL LETTER ALPHA}'.encode()[:-1]
    )
    asked = []
    answer_batch = decode._answer_batch
    monkeypatch.setattr(
        decode, "_answer_batch", lambda model, batch, *more: asked.extend(batch) or answer_batch(model, batch, *more)
    )
    assert answers() == whole
    assert [question.row_id for question in asked] == ["05", "06"]
    assert progress.read_bytes() == b"".join(lines)


def test_too_large_a_batch_ends_with_what_to_lower() -> None:
    said = r"out of memory \(.+\); lower generate.batch_size = 512"
    with pytest.raises(ValueError, match=said), enough_memory("lower generate.batch_size = 512"):
        torch.empty(1 << 50)
    with pytest.raises(RuntimeError, match="mat1 and mat2"), enough_memory("lower it"):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_answers_are_computed_in_the_dtype_asked_for(tmp_path: Path, dtype: str) -> None:
    made = tiny_gist_model("llama")
    for part in (made.model, made.tokenizer):
        part.save_pretrained(tmp_path / "model")
    made.settings.save(tmp_path / "model")
    params = SimpleNamespace(generate=SimpleNamespace(dtype=dtype))
    gist_model = load_model(
        SimpleNamespace(params=params, device="cpu", dep=lambda path: tmp_path / "model"), "gist-1", "generate"
    )  # type: ignore[arg-type]
    assert str(gist_model.model.dtype) == f"torch.{dtype}"
    questions = [Prompt("01", "Say it.", "in Greek")]
    assert len(list(answer_split(gist_model, questions, tmp_path / "seen.jsonl", batch_size=1, max_new_tokens=3))) == 1


@pytest.mark.parametrize("condition", ["gist", "pos_control"])
def test_a_row_that_leaves_no_room_for_its_answer_is_told_before_any_is_answered(
    tmp_path: Path, condition: str
) -> None:
    gist_model = tiny_gist_model("llama", condition, 1)
    questions = [Prompt("a", "Sort.", "b"), Prompt("b", "x" * 500, "y" * 490)]
    list(answer_split(gist_model, questions, tmp_path / "one", batch_size=2, max_new_tokens=3))
    with pytest.raises(ValueError, match=r"1 of 2 are longer than the 1,024 tokens .* row b"):
        list(answer_split(gist_model, questions, tmp_path / "two", batch_size=2, max_new_tokens=99))
    assert not (tmp_path / "two").exists()
