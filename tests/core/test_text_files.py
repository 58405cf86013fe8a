"""Prompts and inputs from a file, a line each, for `gist compress` and `gist generate`."""

from pathlib import Path

import pytest

from cli.cache import texts_of


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
