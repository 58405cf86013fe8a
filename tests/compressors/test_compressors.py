"""What holds for every compressor, and how they are found."""

import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gist_core import compressors
from gist_core.compressors import compressor_names, make_compressor
from gist_core.models.gist_model import GistModel
from tests.compressors.models import length
from tests.tiny import tiny_gist_model


@pytest.fixture(scope="module")
def gist_model() -> GistModel:
    return tiny_gist_model("llama", "pos_control")


@pytest.mark.parametrize("name", compressor_names())
@example(instruction="Print <eos> now", num_tokens=1)
@given(instruction=st.text(min_size=1, max_size=60).filter(str.strip), num_tokens=st.integers(1, 12))
def test_never_longer_than_asked_and_never_empty(
    gist_model: GistModel, name: str, instruction: str, num_tokens: int
) -> None:
    short = make_compressor(name, ["Sort the list", "Name a colour"], gist_model)(instruction, num_tokens)
    assert short.strip()
    # No text has fewer bytes than the space before it and those of one character.
    assert length(gist_model, short) <= max(num_tokens, 1 + len(short[:1].encode()))


@pytest.mark.parametrize("name", compressor_names())
def test_what_fits_stays_in_its_order(gist_model: GistModel, name: str) -> None:
    compress = make_compressor(name, ["Sort the list"], gist_model)
    assert compress("Name three  rivers\nof Peru", 200) == "Name three rivers of Peru"


def test_there_are_the_papers_and_a_learned_one() -> None:
    assert compressor_names() == ["self_information", "tfidf"]


def test_an_unknown_compressor_lists_those_there_are(gist_model: GistModel) -> None:
    with pytest.raises(ValueError, match=r"no compressor 'tf_idf'.*tfidf"):
        make_compressor("tf_idf", [], gist_model)


def test_a_module_without_its_function_is_named(
    gist_model: GistModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first_words.py").write_text("def shorten(): ...")
    monkeypatch.setattr(compressors, "__path__", [str(tmp_path)])
    with pytest.raises(
        ValueError, match=r"first_words\.py has no function make_compressor\(instructions, gist_model\)"
    ):
        make_compressor("first_words", [], gist_model)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return text", r"'broken', of the instruction 'Name three rivers\.', kept \d+ tokens .* where it may keep 2"),
        ("return ' '", "made ' '; it must leave a text"),
        ("return None", "made None; it must leave a text"),
        ("return text[9 ** 9]", "string index out of range"),
    ],
)
def test_a_compressor_is_held_to_what_it_promises(
    gist_model: GistModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    code = (
        f"def make_compressor(instructions, model):\n    def shorten(text, number):\n        {body}\n    return shorten"
    )
    (tmp_path / "broken.py").write_text(code)
    monkeypatch.setattr(compressors, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "gist_core.compressors.broken", raising=False)
    compress = make_compressor("broken", [], gist_model)
    with pytest.raises((ValueError, IndexError), match=message) as raised:
        compress("Name three rivers.", 2)
    notes = getattr(raised.value, "__notes__", [])
    assert "the compressor 'broken', of the instruction 'Name three rivers.'" in f"{raised.value} {notes}"
