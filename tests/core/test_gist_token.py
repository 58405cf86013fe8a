"""What the gist token starts with in the embedding and in the head."""

import pytest
import torch

from gist_core.models.base import add_gist_token
from tests.tiny import FAMILIES, byte_tokenizer, tiny_model


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
