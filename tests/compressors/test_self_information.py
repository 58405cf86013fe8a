"""The self-information compressor against probabilities that are taken from the model one by one."""

import math

import pytest
import torch

from gist_core.compressors import make_compressor
from gist_core.models.gist_model import GistModel
from tests.compressors.models import length, with_merges
from tests.tiny import tiny_gist_model

WORDS = ["Translate", "the", "words", "below"]
JOINED = [("Ġ", "w"), ("Ġw", "o"), ("o", "w")]  # " wo" is one token, and counts as the word's


@pytest.fixture(scope="module", params=[False, True], ids=["no BOS", "BOS"])
def gist_model(request: pytest.FixtureRequest) -> GistModel:
    return with_merges(JOINED, bos=request.param)


def information(gist_model: GistModel, words: list[str]) -> list[float]:
    """-ln of each word's probability after all before it, token by token, in a prompt that is written out here."""
    ids = gist_model.tokenizer("Instruction:").input_ids
    found = []
    for word in words:
        nats = 0.0
        for token in gist_model.tokenizer(f" {word}", add_special_tokens=False).input_ids:
            with torch.no_grad():
                logits = gist_model.model(torch.tensor([ids])).logits[0, -1]
            logits[gist_model.gist_token_id] = -math.inf
            space = gist_model.tokenizer.decode([token]) == " "
            nats -= 0 if space else float(logits.log_softmax(-1)[token])
            ids = [*ids, token]
        found.append(nats)
    return found


def test_the_words_that_surprise_most_are_kept(gist_model: GistModel) -> None:
    compress = make_compressor("self_information", [], gist_model)
    by_hand = information(gist_model, WORDS)
    ranked = sorted(range(len(WORDS)), key=lambda index: -by_hand[index])
    assert ranked != sorted(ranked), "the order of the text is another"
    for count in range(1, len(WORDS) + 1):
        kept = " ".join(WORDS[index] for index in sorted(ranked[:count]))
        assert compress(" ".join(WORDS), length(gist_model, kept)) == kept


def test_a_word_counts_where_it_stands(gist_model: GistModel) -> None:
    """The second of two equal words has a weight of its own."""
    words = ["so", "so", "words"]
    by_hand = information(gist_model, words)
    compress = make_compressor("self_information", [], gist_model)
    kept = max(range(3), key=by_hand.__getitem__)
    assert compress(" ".join(words), length(gist_model, words[kept])) == words[kept]
    assert by_hand[0] != pytest.approx(by_hand[1], abs=0.01)


def test_a_model_that_does_not_read_from_left_to_right_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs a decoder of condition pos_control.*this is a t5 of pos_control"):
        make_compressor("self_information", [], tiny_gist_model("t5", "pos_control"))
    with pytest.raises(ValueError, match="this is a llama of gist"):
        make_compressor("self_information", [], tiny_gist_model("llama", "gist"))


def test_an_instruction_beyond_the_models_context_is_refused() -> None:
    gist_model = tiny_gist_model("llama", "pos_control", max_position_embeddings=40)
    with pytest.raises(ValueError, match="longer than the 40 tokens of this model's context"):
        make_compressor("self_information", [], gist_model)("a " * 30, 2)
