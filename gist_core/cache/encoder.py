"""A T5 encoder that reads from and writes to a KV cache, which the stock one does not.

`T5Stack` drops `past_key_values` for encoders, but its attention layers still take them, with the right offset of the
relative position bias. So a forward pre-hook on each self-attention hands the cache in.
"""

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from gist_core.models.attention import nothing_hidden


def encode_with_cache(
    model: PreTrainedModel, cache: DynamicCache, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Runs the encoder on tokens that follow those in `cache`, and appends theirs to it.

    input_ids: shape (batch, seq_len). attention_mask: shape (batch, cached slots + seq_len), 1 = a real token. All
    tokens see each other and the cached ones. Positions are relative, so slots must be as far apart as in the prompt.

    Returns: hidden states of `input_ids`, shape (batch, seq_len, hidden).
    """

    def hand_in(module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return args, kwargs | {"past_key_values": cache}

    encoder = model.get_encoder()
    handles = [
        block.layer[0].SelfAttention.register_forward_pre_hook(hand_in, with_kwargs=True) for block in encoder.block
    ]
    try:
        with nothing_hidden():
            return encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    finally:
        for handle in handles:
            handle.remove()
