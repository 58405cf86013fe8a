"""Compressed prompts: the keys and values of the gist tokens, kept and reused in place of the instruction."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

import torch
from transformers import DynamicCache

from gist_core.masks import Condition, GistSpan, decoder_bounds
from gist_core.models.answers import whole_number
from gist_core.models.attention import GistState
from gist_core.models.base import usable_device

Keeps = Literal["gist", "instruction"]


@dataclass(frozen=True)
class CacheOrigin:
    """Which model a cache belongs to; it can be used with that model only.

    model_fingerprint: SHA-256 of the model. tokenizer: class of the tokenizer.
    condition, num_gist_tokens: as the model was trained.
    """

    model_fingerprint: str
    tokenizer: str
    condition: Condition
    num_gist_tokens: int


@dataclass(frozen=True, eq=False, repr=False)
class GistCache:
    """A batch of cached prompts. Rows are independent: select, concatenate and repeat them as you like.

    keys, values: per layer, torch.Tensor, shape (batch, kv_heads, slots, head_dim). For gists `slots` is k.
    mask: torch.BoolTensor, shape (batch, slots). 1 = a real token, 0 = padding (only in instruction caches).
    positions: torch.LongTensor, shape (batch, slots). Position of each slot's token in its prompt.
    prompt_tokens: torch.LongTensor, shape (batch,). Tokens of each instruction, without BOS and gist tokens.
    prompt_hashes: SHA-256 of each instruction's text.
    encoder_states: torch.Tensor, shape (batch, slots, hidden), for encoder-decoders; what the decoder attends to.
    keeps: "gist", or "instruction" where the whole instruction was kept (the benchmark's baseline).
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    mask: torch.Tensor
    positions: torch.Tensor
    prompt_tokens: torch.Tensor
    prompt_hashes: tuple[str, ...]
    origin: CacheOrigin
    encoder_states: torch.Tensor | None = None
    keeps: Keeps = "gist"

    def __len__(self) -> int:
        return len(self.prompt_hashes)

    def __repr__(self) -> str:
        what = "instructions" if self.keeps == "instruction" else f"prompts of k={self.origin.num_gist_tokens}"
        model = self.origin.model_fingerprint[:12]
        return f"GistCache({len(self)} {what}, {self.nbytes:,} bytes, {self.keys[0].dtype}, of model {model})"

    @property
    def nbytes(self) -> int:
        """Bytes of keys, values and encoder states."""
        tensors = [*self.keys, *self.values, *([] if self.encoder_states is None else [self.encoder_states])]
        return sum(tensor.nbytes for tensor in tensors)

    @property
    def nbytes_uncompressed(self) -> int:
        """Bytes that the same prompts would take with every instruction token kept."""
        kept = int(self.mask.sum())
        original = int(self.prompt_tokens.sum())
        return self.nbytes if self.keeps == "instruction" else self.nbytes * original // max(kept, 1)

    @property
    def compression_factors(self) -> list[float]:
        """Instruction tokens per kept token, for each prompt; BOS and gist tokens are not counted as instruction."""
        kept = self.prompt_tokens if self.keeps == "instruction" else self.origin.num_gist_tokens
        return (self.prompt_tokens / kept).tolist()

    def select(self, rows: Sequence[int] | torch.Tensor) -> "GistCache":
        """The given rows, in the given order; a row may come more than once (one prompt for many inputs).

        Raises:
            ValueError: a row is out of range, or `rows` is a mask or not a list of whole numbers.
        """
        try:
            if isinstance(rows, (Mapping, Set, bytes)):
                raise TypeError("no rows in an order")
            index = (
                rows
                if isinstance(rows, torch.Tensor)
                else torch.as_tensor([*rows] if isinstance(rows, Iterable) else rows)
            )
        except (TypeError, ValueError, RuntimeError):
            index = torch.empty(0, 0)
        if index.dtype == torch.bool:
            raise ValueError("rows must be row numbers, not a mask of true and false")
        if index.ndim != 1 or (len(index) and (index.is_floating_point() or index.is_complex())):
            raise ValueError(f"rows must be a list of row numbers, such as [1], not {rows!r:.60}")
        index = index.long()
        if outside := [row for row in index.tolist() if not 0 <= row < len(self)]:
            raise ValueError(f"row {outside[0]} is out of range for a cache of {len(self)} prompts")
        return self._map(
            lambda tensor: tensor.index_select(0, index.to(tensor.device)), [self.prompt_hashes[i] for i in index]
        )

    def repeat(self, times: int) -> "GistCache":
        """Each row `times` times, next to each other (as beam search wants them).

        Raises:
            ValueError: `times` is not a whole number of at least 1.
        """
        times = whole_number(times, "times")
        return self.select([row for row in range(len(self)) for _ in range(times)])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "GistCache":
        """A copy on another device, or with keys, values and encoder states of another floating-point type.

        Raises:
            ValueError: `dtype` is not a floating-point type, or the device cannot be used.
        """
        device = None if device is None else usable_device(device)
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(f"dtype is {dtype!r}; keys and values need a floating-point type, such as torch.bfloat16")
        return self._map(
            lambda tensor: tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None),
            self.prompt_hashes,
        )

    @staticmethod
    def concatenate(caches: Iterable["GistCache"]) -> "GistCache":
        """Many caches as one batch, rows in order.

        Raises:
            ValueError: not a list of caches, an empty one, or caches that differ in model, number of gist tokens, what they
                keep, number of slots, device, or floating-point type.
        """
        if isinstance(caches, GistCache):
            raise ValueError("caches must be a list of caches; write [cache] for a single one")
        caches = list(caches)
        if not caches:
            raise ValueError("no caches to concatenate")
        if others := [cache for cache in caches if not isinstance(cache, GistCache)]:
            raise ValueError(f"caches must be a list of caches, and has a {type(others[0]).__name__}")
        first = caches[0]
        for other in caches[1:]:
            if other.keeps != first.keeps:
                raise ValueError(f"caches that keep {first.keeps!r} and {other.keeps!r} cannot be one batch")
            if other.origin != first.origin:
                raise ValueError(f"caches of different origin cannot be one batch: {first.origin} and {other.origin}")
            if other.keys[0].shape[1:] != first.keys[0].shape[1:]:
                raise ValueError(
                    f"caches of {first.mask.shape[1]} and {other.mask.shape[1]} slots cannot be one batch; compress these "
                    "instructions together"
                )
            if other.keys[0].device != first.keys[0].device:
                raise ValueError(
                    f"caches on {first.keys[0].device} and {other.keys[0].device} cannot be one batch; bring them to one "
                    "`device` first"
                )
            if other.keys[0].dtype != first.keys[0].dtype:
                raise ValueError(
                    f"caches of {first.keys[0].dtype} and {other.keys[0].dtype} cannot be one batch; bring them to one `dtype` "
                    "first"
                )

        def joined(name: str) -> torch.Tensor:
            return torch.cat([getattr(cache, name) for cache in caches])

        layers = range(len(first.keys))
        return replace(
            first,
            keys=tuple(torch.cat([cache.keys[i] for cache in caches]) for i in layers),
            values=tuple(torch.cat([cache.values[i] for cache in caches]) for i in layers),
            mask=joined("mask"),
            positions=joined("positions"),
            prompt_tokens=joined("prompt_tokens"),
            prompt_hashes=tuple(h for cache in caches for h in cache.prompt_hashes),
            encoder_states=None if first.encoder_states is None else joined("encoder_states"),
        )

    def as_dynamic_cache(self) -> DynamicCache:
        """A fresh cache for `generate`, filled with copies: generation appends to it and leaves this object as it is.

        It is made without a config: with one, transformers would cut the layers with sliding windows by slots, while gist
        attention applies their windows over positions.
        """
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            cache.update(keys.clone(), values.clone(), layer)
        slots = self.positions.shape[1]
        k = torch.full_like(self.prompt_tokens, self.origin.num_gist_tokens)
        span = GistSpan(slots - k, torch.full_like(k, slots))
        first = decoder_bounds(self.origin.condition, span, torch.tensor([[slots]], device=k.device)).first[:, 0]
        first = torch.maximum(first, (~self.mask).sum(dim=1))  # padding is on the left
        cache.gist_state = GistState(first, self.positions)  # type: ignore[attr-defined]
        return cache

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor], hashes: Sequence[str]) -> "GistCache":
        return replace(
            self,
            keys=tuple(map(function, self.keys)),
            values=tuple(map(function, self.values)),
            mask=function(self.mask),
            positions=function(self.positions),
            prompt_tokens=function(self.prompt_tokens),
            prompt_hashes=tuple(hashes),
            encoder_states=None if self.encoder_states is None else function(self.encoder_states),
        )
