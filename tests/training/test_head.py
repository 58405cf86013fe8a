"""The head of a model in training, against the stock one."""

import pytest
import torch

from gist_core.training.collate import IGNORED
from gist_core.training.head import ALIGNED, TrainingHead, labelled_slots
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
    labels = torch.tensor([[IGNORED, 3, 4], [5, IGNORED, IGNORED]])
    slots = labelled_slots(labels)
    assert slots.tolist() == [1, 2, 3]
    hidden = torch.randn(2, 3, head.weight.shape[1], generator=torch.Generator().manual_seed(0)).to(device)
    stock, gist = head(hidden), gist_model.gist_token_id
    training_head = TrainingHead(gist_model.model, gist)
    with training_head.only(slots.to(device)):
        logits = head(hidden)
    others = [token for token in range(len(head.weight)) if token != gist]
    torch.testing.assert_close(logits[:, others], stock.flatten(0, 1)[slots][:, others])
    assert (torch.softmax(logits, dim=-1)[:, gist] == 0).all()
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
