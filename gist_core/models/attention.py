"""Gist attention on stock transformers models, decoders and T5, without a changed model file.

`attach_gist_attention(model, ...)` adds forward hooks that find the gist tokens in `input_ids` and set, for the duration
of that forward pass, which keys each query may attend to (gist_core/masks.py): the active layout. The mask functions that
transformers calls for sdpa, eager and FlexAttention are wrapped once per process. While no layout is active they do
exactly what they did before; while one is, they narrow the mask to its bounds. Model code, attention kernels and
`config.json` stay stock, so `generate`, `Trainer`, gradient checkpointing, PEFT and DeepSpeed need not know about it.

What later steps need is stored on what they continue from: a decoder's KV cache, or a T5's encoder output.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import Cache, PreTrainedModel
from transformers.masking_utils import (
    ALL_MASK_ATTENTION_FUNCTIONS,
    AttentionMaskInterface,
    and_masks,
    bidirectional_mask_function,
    causal_mask_function,
)
from transformers.modeling_outputs import BaseModelOutputWithPast

from gist_core.masks import (
    Bounds,
    Condition,
    GistSpan,
    cross_bounds,
    decoder_bounds,
    encoder_bounds,
    find_gist_span,
)

SUPPORTED_IMPLEMENTATIONS = ("sdpa", "eager", "flex_attention")
FLEX_BLOCK = 128  # slots: FlexAttention computes in blocks of this many queries and keys
SUPPORTED_ENCODER_DECODERS = ("t5", "mt5", "umt5")
# What models call their key-value cache, as an argument and in their output: `cache` since transformers 5.24.
CACHE_NAME = "cache" if "cache" in BaseModelOutputWithPast.__dataclass_fields__ else "past_key_values"
PACKED_KEYS = ("first_visible", "encoder_first", "encoder_end", "decoder_first", "cross_first", "cross_end")


@dataclass(frozen=True)
class GistState:
    """What is needed to continue from a decoder's cache, about the slots that are already in it.

    first_visible: torch.LongTensor, shape (batch,). First slot that every later query may attend to.
    positions: torch.LongTensor, shape (batch, slots). Position of each cached key; sliding windows count these.
    """

    first_visible: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True)
class _Layout:
    """Bounds of one forward pass.

    self_: self-attention of a decoder-only model or an encoder. decoder_self, cross: of a T5's decoder.
    All others are for decoder-only models. bounds_alone: there is no padding mask to combine the bounds with. afterwards:
    first slot that the next token may see (GistState.first_visible). query_positions, key_positions: for sliding windows.
    """

    self_: Bounds | None = None
    decoder_self: Bounds | None = None
    cross: Bounds | None = None
    bounds_alone: bool = False
    afterwards: torch.Tensor | None = None
    query_positions: torch.Tensor | None = None
    key_positions: torch.Tensor | None = None


_active: ContextVar[_Layout | None] = ContextVar("gist_attention_layout", default=None)
_packed_first: ContextVar[torch.Tensor | None] = ContextVar("gist_attention_packed_first", default=None)
_decoder_ran: ContextVar[bool] = ContextVar("gist_attention_decoder_ran", default=False)
_mask_made: ContextVar[bool] = ContextVar("gist_attention_mask_made", default=False)
_encoder_alone: ContextVar[bool] = ContextVar("gist_attention_encoder_alone", default=False)
_encoder_cache: ContextVar[Cache | None] = ContextVar("gist_attention_encoder_cache", default=None)
_wrapped_here = False


def attach_gist_attention(
    model: PreTrainedModel, *, condition: Condition, gist_token_id: int, num_gist_tokens: int
) -> list[RemovableHandle]:
    """Makes every forward pass of `model` attend as `condition` says. Returns handles to remove the hooks again, or an empty
    list if the model attends so already.

    Raises:
        ValueError: the model's attention implementation or layer types cannot carry the mask, or the model attends under
            another condition or number of gist tokens.
    """
    implementation = model.config._attn_implementation
    # Under FlexAttention transformers (5.23) looks up a T5's position bias by batch row, but the bias has only one.
    supported = ("sdpa", "eager") if model.config.is_encoder_decoder else SUPPORTED_IMPLEMENTATIONS
    if implementation not in supported:
        raise ValueError(
            f"attention implementation {implementation!r} cannot carry a gist mask in {model.config.model_type}; "
            f"load the model with attn_implementation set to one of {', '.join(supported)}"
        )
    if not model.config.is_encoder_decoder and model.config.get_text_config() is not model.config:
        raise ValueError(
            f"{model.config.model_type} is more than a language model (images, sound), and hands its decoder no token ids; "
            "save its language model by itself, and take that"
        )
    layer_types = set(getattr(model.config, "layer_types", None) or getattr(model.config, "attention_layers", []))
    # GPT-Neo's "local" layers have a window of their own, over slots.
    if unknown := layer_types - {"full_attention", "sliding_attention", "global"}:
        raise ValueError(
            f"{model.config.model_type} has layers of type {sorted(unknown)}, for which no gist mask is defined"
        )
    if model.config.is_encoder_decoder:
        if model.config.model_type not in SUPPORTED_ENCODER_DECODERS:
            raise ValueError(
                f"no gist attention is known for the encoder of {model.config.model_type}; "
                f"encoder-decoders that have it are {', '.join(SUPPORTED_ENCODER_DECODERS)}"
            )
    elif "position_ids" not in inspect.signature(model.get_decoder().forward).parameters or getattr(
        model.config, "alibi", False
    ):
        raise ValueError(
            f"{model.config.model_type} takes no position_ids (it counts cache slots), so nothing can follow a compressed "
            "prompt at its own position; take a decoder with rotary or learned positions"
        )
    elif _sees_what_follows(model):
        raise ValueError(
            f"{model.config.model_type} is an encoder, whose tokens see those after them, unless its config.json has "
            '"is_decoder": true'
        )
    _wrap_mask_functions()
    hooks = (_EncoderDecoderHooks if model.config.is_encoder_decoder else _DecoderHooks)(
        condition, gist_token_id, num_gist_tokens
    )
    for hook in model._forward_pre_hooks.values():
        attached = getattr(hook, "__self__", None)
        if attached == hooks:
            return []
        if isinstance(attached, _Hooks):
            raise ValueError(
                f"this {model.config.model_type} attends as {attached.condition} with {attached.num_gist_tokens} gist token(s) "
                f"already, and cannot as {condition} with {num_gist_tokens} too; load its weights once more"
            )
    return hooks.register(model)


def _sees_what_follows(model: PreTrainedModel) -> bool:
    """Whether it is one of the BERTs, which are decoders only if told so. GPT-NeoX has the setting too, and is always one."""
    takes = inspect.signature(model.get_decoder().forward).parameters
    return getattr(model.config, "is_decoder", None) is False and "encoder_hidden_states" in takes


@dataclass(frozen=True)
class _Hooks:
    condition: Condition
    gist_token_id: int
    num_gist_tokens: int

    def span(self, input_ids: torch.Tensor) -> GistSpan:
        """The gist tokens of a batch. Raises ValueError if their number is not the one that the model was trained for."""
        span = find_gist_span(input_ids, self.gist_token_id)
        found = int(span.end[0] - span.start[0])
        if found != self.num_gist_tokens:
            raise ValueError(
                f"the prompts hold {found} gist token(s); this model was trained for {self.num_gist_tokens}"
            )
        return span


class _DecoderHooks(_Hooks):
    """Hooks on the decoder itself (e.g. LlamaModel), so that a call that bypasses the language-model head is masked too,
    and on the whole model, to take the bounds of packed rows and to check that its forward pass called the decoder."""

    def register(self, model: PreTrainedModel) -> list[RemovableHandle]:
        decoder = model.get_decoder()
        return [
            decoder.register_forward_pre_hook(self.before, with_kwargs=True),
            decoder.register_forward_hook(self.after, with_kwargs=True, always_call=True),
            model.register_forward_pre_hook(self.before_model, with_kwargs=True),
            model.register_forward_hook(self.after_model),
        ]

    def before_model(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        _decoder_ran.set(False)
        _active.set(None)
        _packed_first.set(kwargs.pop("first_visible", None))  # not every model would pass it on to its decoder
        return args, kwargs

    def after_model(self, module: nn.Module, args: tuple, output: Any) -> None:
        if not _decoder_ran.get():
            raise RuntimeError(f"{type(module).__name__} does not call its decoder's forward, so nothing was masked")

    def before(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        _require_wrapped(module)
        _active.set(None)
        _decoder_ran.set(True)
        first_visible = kwargs.pop("first_visible", _packed_first.get())
        _packed_first.set(None)
        input_ids = _input_ids(args, kwargs)
        cache = kwargs.get(CACHE_NAME, kwargs.get("past_key_values"))
        _refuse_prepared_mask(kwargs.get("attention_mask"))
        batch, length = input_ids.shape
        past = 0 if cache is None else int(cache.get_seq_length())
        if module.config._attn_implementation == "flex_attention" and input_ids.is_cuda and length > 1:  # type: ignore[union-attr]
            # For fewer than 128 queries torch (2.11, 2.13) takes its decoding kernel, which has no blocks for grouped heads. And
            # where lengths vary, it cannot tell whether one is a multiple of its block.
            whole = {"IS_DIVISIBLE": True} if cache is None and length % FLEX_BLOCK == 0 else {}
            kwargs.setdefault("kernel_options", {"BACKEND": "TRITON"} | whole)
        state: GistState | None = getattr(cache, "gist_state", None) if past else None
        mask = kwargs.get("attention_mask")
        if state is not None and mask is not None and batch == 1 and mask.shape[1] < past + length:
            # Assisted decoding (always one row) cuts the mask to the tokens that it knows, so those of a cached prompt are lost.
            kwargs["attention_mask"] = mask.new_ones(1, past + length)
        afterwards = None
        bounds_alone = first_visible is not None and kwargs.get("attention_mask") is None
        if bounds_alone:
            # Without a mask transformers would look for packed rows in the positions, and the host would wait for the GPU.
            kwargs["attention_mask"] = torch.ones_like(input_ids)
        if first_visible is None:
            if state is not None:
                afterwards = state.first_visible
                first_visible = afterwards[:, None].expand(batch, length)
            elif self.condition == "pos_control":
                return args, kwargs  # the stock model
            elif past:
                raise ValueError(
                    "this cache was filled outside gist attention, so what its slots may show is not known"
                )
            else:
                queries = torch.arange(length + 1, device=input_ids.device)[None]
                bounds = decoder_bounds(self.condition, self.span(input_ids), queries).first
                first_visible, afterwards = bounds[:, :-1], bounds[:, -1]
        positions = kwargs.get("position_ids")
        if positions is None:
            positions = torch.arange(past, past + length, device=input_ids.device)[None]
        positions = positions.expand(batch, length)
        # Only `past` of them: assisted decoding removes rejected tokens from the cache, but not from its GistState.
        key_positions = positions if state is None else torch.cat([state.positions[:, :past], positions], dim=1)
        _mask_made.set(False)
        _active.set(
            _Layout(
                Bounds(first_visible),
                bounds_alone=bounds_alone,
                afterwards=afterwards,
                query_positions=positions,
                key_positions=key_positions,
            )
        )
        return args, kwargs

    def after(self, module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        layout = _active.get()
        _active.set(None)
        if layout is None or output is None:  # the stock model, or an error is being raised
            return
        if not _mask_made.get():
            raise RuntimeError(f"{type(module).__name__} makes its attention mask by itself, so nothing was masked")
        cache = getattr(output, CACHE_NAME, None)
        if cache is not None and layout.afterwards is not None:
            assert layout.key_positions is not None
            cache.gist_state = GistState(layout.afterwards, layout.key_positions)


class _EncoderDecoderHooks(_Hooks):
    """Hooks on the whole model (training, decoding steps), on its encoder (which `generate` calls separately), and on the
    encoder's attention, to hand it a cache (`encoder_continues_from`)."""

    def register(self, model: PreTrainedModel) -> list[RemovableHandle]:
        encoder = model.get_encoder()
        attentions = [block.layer[0].SelfAttention for block in encoder.block]
        return [
            *(attention.register_forward_pre_hook(_hand_in_cache, with_kwargs=True) for attention in attentions),
            model.register_forward_pre_hook(self.before_model, with_kwargs=True),
            model.register_forward_hook(self.after_model, with_kwargs=True, always_call=True),
            encoder.register_forward_pre_hook(self.before_encoder, with_kwargs=True),
            encoder.register_forward_hook(self.after_encoder, with_kwargs=True, always_call=True),
        ]

    def before_model(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        _require_wrapped(module)
        packed = {key: kwargs.pop(key) for key in PACKED_KEYS if key in kwargs}
        if packed:
            _active.set(
                _Layout(
                    self_=Bounds(packed["encoder_first"], packed["encoder_end"]),
                    decoder_self=Bounds(packed["decoder_first"]) if "decoder_first" in packed else None,
                    cross=Bounds(packed["cross_first"], packed.get("cross_end")),
                )
            )
            return args, kwargs
        encoder_outputs = kwargs.get("encoder_outputs")
        if encoder_outputs is None:
            _active.set(self._layout(args, kwargs))
        else:
            cross: Bounds | None = getattr(encoder_outputs, "gist_cross", None)
            if cross is None:
                raise ValueError(
                    "these encoder outputs were made outside gist attention, so what they may show is not known"
                )
            repeats = encoder_outputs[0].shape[0] // cross.first.shape[0]  # beams or samples
            _active.set(_Layout(cross=Bounds(cross.first.repeat_interleave(repeats, dim=0))))
        return args, kwargs

    def after_model(self, module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        _active.set(None)

    def before_encoder(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if _active.get() is None:
            _active.set(self._layout(args, kwargs))
            _encoder_alone.set(True)

    def _layout(self, args: tuple, kwargs: dict[str, Any]) -> _Layout:
        """Bounds of a forward pass that starts from tokens."""
        input_ids = _input_ids(args, kwargs)
        span = self.span(input_ids)
        encoder = encoder_bounds(self.condition, span, input_ids.shape[1])
        return _Layout(self_=encoder, cross=cross_bounds(self.condition, span))

    def after_encoder(self, module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        layout = _active.get()
        if layout is not None and output is not None:
            output.gist_cross = layout.cross
        if _encoder_alone.get():
            _encoder_alone.set(False)
            _active.set(None)


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """To be put around calls of a model. When KeyboardInterrupt or SystemExit ends a forward pass, torch does not run the
    hooks that come after it, and the bounds already set would mask the next model in this thread."""
    try:
        yield
    finally:
        _active.set(None)
        _encoder_alone.set(False)
        _packed_first.set(None)


@contextmanager
def encoder_continues_from(cache: Cache) -> Iterator[None]:
    """Inside this context a T5 encoder reads from `cache` and appends to it. Its tokens see all of the cache, which no longer
    holds anything that they must not see.

    `T5Stack` drops an encoder's cache, but its attention layers still take one, with the right offset of the relative
    position bias.
    """
    layout, handed_in = _active.set(_Layout()), _encoder_cache.set(cache)
    try:
        yield
    finally:
        _active.reset(layout)
        _encoder_cache.reset(handed_in)


def _hand_in_cache(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
    cache = _encoder_cache.get()
    return None if cache is None else (args, kwargs | {CACHE_NAME: cache})


def _input_ids(args: tuple, kwargs: dict[str, Any]) -> torch.Tensor:
    input_ids = args[0] if args else kwargs.get("input_ids")
    if input_ids is None:
        raise ValueError("gist attention finds the gist tokens in input_ids; inputs_embeds alone cannot be masked")
    return input_ids


def _wrap_mask_functions() -> None:
    global _wrapped_here
    _wrapped_here = True
    # cuDNN's attention, which torch may prefer in half precision, builds a plan for each new shape, and neither packed
    # batches nor a growing cache repeat a shape.
    torch.backends.cuda.enable_cudnn_sdp(False)
    for name in SUPPORTED_IMPLEMENTATIONS:
        original = ALL_MASK_ATTENTION_FUNCTIONS[name]
        if not getattr(original, "knows_gist_layout", False):
            AttentionMaskInterface.register(name, _with_layout(original))


def _require_wrapped(module: nn.Module) -> None:
    if not _wrapped_here:  # a model that was pickled in another process
        _wrap_mask_functions()
    name = str(module.config._attn_implementation)  # type: ignore[union-attr]
    if not getattr(ALL_MASK_ATTENTION_FUNCTIONS[name], "knows_gist_layout", False):
        raise RuntimeError(f"another library replaced the {name!r} mask function; gist attention would be silently off")


def _refuse_prepared_mask(attention_mask: Any) -> None:
    if isinstance(attention_mask, dict) or (attention_mask is not None and attention_mask.ndim != 2):
        raise ValueError(
            "gist attention needs the two-dimensional attention mask of the batch, not one that is already expanded "
            "(static caches expand it; use the dynamic cache)"
        )


def _with_layout(original: Callable) -> Callable:
    """Wraps one of transformers' mask functions so that it narrows the mask by the active layout, if there is one."""

    @wraps(original)
    def mask(**kwargs: Any) -> Any:
        layout = _active.get()
        if layout is None:
            return original(**kwargs)
        _mask_made.set(True)
        mask_function, config = kwargs["mask_function"], kwargs["config"]
        bounds = layout.self_
        if config.is_encoder_decoder and config.is_decoder:
            bounds = layout.cross if mask_function is bidirectional_mask_function else layout.decoder_self
        if bounds is None:
            return original(**kwargs)
        if layout.bounds_alone:
            kwargs["attention_mask"] = None  # with one, FlexAttention makes the host wait to learn if it is all ones
        q_offset, window = kwargs.get("q_offset", 0), kwargs.get("local_size")
        if window is not None:
            mask_function = and_masks(causal_mask_function, _window(layout, window, q_offset))
        kwargs["mask_function"] = and_masks(mask_function, _within(bounds, kwargs["q_length"], q_offset))
        return original(**kwargs | {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})

    mask.knows_gist_layout = True  # type: ignore[attr-defined]
    return mask


def _within(bounds: Bounds, q_length: int, q_offset: int) -> Callable:
    first = bounds.first.expand(-1, q_length)
    end = None if bounds.end is None else bounds.end.expand(-1, q_length)
    expanded = Bounds(first, end)

    def predicate(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return expanded.allows(batch, query - q_offset, key)

    return predicate


def _window(layout: _Layout, window: int, q_offset: int) -> Callable:
    """A sliding window over positions, not over slots: padding and compressed prompts leave gaps between the two."""
    query_positions, key_positions = layout.query_positions, layout.key_positions
    assert query_positions is not None
    assert key_positions is not None

    def predicate(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return query_positions[batch, query - q_offset] - key_positions[batch, key] < window

    return predicate
