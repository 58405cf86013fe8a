"""Prompts and inputs from a file, a line each, for `gist compress` and `gist generate`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.cache import texts_of
from cli.main import app
from gist_core.models.gist_model import GistModel
from tests.tiny import tiny_gist_model


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfSort.\nCount.\n", b"Sort.\r\nCount.\r\n", b"Sort.\nCount."])
def test_byte_order_mark_and_line_ends_are_no_part_of_a_prompt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "prompts.txt").write_bytes(content)
    assert texts_of(None, tmp_path / "prompts.txt", "prompt") == ["Sort.", "Count."]


@pytest.mark.parametrize("character", ["\f", "\v", "\x85", "\u2028"])
def test_only_line_feeds_part_lines(tmp_path: Path, character: str) -> None:
    text = f"Sort{character}these."
    (tmp_path / "prompts.txt").write_text(f"{text}\n", encoding="utf-8")
    assert texts_of(None, tmp_path / "prompts.txt", "prompt") == [text]


def test_a_blank_line_is_no_prompt_but_an_input_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("a\n\nb\n", encoding="utf-8")
    assert texts_of(None, tmp_path / "lines.txt", "input") == ["a", "", "b"]
    with pytest.raises(ValueError, match=r"--file .*lines\.txt, line 2 is empty"):
        texts_of(None, tmp_path / "lines.txt", "prompt")


def test_a_file_that_is_not_utf8_is_named_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Sort.\nGr\u00fc\u00dfe.\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt, line 2: byte 8 .* is not UTF-8"):
        texts_of(None, tmp_path / "latin.txt", "prompt")


@pytest.mark.parametrize("what", ["prompt", "input"])
def test_an_empty_file_is_told_before_the_model_is_loaded(tmp_path: Path, what: str) -> None:
    (tmp_path / "none.txt").touch()
    with pytest.raises(ValueError, match=rf"--file .*none\.txt is empty; it needs one {what} a line"):
        texts_of(None, tmp_path / "none.txt", what)


@pytest.mark.parametrize("what", ["prompt", "input"])
def test_the_line_with_a_literal_gist_token_is_named(tmp_path: Path, what: str) -> None:
    (tmp_path / "lines.txt").write_text("a\nb <GIST>\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=rf"the {what} in --file .*lines\.txt, line 2 contains the literal text '<GIST>'"
    ):
        texts_of(None, tmp_path / "lines.txt", what)


def test_answers_of_several_lines_are_told_apart(tmp_path: Path) -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    for part in (gist_model.model, gist_model.tokenizer):
        part.save_pretrained(tmp_path / "model")
    gist_model.settings.save(tmp_path / "model")
    cache = ["--model", str(tmp_path / "model"), "--device", "cpu"]
    runner = CliRunner()
    assert runner.invoke(app, ["compress", "Sort.", "--output", str(tmp_path / "c.safetensors"), *cache]).exit_code == 0
    assert (tmp_path / "c.safetensors").stat().st_mode == (tmp_path / "model/gist.json").stat().st_mode
    arguments = ["generate", "b, a", "", "--cache", str(tmp_path / "c.safetensors"), *cache, "--max-new-tokens", "5"]
    lines = runner.invoke(app, [*arguments, "--jsonl"]).stdout.split("\n")[:-1]
    told = [json.loads(line) for line in lines]
    assert [record["input"] for record in told] == ["b, a", ""]
    assert {record["finish_reason"] for record in told} == {"length"}
    assert runner.invoke(app, arguments).stdout == "".join(f"{record['answer']}\n" for record in told)


def test_a_place_for_no_cache_is_told_before_the_model_is_loaded(tmp_path: Path) -> None:
    for place, said in ((tmp_path / "none/c", "does not exist"), (tmp_path, "is a folder")):
        result = CliRunner().invoke(app, ["compress", "Sort.", "--output", str(place), "--model", str(tmp_path / "no")])
        assert said in str(result.exception)


@pytest.mark.parametrize("file", ["config.json", "gist.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_model_is_told(tmp_path: Path, file: str) -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    for part in (gist_model.model, gist_model.tokenizer):
        part.save_pretrained(tmp_path)
    gist_model.settings.save(tmp_path)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:20])
    with pytest.raises(ValueError, match="is damaged or incomplete"):
        GistModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("command", ["compress", "generate"])
def test_want_of_memory_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    for part in (gist_model.model, gist_model.tokenizer):
        part.save_pretrained(tmp_path / "model")
    gist_model.settings.save(tmp_path / "model")
    arguments = {
        "compress": ["compress", "Sort.", "--output", str(tmp_path / "c")],
        "generate": ["generate", "pear, fig", "--cache", str(tmp_path / "c")],
    }
    for ready in arguments if command == "generate" else ():
        assert CliRunner().invoke(app, [*arguments[ready], "--model", str(tmp_path / "model")]).exit_code == 0

    def no_memory(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(type(gist_model.model.model.layers[0].mlp), "forward", no_memory)
    result = CliRunner().invoke(app, [*arguments[command], "--model", str(tmp_path / "model")])
    assert "out of memory" in str(result.exception)
    assert "lower --batch-size" in str(result.exception)
