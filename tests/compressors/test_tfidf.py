"""The TF-IDF compressor against weights worked out by hand, and on random instructions."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gist_core import compressors
from gist_core.compressors import make_compressor
from gist_core.data.prompt import instruction_part
from gist_core.models.tokens import tokens_in_prompt
from tests.tiny import byte_tokenizer

# df of n = 3 instructions: translate 1, the 3, sentence 2, list 1, colours 1, of 1, shorten 1
INSTRUCTIONS = ["Translate the sentence", "List the colours of the rainbow", "Shorten the sentence"]


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def length(tokenizer, text: str) -> int:
    return len(tokens_in_prompt(tokenizer, text))


def test_the_rarest_words_are_kept_in_the_order_of_the_instruction(tokenizer) -> None:
    compress = make_compressor("tfidf", INSTRUCTIONS, tokenizer)
    budget = length(tokenizer, "Translate colours")
    # Weights: translate and colours ln(4/2)+1 = 1.69, sentence ln(4/3)+1 = 1.29, the (twice) 2 * (ln(4/4)+1) = 2.
    assert compress("Translate the sentence the colours", length(tokenizer, "the")) == "the"
    assert compress("Translate sentence the colours", budget) == "Translate colours"


def test_a_word_that_training_never_saw_weighs_most(tokenizer) -> None:
    compress = make_compressor("tfidf", INSTRUCTIONS, tokenizer)
    assert compress("List the zebras", length(tokenizer, "zebras")) == "zebras"


def test_training_without_a_word_makes_all_words_equal(tokenizer) -> None:
    compress = make_compressor("tfidf", ["!!!", "\N{PILE OF POO}"], tokenizer)
    assert compress("all any", length(tokenizer, "all")) == "all"


def test_a_word_that_does_not_fit_is_passed_over(tokenizer) -> None:
    compress = make_compressor("tfidf", INSTRUCTIONS, tokenizer)
    assert compress("Shorten the incomprehensibilities", length(tokenizer, "Shorten")) == "Shorten"


def test_the_best_word_is_cut_where_none_fits(tokenizer) -> None:
    compress = make_compressor("tfidf", INSTRUCTIONS, tokenizer)
    assert compress("the sentence", 3) == "se"  # a space and two letters


def test_a_word_counts_as_the_tokens_that_it_has_in_the_prompt() -> None:
    """Behind a space "leap" is one token, at the beginning of a text it is two."""
    tokenizer = byte_tokenizer(merges=[("l", "e"), ("a", "p"), ("Ġ", "le"), ("Ġle", "ap")])
    assert len(tokenizer.encode("leap", add_special_tokens=False)) == 2
    prompt = len(tokenizer.encode(instruction_part("leap"))) - len(tokenizer.encode(instruction_part("leap leap")))
    assert prompt == -1
    assert make_compressor("tfidf", INSTRUCTIONS, tokenizer)("the leap", 1) == "leap"


def test_a_word_is_cut_between_characters(tokenizer) -> None:
    compress = make_compressor("tfidf", INSTRUCTIONS, tokenizer)
    assert compress("\N{LATIN SMALL LETTER U WITH DIAERESIS}bersetze", 4) == "\N{LATIN SMALL LETTER U WITH DIAERESIS}b"
    hangul = "\N{HANGUL SYLLABLE AN}\N{HANGUL SYLLABLE NYEONG}"  # three bytes each, and so three tokens
    assert compress(hangul, 5) == hangul[0]
    assert compress(hangul, 1) == hangul[0]


@given(instruction=st.text(max_size=60), num_tokens=st.integers(1, 12))
def test_never_longer_than_asked(instruction: str, num_tokens: int) -> None:
    tokenizer = byte_tokenizer()
    short = make_compressor("tfidf", INSTRUCTIONS, tokenizer)(instruction, num_tokens)
    # No text has fewer bytes than the space before it and those of one character.
    assert length(tokenizer, short) <= max(num_tokens, 1 + len(short[:1].encode()))


def test_an_unknown_compressor_lists_those_there_are(tokenizer) -> None:
    with pytest.raises(ValueError, match=r"no compressor 'tf_idf'.*tfidf"):
        make_compressor("tf_idf", INSTRUCTIONS, tokenizer)


def test_a_module_without_its_function_is_named(tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first_words.py").write_text("def shorten(): ...")
    monkeypatch.setattr(compressors, "__path__", [str(tmp_path)])
    with pytest.raises(ValueError, match=r"first_words\.py has no function make_compressor\(instructions, tokenizer\)"):
        make_compressor("first_words", INSTRUCTIONS, tokenizer)
