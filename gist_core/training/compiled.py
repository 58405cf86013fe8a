"""torch.compile, layer by layer, so that the code that finds the gist tokens and sets the mask is not compiled."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

# One graph serves rows of all lengths, but torch's limit of 8 is too low where layers differ and a training also evaluates.
RECOMPILE_LIMIT = 64
MORE_THAN_A_MASK = ("softcap", "s_aux", "position_bias")  # what transformers' FlexAttention takes beside one


def compile_layers(model: PreTrainedModel) -> None:
    """Sets each layer of a decoder to be compiled when it is first called. Names and weights stay as they are.

    Raises:
        ValueError: not a decoder. (A T5's attention is handed its cache from outside, which breaks the graphs.)
    """
    layers = decoder_layers(model)
    if not layers:
        raise ValueError(f"torch_compile is for the layers of decoders; {model.config.model_type} has none such")
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # else torch goes on uncompiled, with only a warning
    stock = ALL_ATTENTION_FUNCTIONS["flex_attention"]
    if not hasattr(stock, "__wrapped__"):
        AttentionInterface.register("flex_attention", _without_repeated_keys(stock))
    for layer in layers:
        layer.compile(dynamic=True)


def decoder_layers(model: PreTrainedModel) -> Sequence[nn.Module]:
    """The layers of a decoder from first to last; none for a T5, or if transformers keeps them under another name."""
    return [] if model.config.is_encoder_decoder else getattr(model.get_decoder(), "layers", [])


def _without_repeated_keys(stock: Callable) -> Callable:
    """transformers' FlexAttention, but in compiled layers keys and values are read by several heads where they lie. transformers
    (5.17, 5.24) copies them for each head, unless the number of heads is a power of two."""

    @wraps(stock)
    def attention(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        only_a_mask = isinstance(attention_mask, BlockMask) and all(
            kwargs.get(name) is None for name in MORE_THAN_A_MASK
        )
        if kwargs.get("dropout") or not (only_a_mask and torch.compiler.is_compiling()):
            return stock(module, query, key, value, attention_mask, **kwargs)
        scale, options = kwargs.get("scaling"), kwargs.get("kernel_options")
        output = flex_attention(
            query, key, value, block_mask=attention_mask, scale=scale, enable_gqa=True, kernel_options=options
        )
        assert isinstance(output, torch.Tensor)
        return output.transpose(1, 2).contiguous(), None

    return attention
