"""A language model's head as training uses it: logits only where there is a label, with the gist token excluded."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from gist_core.training.collate import IGNORED

ALIGNED = 64  # columns; if their number is not even a multiple of 8, cuBLAS uses only its slow kernels in 16 bits
EXCLUDED = -1e30  # a logit whose probability is 0, and that stays finite if a model scales its logits


def only_labelled(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch with only the labels that count, shape (labelled tokens,), and with `slots` of the same shape: where these
    labels stand, as indices into all slots of the batch, row after row.

    To be called while the batch is in CPU memory: on a GPU the host would have to wait for the number of labels.
    """
    labels = batch["labels"].flatten()
    slots = torch.nonzero(labels != IGNORED).flatten()
    return batch | {"labels": labels[slots], "slots": slots}


class TrainingHead:
    """Replaces the forward pass of a model's head. Outside of `only` the head works as before."""

    def __init__(self, model: PreTrainedModel, gist_token_id: int) -> None:
        self._head = model.get_output_embeddings()
        self._gist_token_id = gist_token_id
        self._slots: torch.Tensor | None = None
        self._stock_forward = self._head.forward
        self._head.forward = self._forward

    @contextmanager
    def only(self, slots: torch.Tensor) -> Iterator[None]:
        """Inside this context the model gives logits for `slots` only, shape (len(slots), vocabulary), on a GPU with a few more
        columns. Those of the gist token and of columns past the vocabulary are `EXCLUDED`."""
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
        """The head's product, with columns added that stand for no token until there are a multiple of `ALIGNED`. The bias
        excludes these and the gist token; writing into the logits would copy them, and their gradient."""
        if type(self._head) is not nn.Linear:  # it may compute more than a product
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
    """In nats, summed over the labelled tokens and computed in float32, whatever type the logits have."""
    return nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
