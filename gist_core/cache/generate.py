"""Answers from cached prompts, through the stock `generate`."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from gist_core.cache.compress import origin_of
from gist_core.cache.encoder import encode_with_cache
from gist_core.cache.gist_cache import GistCache
from gist_core.masks import Bounds
from gist_core.models.attention import CACHE_NAME
from gist_core.models.gist_model import GistModel, without_unset
from gist_core.models.tokens import as_texts


@torch.inference_mode()
def generate(
    gist_model: GistModel, cache: GistCache, inputs: Iterable[str], *, batch_size: int = 32, **generate_kwargs: Any
) -> torch.Tensor:
    """Generates an answer to each input from its cached prompt.

    cache: one row for each input, or a single row that serves all of them.
    inputs: the text after "Input:"; "" where the prompt takes none.
    batch_size: inputs that are answered together; the others wait.
    generate_kwargs: passed on to transformers' `generate` (max_new_tokens, num_beams, do_sample, ...).

    Returns: token ids of the answers, shape (batch, new_tokens), padded on the right; `GistModel.decode` makes text of them.

    Raises:
        ValueError: no inputs; several cached prompts, but not one for each input; a cache of another model, or of whole
            instructions for an encoder-decoder; a batch size below 1; an input that does not fit into the model's context
            between its prompt and its answer; or a generate argument that reads the prompt or cannot be served (see
            GistModel.generate_answers; a `streamer` has place for one answer). Processors and criteria that are handed over as
            objects see the input and the answer only, of one batch at a time.
    """
    inputs = as_texts(inputs, "inputs")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; a forward pass needs at least 1 input")
    if not inputs:
        raise ValueError("no inputs to answer")
    generate_kwargs = without_unset(generate_kwargs)
    if generate_kwargs.get("streamer") is not None and len(inputs) > 1:
        raise ValueError(f"a streamer takes one answer, and there are {len(inputs)} inputs; call generate for each")
    allowed = generate_kwargs.get("prefix_allowed_tokens_fn")
    check_origin(gist_model, cache)
    if gist_model.is_encoder_decoder and cache.keeps == "instruction":
        raise ValueError(
            "in an encoder-decoder the instruction sees the input or is not seen by the answer, so a cache of it cannot "
            'answer as the full prompt does; compress with keep="gist"'
        )
    if len(cache) not in (1, len(inputs)):
        raise ValueError(
            f"{len(cache)} cached prompts for {len(inputs)} inputs; give one prompt for each input, or one for all"
        )
    cache = cache.to(gist_model.device, gist_model.model.dtype)
    asked = gist_model.asked(generate_kwargs)
    refuse_what_reads_the_prompt(asked, is_encoder_decoder=gist_model.is_encoder_decoder)
    copies = max(asked[key] or 1 for key in ("num_beams", "num_return_sequences"))
    answers = []
    for start in range(0, len(inputs), batch_size):
        texts = inputs[start : start + batch_size]
        prompts = cache.repeat(len(texts)) if len(cache) == 1 else cache.select(range(start, start + len(texts)))
        begun = continuation(gist_model, prompts, texts, copies=copies)
        if not gist_model.is_encoder_decoder:
            numbered = [f"input {start + number}" for number in range(1, len(texts) + 1)]
            gist_model.refuse_beyond_context((begun["position_ids"][:, -1] + 1).tolist(), generate_kwargs, numbered)
        if allowed is not None:  # counts rows over all inputs, as without batches
            shifted = partial(_of_row, allowed, start)
            generate_kwargs = generate_kwargs | {"prefix_allowed_tokens_fn": shifted}
        answers.append(gist_model.generate_answers(begun, generate_kwargs))
    width = max(tokens.shape[1] for tokens in answers)
    pad = gist_model.tokenizer.pad_token_id
    return torch.cat([nn.functional.pad(tokens, (0, width - tokens.shape[1]), value=pad) for tokens in answers])


def _of_row(allowed: Callable[[int, torch.Tensor], list[int]], start: int, row: int, ids: torch.Tensor) -> list[int]:
    return allowed(start + row, ids)


def refuse_what_reads_the_prompt(asked: dict[str, Any], *, is_encoder_decoder: bool) -> None:
    """Raises ValueError for options of `generate` that count or read the prompt's tokens, which a cache does not have."""
    neutral = {"encoder_no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1.0, "prefill_chunk_size": None}
    if not is_encoder_decoder:
        neutral |= {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0}
    for name, value in neutral.items():
        if asked.get(name) not in (None, value):
            instead = "give min_new_tokens" if name == "min_length" else f"give {name}={value}"
            raise ValueError(
                f"{name}={asked[name]} reads the whole prompt, of which a cache has not the tokens: {instead}"
                ", or answer without a cache (GistModel.generate_masked)"
            )


def check_origin(gist_model: GistModel, cache: GistCache) -> None:
    """Raises ValueError, naming what differs, if the cache was made by another model."""
    expected, found = origin_of(gist_model), cache.origin
    differing = [name for name in vars(expected) if getattr(expected, name) != getattr(found, name)]
    if differing:
        details = "; ".join(
            f"{name} is {getattr(found, name)}, the model's {getattr(expected, name)}" for name in differing
        )
        raise ValueError(f"the cache was made by another model: {details}")


def continuation(gist_model: GistModel, cache: GistCache, inputs: Sequence[str], *, copies: int = 1) -> dict[str, Any]:
    """The arguments with which the model goes on from cached prompts: for a forward pass or for `generate`.

    copies: how often each cached row is needed (beams, samples); `generate` repeats its inputs by itself, but not a cache
        that is handed in.

    Returns: for a decoder input_ids, attention_mask, position_ids and the key-value cache; for an encoder-decoder
    encoder_outputs and attention_mask, the encoder having read the inputs.
    """
    if gist_model.is_encoder_decoder:
        return encoder_pass(gist_model, cache, inputs)()
    batch = gist_model.pad([gist_model.encode_input(text) for text in inputs], "left")
    # Positions go on where each row's own prompt ended, whatever its length and whatever was kept of it.
    offsets = cache.positions[:, -1:] + 1
    return {
        "input_ids": batch.input_ids,
        "attention_mask": torch.cat([cache.mask.long(), batch.attention_mask], dim=1),
        "position_ids": offsets + (batch.attention_mask.cumsum(dim=1) - 1).clamp(min=0),
        CACHE_NAME: cache.repeat(copies).as_dynamic_cache(),
    }


def encoder_pass(gist_model: GistModel, cache: GistCache, inputs: Sequence[str]) -> Callable[[], dict[str, Any]]:
    """The pass of an encoder over the inputs behind cached prompts: a function to call once, all that it needs prepared.

    It returns encoder_outputs and attention_mask.
    """
    # Padded on the right: the input's first token stands right after the gist tokens, as in the full prompt.
    batch = gist_model.pad([gist_model.encode_input(text) for text in inputs], "right")
    attention_mask = torch.cat([cache.mask.long(), batch.attention_mask], dim=1)
    keys_and_values, before = cache.as_dynamic_cache(), cache.encoder_states
    visible = Bounds(
        torch.zeros_like(cache.positions[:, :1])
    )  # here, so that `encode` does not keep the whole cache alive
    assert before is not None

    def encode() -> dict[str, Any]:
        states = encode_with_cache(gist_model.model, keys_and_values, batch.input_ids, attention_mask)
        encoder_outputs = BaseModelOutput(last_hidden_state=torch.cat([before, states], dim=1))
        encoder_outputs.gist_cross = visible
        return {"encoder_outputs": encoder_outputs, "attention_mask": attention_mask}

    return encode
