"""Compresses prompts into a GistCache, many at a time (the paper, section 3: "gist caching")."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

import torch
from tqdm import tqdm
from transformers import DynamicCache

from gist_core.cache.encoder import encode_with_cache
from gist_core.cache.gist_cache import CacheOrigin, GistCache, Keeps
from gist_core.models.answers import whole_number
from gist_core.models.attention import CACHE_NAME, nothing_left_behind
from gist_core.models.gist_model import GistModel
from gist_core.models.tokens import as_texts


@torch.inference_mode()
def compress(
    gist_model: GistModel,
    instructions: Iterable[str],
    *,
    keep: Keeps = "gist",
    batch_size: int = 32,
    progress: bool = False,
) -> GistCache:
    """Runs instructions of any lengths through the model and keeps what later generation needs.

    keep: "gist" keeps the gist tokens' keys and values; "instruction" keeps those of every token (the baseline that
        saves time but no memory).
    batch_size: prompts per forward pass; prompts of similar length share one. With "instruction" all prompts go in one pass,
        since that cache is as wide as the longest of them.

    Raises:
        ValueError: no instructions, or not a list of texts; one that is empty, contains the literal gist token, or is longer
            than the model's context; another `keep`; a batch size below 1; a model in training mode; or, to keep gists, a
            model whose gist tokens were never trained to stand for the prompt.
    """
    instructions = as_texts(instructions, "instructions")
    if keep not in get_args(Keeps):
        raise ValueError(f"keep is {keep!r}; it must be one of {', '.join(map(repr, get_args(Keeps)))}")
    batch_size = whole_number(batch_size, "batch_size")
    if not instructions:
        raise ValueError("no prompts to compress")
    if keep == "gist" and gist_model.settings.condition != "gist":
        raise ValueError(
            f"this model was trained under {gist_model.settings.condition!r}: its gist tokens do not hold the prompt. "
            "Use a model of a gist run"
        )
    gist_model.require_eval()
    rows = gist_model.encode_instructions(instructions)
    gist_model.refuse_longer([*map(len, rows)], [f"prompt {number}" for number in range(1, len(rows) + 1)])
    if keep == "instruction":
        return _compress_batch(gist_model, instructions, rows, keep)
    by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    batches = [by_length[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    caches = [
        _compress_batch(gist_model, [instructions[i] for i in batch], [rows[i] for i in batch], keep)
        for batch in tqdm(batches, desc="compress", unit="batch", disable=None if progress else True)
    ]
    back = torch.empty(len(rows), dtype=torch.long)
    back[torch.tensor(by_length)] = torch.arange(len(rows))
    return GistCache.concatenate(caches).select(back)


def _compress_batch(
    gist_model: GistModel, texts: Sequence[str], rows: Sequence[Sequence[int]], keep: Keeps
) -> GistCache:
    # Padded on the left, so that the gist tokens are the last k slots of every row.
    batch = gist_model.pad(rows, "left")
    positions = (batch.attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    k = gist_model.settings.num_gist_tokens
    slots = slice(-k, None) if keep == "gist" else slice(None)
    with nothing_left_behind():
        cache, states = (_encode if gist_model.is_encoder_decoder else _decode)(gist_model, batch, positions)
    layers: list[Any] = cache.layers
    return GistCache(
        keys=tuple(layer.keys[:, :, slots].clone() for layer in layers),
        values=tuple(layer.values[:, :, slots].clone() for layer in layers),
        mask=batch.attention_mask[:, slots].bool(),
        positions=positions[:, slots].clone(),
        prompt_tokens=batch.attention_mask.sum(dim=1) - k - gist_model.num_prefix_tokens,
        prompt_hashes=tuple(hashlib.sha256(text.encode()).hexdigest() for text in texts),
        origin=origin_of(gist_model),
        encoder_states=None if states is None else states[:, slots].clone(),
        keeps=keep,
    )


def origin_of(gist_model: GistModel) -> CacheOrigin:
    """The origin that every cache made by this model carries."""
    return CacheOrigin(
        model_fingerprint=gist_model.fingerprint,
        tokenizer=type(gist_model.tokenizer).__name__,
        condition=gist_model.settings.condition,
        num_gist_tokens=gist_model.settings.num_gist_tokens,
    )


def _decode(gist_model: GistModel, batch: Any, positions: torch.Tensor) -> tuple[DynamicCache, None]:
    cache = DynamicCache()
    gist_model.model.get_decoder()(  # without the head: nothing is predicted here
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=positions,
        use_cache=True,
        **{CACHE_NAME: cache},
    )
    return cache, None


def _encode(gist_model: GistModel, batch: Any, positions: torch.Tensor) -> tuple[DynamicCache, torch.Tensor]:
    cache = DynamicCache()
    states = encode_with_cache(gist_model.model, cache, batch.input_ids, batch.attention_mask)
    return cache, states
