"""torch.compile, layer by layer, so that the code that finds the gist tokens and sets the mask is not compiled."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

# One graph serves rows of all lengths, but torch's limit of 8 is too low where layers differ and a training also evaluates.
RECOMPILE_LIMIT = 64


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
    for layer in layers:
        layer.compile(dynamic=True)


def decoder_layers(model: PreTrainedModel) -> Sequence[nn.Module]:
    """The layers of a decoder from first to last; none for a T5, or if transformers keeps them under another name."""
    return [] if model.config.is_encoder_decoder else getattr(model.get_decoder(), "layers", [])
