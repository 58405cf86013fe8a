"""The head of a language model as a training uses it: logits only where there is a label, none for the gist token."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from gist_core.training.collate import IGNORED

ALIGNED = 64  # columns; for a number that is not even a multiple of 8 cuBLAS keeps to its slow kernels in 16 bits
EXCLUDED = -1e30  # a logit whose probability is 0, and that stays finite where a model scales its logits


def only_labelled(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch with its labels alone, shape (labelled tokens,), and with `slots`, of the same shape: where they stand, as
    indices into all slots of the batch row by row.

    On a GPU the host must wait for their number, so this is for a batch that is still in CPU memory.
    """
    labels = batch["labels"].flatten()
    slots = torch.nonzero(labels != IGNORED).flatten()
    return batch | {"labels": labels[slots], "slots": slots}


class TrainingHead:
    """Replaces the forward pass of a model's head. Outside of `only` the head is what it was."""

    def __init__(self, model: PreTrainedModel, gist_token_id: int) -> None:
        self._head = model.get_output_embeddings()
        self._gist_token_id = gist_token_id
        self._slots: torch.Tensor | None = None
        self._stock_forward = self._head.forward
        self._head.forward = self._forward

    @contextmanager
    def only(self, slots: torch.Tensor) -> Iterator[None]:
        """Herein the model's logits are those of the `slots` alone, shape (len(slots), vocabulary or, on a GPU, somewhat more).
        Those of the gist token and of what is past the vocabulary are `EXCLUDED`."""
        self._slots = slots
        try:
            yield
        finally:
            self._slots = None

    def _forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if self._slots is None:
            return self._stock_forward(hidden)
        hidden = hidden.flatten(0, -2).index_select(0, self._slots)
        return self._aligned(hidden) if hidden.is_cuda else self._plain(hidden)

    def _plain(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self._stock_forward(hidden)
        logits[:, self._gist_token_id] = EXCLUDED
        return logits

    def _aligned(self, hidden: torch.Tensor) -> torch.Tensor:
        """The head's product with columns that stand for no token, until their number is a multiple of `ALIGNED`. They and the
        gist token are excluded by the bias: to write into the logits would copy them, and their gradient."""
        if type(self._head) is not nn.Linear:  # it computes more than a product
            return self._plain(hidden)
        weight, own_bias = self._head.weight, self._head.bias
        more = -len(weight) % ALIGNED
        aligned = nn.functional.pad(weight, (0, 0, 0, more)) if more else weight
        bias = nn.functional.pad(
            weight.new_zeros(len(weight)) if own_bias is None else own_bias, (0, more), value=EXCLUDED
        )
        excluded = torch.arange(len(bias), device=bias.device) == self._gist_token_id
        return nn.functional.linear(hidden, aligned, bias.masked_fill(excluded, EXCLUDED))


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """In nats, summed over the labelled tokens and computed in float32, whatever the logits are in."""
    return nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
