"""Answers from cached prompts, through the stock `generate`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from gist_core.cache.compress import origin_of
from gist_core.cache.encoder import encode_with_cache
from gist_core.cache.gist_cache import GistCache
from gist_core.masks import Bounds
from gist_core.models.answers import answer_in_batches, asked_of, without_unset
from gist_core.models.attention import CACHE_NAME
from gist_core.models.gist_model import GistModel
from gist_core.models.tokens import as_texts


@torch.inference_mode()
def generate(
    gist_model: GistModel, cache: GistCache, inputs: Iterable[str], *, batch_size: int = 32, **generate_kwargs: Any
) -> torch.Tensor:
    """Generates an answer to each input from its cached prompt.

    cache: one row for each input, or a single row that serves all of them.
    inputs: the text after "Input:"; "" where the prompt takes none.
    batch_size: inputs that are answered together; the others wait.
    generate_kwargs: passed on to transformers' `generate` (max_new_tokens, num_beams, do_sample, ...). Processors and criteria
        passed as objects see only the answer (in a decoder also the input), one batch at a time.

    Returns: token ids of the answers, shape (batch, new_tokens), padded on the right; `GistModel.decode` turns them into text.

    Raises:
        ValueError: several cached prompts, but not one for each input; a cache of another model, or of whole instructions
            for an encoder-decoder; an option that reads the prompt; for a decoder a `cache_implementation` other than
            "dynamic"; an input with the literal gist token; or what `answer_in_batches` refuses.
    """
    inputs = as_texts(inputs, "inputs")
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
    options = without_unset(generate_kwargs)
    asked = asked_of(gist_model, options)
    refuse_what_reads_the_prompt(asked, is_encoder_decoder=gist_model.is_encoder_decoder)
    if not gist_model.is_encoder_decoder and (kind := asked.get("cache_implementation")) is not None:
        if kind != "dynamic":
            raise ValueError(
                f"cache_implementation={kind!r} cannot be served from a cached prompt, which grows with the answer"
            )
        options["cache_implementation"] = None  # the cache that is handed in is dynamic already
    copies = max(asked[key] or 1 for key in ("num_beams", "num_return_sequences"))
    rows = gist_model.encode_inputs(inputs)
    prompt_of = [0] * len(rows) if len(cache) == 1 else [*range(len(rows))]
    cache = cache.to(gist_model.device, gist_model.model.dtype)

    def begin(batch: slice) -> dict[str, Any]:
        return continuation(gist_model, cache.select(prompt_of[batch]), rows[batch], copies=copies)

    before = (cache.positions[:, -1] + 1).tolist()
    lengths = [before[prompt] + len(row) for prompt, row in zip(prompt_of, rows, strict=True)]
    return answer_in_batches(gist_model, lengths, begin, options, batch_size=batch_size, what="input")


def refuse_what_reads_the_prompt(asked: dict[str, Any], *, is_encoder_decoder: bool) -> None:
    """Raises ValueError for options of `generate` that count or read the prompt's tokens, which a cache does not have."""
    neutral = {
        "encoder_no_repeat_ngram_size": 0,
        "encoder_repetition_penalty": 1.0,
        "prefill_chunk_size": None,
        "assistant_model": None,
    }
    if not is_encoder_decoder:
        neutral |= {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0}
    for name, value in neutral.items():
        if asked.get(name) not in (None, value):
            instead = "give min_new_tokens" if name == "min_length" else f"give {name}={value}"
            given = f"={asked[name]}" if isinstance(asked[name], (int, float)) else ""
            raise ValueError(
                f"{name}{given} reads the whole prompt, of which a cache has not the tokens: {instead}"
                ", or answer without a cache (GistModel.generate_masked)"
            )


def check_origin(gist_model: GistModel, cache: GistCache) -> None:
    """Raises ValueError if the cache was made by another model (naming what differs) or is not a GistCache."""
    if not isinstance(cache, GistCache):
        raise ValueError(f"the cache is a {type(cache).__name__} and no GistCache; load_cache(path) reads one")
    expected, found = origin_of(gist_model), cache.origin
    differing = [name for name in vars(expected) if getattr(expected, name) != getattr(found, name)]
    if differing:
        details = "; ".join(
            f"{name} is {getattr(found, name)}, the model's {getattr(expected, name)}" for name in differing
        )
        raise ValueError(f"the cache was made by another model: {details}")


def continuation(
    gist_model: GistModel, cache: GistCache, rows: Sequence[Sequence[int]], *, copies: int = 1
) -> dict[str, Any]:
    """The arguments with which a forward pass, or `generate`, continues from cached prompts.

    rows: for each prompt the token ids of its input, as from `encode_inputs`.
    copies: how often each cached row is needed (beams, samples); `generate` repeats its inputs by itself, but not a cache
        that is handed in.

    Returns: for a decoder input_ids, attention_mask, position_ids and the key-value cache; for an encoder-decoder
    encoder_outputs and attention_mask, after running the encoder over the inputs.
    """
    if gist_model.is_encoder_decoder:
        return encoder_pass(gist_model, cache, rows)()
    batch = gist_model.pad(rows, "left")
    # Positions continue where each row's own prompt ended, whatever its length and whatever was kept of it.
    offsets = cache.positions[:, -1:] + 1
    return {
        "input_ids": batch.input_ids,
        "attention_mask": torch.cat([cache.mask.long(), batch.attention_mask], dim=1),
        "position_ids": offsets + (batch.attention_mask.cumsum(dim=1) - 1).clamp(min=0),
        CACHE_NAME: cache.repeat(copies).as_dynamic_cache(),
    }


def encoder_pass(
    gist_model: GistModel, cache: GistCache, rows: Sequence[Sequence[int]]
) -> Callable[[], dict[str, Any]]:
    """Prepares an encoder's pass over the inputs that follow cached prompts. Returns the function that runs it, once.

    That function returns encoder_outputs and attention_mask.
    """
    # Padded on the right: the input's first token stands right after the gist tokens, as in the full prompt.
    batch = gist_model.pad(rows, "right")
    attention_mask = torch.cat([cache.mask.long(), batch.attention_mask], dim=1)
    keys_and_values, before = cache.as_dynamic_cache(), cache.encoder_states
    visible = Bounds(
        torch.zeros_like(cache.positions[:, :1])
    )  # made here, so that `encode` does not keep the whole cache alive
    assert before is not None

    def encode() -> dict[str, Any]:
        states = encode_with_cache(gist_model.model, keys_and_values, batch.input_ids, attention_mask)
        encoder_outputs = BaseModelOutput(last_hidden_state=torch.cat([before, states], dim=1))
        encoder_outputs.gist_cross = visible
        return {"encoder_outputs": encoder_outputs, "attention_mask": attention_mask}

    return encode
