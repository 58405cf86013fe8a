"""The TF-IDF compressor against weights worked out by hand."""

import pytest

from gist_core.compressors import make_compressor
from gist_core.data.prompt import instruction_part
from gist_core.models.gist_model import GistModel
from tests.compressors.models import length, with_merges
from tests.tiny import tiny_gist_model

# df of n = 3 instructions: translate 1, the 3, sentence 2, list 1, colours 1, of 1, shorten 1
INSTRUCTIONS = ["Translate the sentence", "List the colours of the rainbow", "Shorten the sentence"]


@pytest.fixture(scope="module")
def gist_model() -> GistModel:
    return tiny_gist_model("llama", "pos_control")


def test_the_rarest_words_are_kept_in_the_order_of_the_instruction(gist_model: GistModel) -> None:
    compress = make_compressor("tfidf", INSTRUCTIONS, gist_model)
    budget = length(gist_model, "Translate colours")
    # Weights: translate and colours ln(4/2)+1 = 1.69, sentence ln(4/3)+1 = 1.29, the (twice) 2 * (ln(4/4)+1) = 2.
    assert compress("Translate the sentence the colours", length(gist_model, "the")) == "the"
    assert compress("Translate sentence the colours", budget) == "Translate colours"


@pytest.mark.parametrize(
    "city", ["Istanbul", "\u0130stanbul"]
)  # of the second lower case is two characters, one no letter
def test_a_word_is_cut_alike_where_it_is_counted_and_where_it_is_weighed(gist_model: GistModel, city: str) -> None:
    compress = make_compressor("tfidf", [f"{city} {word}" for word in ("nedir", "ne", "uzak", "yakin")], gist_model)
    assert compress(f"{city} uzak", length(gist_model, "uzak")) == "uzak"
    assert compress(f"{city} uzak", length(gist_model, city)) != city


def test_a_word_that_training_never_saw_weighs_most(gist_model: GistModel) -> None:
    compress = make_compressor("tfidf", INSTRUCTIONS, gist_model)
    assert compress("List the zebras", length(gist_model, "zebras")) == "zebras"


def test_training_without_a_word_makes_all_words_equal(gist_model: GistModel) -> None:
    compress = make_compressor("tfidf", ["!!!", "\N{PILE OF POO}"], gist_model)
    assert compress("all any", length(gist_model, "all")) == "all"


def test_a_word_that_does_not_fit_is_passed_over(gist_model: GistModel) -> None:
    compress = make_compressor("tfidf", INSTRUCTIONS, gist_model)
    assert compress("Shorten the incomprehensibilities", length(gist_model, "Shorten")) == "Shorten"


def test_the_best_word_is_cut_where_none_fits(gist_model: GistModel) -> None:
    compress = make_compressor("tfidf", INSTRUCTIONS, gist_model)
    assert compress("the sentence", 3) == "se"  # a space and two letters


def test_a_word_counts_as_the_tokens_that_it_has_in_the_prompt() -> None:
    """Behind a space "leap" is one token, at the beginning of a text it is two."""
    gist_model = with_merges([("l", "e"), ("a", "p"), ("Ġ", "le"), ("Ġle", "ap")])
    tokenizer = gist_model.tokenizer
    assert len(tokenizer.encode("leap", add_special_tokens=False)) == 2
    prompt = len(tokenizer.encode(instruction_part("leap"))) - len(tokenizer.encode(instruction_part("leap leap")))
    assert prompt == -1
    assert make_compressor("tfidf", INSTRUCTIONS, gist_model)("the leap", 1) == "leap"


def test_a_word_is_cut_between_characters(gist_model: GistModel) -> None:
    compress = make_compressor("tfidf", INSTRUCTIONS, gist_model)
    assert compress("\N{LATIN SMALL LETTER U WITH DIAERESIS}bersetze", 4) == "\N{LATIN SMALL LETTER U WITH DIAERESIS}b"
    hangul = "\N{HANGUL SYLLABLE AN}\N{HANGUL SYLLABLE NYEONG}"  # three bytes each, and so three tokens
    assert compress(hangul, 5) == hangul[0]
    assert compress(hangul, 1) == hangul[0]


def test_a_word_that_is_more_tokens_in_a_prompt_than_by_itself_is_cut_too() -> None:
    """The word is one token at the beginning of a text and two behind a space, where it stands in a prompt."""
    gist_model = with_merges([("o", "r"), ("w", "or"), ("wor", "d")])
    assert length(gist_model, "word") == 2
    compress = make_compressor("tfidf", INSTRUCTIONS, gist_model)
    assert compress("word play", 1) == "w"  # the least that can be left
    assert compress("word play", 2) == "word"
