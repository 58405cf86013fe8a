"""The head of a model in training, against the stock one."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gist_core.training.collate import IGNORED, Collator
from gist_core.training.examples import Example
from gist_core.training.head import ALIGNED, TrainingHead, only_labelled
from tests.tiny import tiny_gist_model

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_only_the_labelled_slots_have_logits_and_the_gist_token_none(family: str, device: str) -> None:
    gist_model = tiny_gist_model(family, "gist", 1)
    head = gist_model.model.get_output_embeddings().to(device)
    batch = only_labelled({"labels": torch.tensor([[IGNORED, 3, 4], [5, IGNORED, IGNORED]])})
    slots = batch["slots"]
    assert (slots.tolist(), batch["labels"].tolist()) == ([1, 2, 3], [3, 4, 5])
    hidden = torch.randn(2, 3, head.weight.shape[1], generator=torch.Generator().manual_seed(0)).to(device)
    stock, gist = head(hidden), gist_model.gist_token_id
    training_head = TrainingHead(gist_model.model, gist)
    with training_head.only(slots.to(device)):
        logits = head(hidden)
    others = [token for token in range(len(head.weight)) if token != gist]
    torch.testing.assert_close(logits[:, others], stock.flatten(0, 1)[slots][:, others])
    assert (torch.softmax(logits, dim=-1)[:, gist] == 0).all()
    assert logits.mul(4).isfinite().all()  # some models scale what their head gives
    assert torch.equal(head(hidden), stock)


def test_columns_that_align_the_product_change_neither_logits_nor_gradients() -> None:
    head = torch.nn.Linear(8, ALIGNED + 1)
    model = type("Model", (), {"get_output_embeddings": lambda self: head})()
    aligned = TrainingHead(model, 0)._aligned
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    expected, found = head(hidden), aligned(hidden)
    assert found.shape == (5, ALIGNED + 1)
    torch.testing.assert_close(found, expected)
    by_stock = torch.autograd.grad(expected.square().sum(), [head.weight, head.bias])
    by_aligned = torch.autograd.grad(found.square().sum(), [head.weight, head.bias])
    for ours, stock in zip(by_aligned, by_stock, strict=True):
        torch.testing.assert_close(ours, stock)


class ScaledHead(torch.nn.Linear):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return 3 * super().forward(hidden)


def test_a_head_that_computes_more_than_a_product_is_left_to_do_so() -> None:
    head = ScaledHead(8, ALIGNED + 1)
    model = type("Model", (), {"get_output_embeddings": lambda self: head})()
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    expected = head(hidden)
    torch.testing.assert_close(TrainingHead(model, 0)._aligned(hidden), expected)


class Waits(TorchDispatchMode):
    """Counts the operations whose result a GPU's host would have to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_packed_forward_pass_waits_for_no_gpu(family: str) -> None:
    gist_model = tiny_gist_model(family, "gist", 1)
    gist = gist_model.gist_token_id
    examples = [Example(str(n), [5, 6, gist, 7], [8] * n, gist_start=2, gist_end=3) for n in (1, 2, 3)]
    batch = only_labelled(Collator("gist", "packed", 0, 8)(examples))
    slots, _ = batch.pop("slots"), batch.pop("labels")
    head = TrainingHead(gist_model.model, gist)
    with Waits() as waits, head.only(slots):
        gist_model.model(**batch, use_cache=False)
    assert waits.count == 0
