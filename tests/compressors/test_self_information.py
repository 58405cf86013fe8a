"""The self-information compressor against probabilities that are taken from the model one by one."""

import math

import pytest
import torch

from gist_core.compressors import make_compressor
from gist_core.compressors.self_information import self_information
from gist_core.models.gist_model import GistModel
from tests.compressors.models import length, with_merges
from tests.tiny import tiny_gist_model

JOINED = [("Ġ", "w"), ("Ġw", "o"), ("o", "w")]  # " wo" is one token, and counts as the word's


@pytest.fixture(scope="module", params=[False, True], ids=["no BOS", "BOS"])
def gist_model(request: pytest.FixtureRequest) -> GistModel:
    return with_merges(JOINED, bos=request.param)


def by_hand(gist_model: GistModel, words: list[str]) -> list[float]:
    """-ln of each word's probability after all before it, token by token, in a prompt that is written out here. A space by
    itself belongs to no word."""
    tokenizer, found = gist_model.tokenizer, []
    ids = tokenizer("Instruction:").input_ids
    for word in words:
        nats = 0.0
        for token in tokenizer(f" {word}", add_special_tokens=False, split_special_tokens=True).input_ids:
            with torch.no_grad():
                logits = gist_model.model(torch.tensor([ids])).logits[0, -1]
            logits[gist_model.gist_token_id] = -math.inf
            nats -= 0 if tokenizer.decode([token]) == " " else float(logits.log_softmax(-1)[token])
            ids = [*ids, token]
        found.append(nats)
    return found


@pytest.mark.parametrize(
    "text", ["Translate the words below", "so so words", "Print <eos> now", "grün \N{PILE OF POO} ow"]
)
def test_a_word_weighs_what_the_model_could_not_have_guessed(gist_model: GistModel, text: str) -> None:
    found = self_information(gist_model, text)
    assert [word for word, _ in found] == text.split(" ")
    assert [nats for _, nats in found] == pytest.approx(by_hand(gist_model, text.split(" ")), rel=1e-3)


def test_the_gist_token_is_none_that_could_have_come(gist_model: GistModel) -> None:
    before = self_information(gist_model, "a b")
    head, gist = gist_model.model.get_output_embeddings(), torch.tensor([gist_model.gist_token_id])
    with head.register_forward_hook(lambda module, args, logits: logits.index_fill_(-1, gist, 1e4)):
        assert self_information(gist_model, "a b") == before


def test_the_words_that_weigh_most_are_kept_in_the_order_of_the_text(gist_model: GistModel) -> None:
    words = ["Translate", "the", "words", "below"]
    weights = by_hand(gist_model, words)
    ranked = sorted(range(len(words)), key=lambda index: -weights[index])
    assert ranked != sorted(ranked), "the order of the text is another"
    compress = make_compressor("self_information", [], gist_model)
    for count in range(1, len(words) + 1):
        kept = " ".join(words[index] for index in sorted(ranked[:count]))
        assert compress(" ".join(words), length(gist_model, kept)) == kept


def test_a_model_that_does_not_read_from_left_to_right_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs a decoder of condition pos_control.*this is a t5 of pos_control"):
        make_compressor("self_information", [], tiny_gist_model("t5", "pos_control"))
    with pytest.raises(ValueError, match="this is a llama of gist"):
        make_compressor("self_information", [], tiny_gist_model("llama", "gist"))


def test_an_instruction_beyond_the_models_context_is_refused() -> None:
    gist_model = tiny_gist_model("llama", "pos_control", max_position_embeddings=40)
    with pytest.raises(ValueError, match="longer than the 40 tokens of this model's context"):
        make_compressor("self_information", [], gist_model)("a " * 30, 2)
