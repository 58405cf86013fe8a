"""A T5 encoder that reads from and writes to a KV cache, which the stock one does not."""

import torch
from transformers import DynamicCache, PreTrainedModel

from gist_core.models.attention import encoder_continues_from


def encode_with_cache(
    model: PreTrainedModel, cache: DynamicCache, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Runs the encoder of a model with gist attention on tokens that follow those in `cache`, and appends them to it.

    input_ids: shape (batch, seq_len). attention_mask: shape (batch, cached slots + seq_len), 1 = a real token. All
    tokens see each other and the cached ones. Positions are relative, so slots must be as far apart as in the prompt.

    Returns: hidden states of `input_ids`, shape (batch, seq_len, hidden).
    """
    with encoder_continues_from(cache):
        return model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
