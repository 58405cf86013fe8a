"""Attention over packed rows without a mask: each run of queries takes the keys that it sees, and no others.

Under a mask every pair of slots of a packed row is computed, and most are thrown away. Here all rows are laid end to end and
cut into runs (gist_core/masks.py: `runs_of`): under the gist condition a document is two, what comes up to its gist tokens and
what comes after, which takes their keys a second time. On a GPU torch's `varlen_attn` (FlashAttention) computes all runs at
once.
"""

import inspect
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from gist_core.masks import Runs

VARLEN = "varlen"


class LayerRuns(NamedTuple):
    """What a layer is given in place of a mask: the runs of all slots of the batch, row by row, and the layer's sliding window
    in slots, which are positions within a document."""

    runs: Runs
    window: int | None


# torch 2.11 takes fewer heads of keys than of queries as they come, later ones when told to.
_GROUPED: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}


def varlen_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: LayerRuns,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers (`AttentionInterface`).

    query: shape (batch, heads, slots, width); key, value: (batch, key heads, slots, width). The window is that of
    `attention_mask`: not every model hands it to its attention too.

    Returns: shape (batch, slots, heads, width), and no attention weights.

    Raises:
        ValueError: dropout, or what else changes the scores; on a GPU, float32 or values of another width than keys.
    """
    changed = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if dropout:
        changed.append(f"dropout {dropout}")
    if changed:
        raise ValueError(f"varlen attention computes no {', '.join(changed)}; take engine.attention=eager")
    runs, sliding_window = attention_mask
    batch, _, slots, _ = query.shape
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else value.dtype
    query, key, value = (of.transpose(1, 2).flatten(0, 1).to(dtype) for of in (query, key, value))
    key, value = (of.index_select(0, runs.key_slots) for of in (key, value))
    if device == "cuda":
        if dtype == torch.float32:
            raise ValueError("varlen attention has no kernel for float32 on a GPU; set train.bf16, or take sdpa")
        if key.shape[-1] != value.shape[-1]:
            raise ValueError("varlen attention has no kernel for values of another width than keys on a GPU; take sdpa")
        window = (-1 if sliding_window is None else sliding_window - 1, 0)
        ends = runs.query_ends, runs.key_ends
        # No run is longer than a packed row, and finding the longest would have the host wait.
        out = varlen_attn(query, key, value, *ends, slots, slots, scale=scaling, window_size=window, **_GROUPED)
        assert isinstance(out, torch.Tensor)
    else:
        out = _run_by_run(query, key, value, runs, scaling, sliding_window)
    return out.unflatten(0, (batch, slots)), None


AttentionInterface.register(VARLEN, varlen_attention)


@torch.compiler.disable  # no two runs are of one length
def _run_by_run(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, runs: Runs, scaling: float | None, window: int | None
) -> torch.Tensor:
    """What the GPU's kernel computes, for a device that has none. Shapes as there: (queries or keys, heads, width)."""
    num_queries, num_keys = (ends.diff().tolist() for ends in (runs.query_ends, runs.key_ends))
    pieces = []
    for run in zip(query.split(num_queries), key.split(num_keys), value.split(num_keys), strict=True):
        q, k, v = (of.transpose(0, 1)[None] for of in run)
        last = k.shape[2] - q.shape[2]  # the key that the first query sees last
        seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(last)
        if window is not None:
            seen = seen.triu(last - window + 1)
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scaling, enable_gqa=True)
        pieces.append(out[0].transpose(0, 1))
    return torch.cat(pieces)
