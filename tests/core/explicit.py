"""The conditions a second time, independently: a table of who may see whom, and a stock model under that mask.

Roles of a slot: P padding, I instruction (and what comes before it), G gist tokens, R the rest.
"""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from gist_core.models.gist_model import GistModel
from tests.tiny import WINDOW

# query role -> key roles that it may see
DECODER = {
    "gist": {"I": "IG", "G": "IG", "R": "GR"},
    "neg_control": {"I": "IG", "G": "IG", "R": "R"},
    "pos_control": {"I": "IGR", "G": "IGR", "R": "IGR"},
}
CROSS = {"gist": "GR", "neg_control": "R", "pos_control": "IGR"}


@dataclass(frozen=True)
class Prompts:
    """A padded batch and the role of each of its slots."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    positions: torch.Tensor
    roles: np.ndarray

    @property
    def is_real(self) -> torch.Tensor:
        return self.attention_mask.bool()


def make_prompts(gist_model: GistModel, instructions: list[str], inputs: list[str], side: str) -> Prompts:
    k = gist_model.settings.num_gist_tokens
    rows, roles = [], []
    for instruction, text in zip(instructions, inputs, strict=True):
        head, tail = gist_model.encode_instructions([instruction])[0], gist_model.encode_inputs([text])[0]
        rows.append(head + tail)
        roles.append("I" * (len(head) - k) + "G" * k + "R" * len(tail))
    batch = gist_model.pad(rows, side)
    width = batch.input_ids.shape[1]
    padded = [role.rjust(width, "P") if side == "left" else role.ljust(width, "P") for role in roles]
    positions = (batch.attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    return Prompts(batch.input_ids, batch.attention_mask, positions, np.array([list(role) for role in padded]))


def self_mask(prompts: Prompts, condition: str, *, causal: bool, window: int | None = None) -> torch.Tensor:
    """torch.BoolTensor, shape (batch, 1, seq_len, seq_len), 1 = may attend."""
    roles, positions = prompts.roles, prompts.positions.numpy()
    allowed = np.zeros((*roles.shape, roles.shape[1]), dtype=bool)
    for query_role, key_roles in DECODER[condition].items():
        for key_role in key_roles:
            allowed |= (roles == query_role)[:, :, None] & (roles == key_role)[:, None, :]
    if causal:
        allowed &= positions[:, :, None] >= positions[:, None, :]
    if window is not None:
        allowed &= positions[:, :, None] - positions[:, None, :] < window
    # A padded query must see something, or its softmax is undefined; nothing reads it.
    allowed |= (roles == "P")[:, :, None] & np.eye(roles.shape[1], dtype=bool)[None]
    return torch.from_numpy(allowed)[:, None]


def cross_mask(prompts: Prompts, condition: str, target_length: int) -> torch.Tensor:
    """torch.BoolTensor, shape (batch, 1, target_length, seq_len), 1 = may attend."""
    visible = np.isin(prompts.roles, list(CROSS[condition]))
    return torch.from_numpy(visible)[:, None, None, :].expand(-1, 1, target_length, -1)


def explicit_logits(
    stock: PreTrainedModel, prompts: Prompts, condition: str, decoder_input_ids: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits of a stock model, without any hook, under the explicit mask. Shape (batch, seq_len, vocabulary)."""
    if stock.config.is_encoder_decoder:
        assert decoder_input_ids is not None
        encoder_mask = self_mask(prompts, condition, causal=False)
        states = stock.get_encoder()(input_ids=prompts.input_ids, attention_mask=encoder_mask)
        cross = cross_mask(prompts, condition, decoder_input_ids.shape[1])
        return stock(encoder_outputs=states, attention_mask=cross, decoder_input_ids=decoder_input_ids).logits
    # What is hidden is added as a large negative number, as both eager and sdpa attention take it.
    full, windowed = (
        torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
        for mask in (self_mask(prompts, condition, causal=True, window=window) for window in (None, WINDOW))
    )
    mixed = {"full_attention": full, "sliding_attention": windowed}
    mask = {"mistral": windowed, "gemma2": mixed, "gemma3_text": mixed}
    return stock(
        input_ids=prompts.input_ids,
        attention_mask=mask.get(stock.config.model_type, full),
        position_ids=prompts.positions,
        use_cache=False,
    ).logits


def masked_logits(
    gist_model: GistModel, prompts: Prompts, decoder_input_ids: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits of the same weights through gist attention."""
    if gist_model.is_encoder_decoder:
        return gist_model.model(
            input_ids=prompts.input_ids, attention_mask=prompts.attention_mask, decoder_input_ids=decoder_input_ids
        ).logits
    return gist_model.model(
        input_ids=prompts.input_ids,
        attention_mask=prompts.attention_mask,
        position_ids=prompts.positions,
        use_cache=False,
    ).logits
