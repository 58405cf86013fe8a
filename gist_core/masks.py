"""The three conditions of the paper (section 3, figure 2), written down once.

In every condition of the paper the keys that a query may attend to are one run of neighbouring slots. So a mask is a pair
of bounds for each query, `first <= key < end`. Training batches (padded or packed) and masked generation are built on
these bounds, and the tests compare both with an explicit mask.

A row is laid out as  [padding] instruction | gist tokens | input and answer [padding]:

- `pos_control`: nothing is hidden. Ordinary instruction tuning.
- `gist`: tokens after the last gist token see nothing before the first one; in an encoder, tokens up to the last gist
  token also see nothing after it, so that the gist does not depend on the input and can be cached.
- `neg_control`: tokens after the last gist token see neither the instruction nor the gist tokens; the rest is as in `gist`.

Slots are indices into the padded row; `span.start` is the slot of the first gist token and `span.end` is one past the last.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

Condition = Literal["gist", "pos_control", "neg_control"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)


@dataclass(frozen=True)
class GistSpan:
    """Where the gist tokens stand in each row.

    start, end: torch.LongTensor, shape (batch,). Slot of the first gist token, and one past the last.
    """

    start: torch.Tensor
    end: torch.Tensor


@dataclass(frozen=True)
class Bounds:
    """Keys that each query may attend to: `first <= key slot < end` (1 query = 1 row of the attention mask).

    first, end: torch.LongTensor, shape (batch, queries). `end` is None where only causality (in cross-attention only the
    padding mask) limits the keys at that end.
    """

    first: torch.Tensor
    end: torch.Tensor | None = None

    def allows(self, batch: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """True where the key may be attended to; indices broadcast. `query` is a column of `first`, not a slot."""
        allowed = key >= self.first[batch, query]
        return allowed if self.end is None else allowed & (key < self.end[batch, query])


def find_gist_span(input_ids: torch.Tensor, gist_token_id: int) -> GistSpan:
    """The gist tokens of each row.

    input_ids: torch.LongTensor, shape (batch, seq_len).

    Raises:
        ValueError: a row has no gist token, its gist tokens are not adjacent, or rows have different numbers of them.
    """
    is_gist = input_ids == gist_token_id
    counts = is_gist.sum(dim=1)
    start = is_gist.int().argmax(dim=1)
    last = input_ids.shape[1] - 1 - is_gist.flip(1).int().argmax(dim=1)
    if bool((counts == 0).any()):
        rows = torch.nonzero(counts == 0).flatten().tolist()
        raise ValueError(
            f"no gist token (id {gist_token_id}) in row(s) {rows} of the batch; was the prompt truncated, or read in chunks?"
        )
    if bool((last - start + 1 != counts).any()):
        rows = torch.nonzero(last - start + 1 != counts).flatten().tolist()
        raise ValueError(
            f"the gist tokens of row(s) {rows} are not adjacent; does the text contain the gist token itself?"
        )
    if bool((counts != counts[0]).any()):
        raise ValueError(f"the batch mixes numbers of gist tokens: {sorted(set(counts.tolist()))}; use one k per batch")
    return GistSpan(start, last + 1)


def decoder_bounds(condition: Condition, span: GistSpan, queries: torch.Tensor) -> Bounds:
    """Bounds of a decoder's self-attention, to be combined with causality.

    queries: torch.LongTensor, shape (batch, queries) or (1, queries). Slot of each query.
    """
    hidden_before = _first_visible(condition, span)
    return Bounds(torch.where(queries >= span.end[:, None], hidden_before[:, None], 0))


def encoder_bounds(condition: Condition, span: GistSpan, seq_len: int) -> Bounds:
    """Bounds of an encoder's bidirectional self-attention over `seq_len` slots, to be combined with the padding mask."""
    queries = torch.arange(seq_len, device=span.end.device)[None]
    first = decoder_bounds(condition, span, queries).first
    if condition == "pos_control":
        return Bounds(first, torch.full_like(first, seq_len))
    return Bounds(first, torch.where(queries >= span.end[:, None], seq_len, span.end[:, None]))


def cross_bounds(condition: Condition, span: GistSpan) -> Bounds:
    """Bounds of a decoder's cross-attention to the encoder's slots: the same for every query, shape (batch, 1)."""
    return Bounds(_first_visible(condition, span)[:, None])


def _first_visible(condition: Condition, span: GistSpan) -> torch.Tensor:
    """First slot that tokens after the gist tokens may attend to, shape (batch,)."""
    if condition == "gist":
        return span.start
    if condition == "neg_control":
        return span.end
    if condition == "pos_control":
        return torch.zeros_like(span.start)
    raise ValueError(f"condition {condition!r} is not one of {', '.join(CONDITIONS)}")
