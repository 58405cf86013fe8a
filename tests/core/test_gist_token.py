"""What the gist token starts with in the embedding and in the head, and that it is never an answer."""

import pytest
import torch

from gist_core.cache import compress, generate
from gist_core.models.base import add_gist_token
from tests.tiny import FAMILIES, byte_tokenizer, tiny_gist_model, tiny_model


@pytest.mark.parametrize("init", [None, "q"])
@pytest.mark.parametrize("vocab_size", [259, 300], ids=["full matrix", "rows to spare"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gist_token_starts_with_the_mean_or_with_the_token_named(
    family: str, vocab_size: int, init: str | None
) -> None:
    model, tokenizer = tiny_model(family, vocab_size=vocab_size), byte_tokenizer()
    before = model.get_input_embeddings().weight.detach().clone()
    head_before = model.get_output_embeddings().weight.detach().clone()
    tied = torch.equal(before, head_before)

    gist_token_id = add_gist_token(model, tokenizer, init)

    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    start = before.mean(dim=0) if init is None else before[tokenizer.convert_tokens_to_ids(init)]
    assert gist_token_id == 259
    assert torch.allclose(embedding[gist_token_id], start, atol=1e-6)
    assert torch.allclose(head[gist_token_id], start if tied else head_before.mean(dim=0), atol=1e-6)
    assert torch.equal(embedding[:gist_token_id], before[:gist_token_id])
    assert torch.equal(head[:gist_token_id], head_before[:gist_token_id])


def test_a_start_that_is_no_token_is_refused_before_anything_changes() -> None:
    model, tokenizer = tiny_model("llama"), byte_tokenizer()
    before, vocabulary = model.get_input_embeddings().weight.detach().clone(), tokenizer.get_vocab()
    with pytest.raises(ValueError, match=r"gist_init 'The' is not a token of this vocabulary"):
        add_gist_token(model, tokenizer, "The")
    assert tokenizer.get_vocab() == vocabulary
    assert torch.equal(model.get_input_embeddings().weight, before)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_the_gist_token_is_never_part_of_an_answer(family: str) -> None:
    gist_model = tiny_gist_model(family, "gist", 1)
    with torch.no_grad():  # the head rates it above all others
        gist_model.model.get_output_embeddings().weight[gist_model.gist_token_id] *= 50
    prompts, length = ["Add 1.", "Name it."] * 8, {"max_new_tokens": 20, "do_sample": True, "top_k": 0}
    torch.manual_seed(0)
    from_cache = generate(gist_model, compress(gist_model, prompts), [""] * len(prompts), **length)
    masked = gist_model.generate_masked(prompts, [""] * len(prompts), **length)
    assert not (from_cache == gist_model.gist_token_id).any()
    assert not (masked == gist_model.gist_token_id).any()
