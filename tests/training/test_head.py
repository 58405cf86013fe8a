"""The head of a model in training, against the stock one."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from gist_core.models.attention import _with_layout
from gist_core.models.gist_model import GistModel
from gist_core.training.collate import IGNORED, Collator
from gist_core.training.examples import Example
from gist_core.training.head import ALIGNED, EXCLUDED, TrainingHead, cross_entropy, only_labelled
from tests.tiny import tiny_gist_model

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


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
    assert (torch.softmax(logits, dim=-1)[:, [gist, *range(len(head.weight), logits.shape[1])]] == 0).all()
    assert logits.mul(4).isfinite().all()  # some models scale what their head gives
    assert torch.equal(head(hidden), stock)


@pytest.mark.parametrize("vocabulary", [ALIGNED, ALIGNED + 1])
@pytest.mark.parametrize("with_bias", [True, False])
def test_columns_that_align_the_product_change_neither_loss_nor_gradients(vocabulary: int, with_bias: bool) -> None:
    head, gist = torch.nn.Linear(8, vocabulary, bias=with_bias), 3
    model = type("Model", (), {"get_output_embeddings": lambda self: head})()
    aligned = TrainingHead(model, gist)._aligned
    targets = torch.tensor([0, 5, vocabulary - 1])
    hidden = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = head(hidden)
    expected[:, gist] = EXCLUDED
    found = aligned(hidden)
    assert found.shape[1] % ALIGNED == 0
    torch.testing.assert_close(found[:, :vocabulary], expected)
    leaves = [hidden, *head.parameters()]
    by_stock, by_aligned = (torch.autograd.grad(cross_entropy(of, targets), leaves) for of in (expected, found))
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
    torch.testing.assert_close(TrainingHead(model, 0)._aligned(hidden)[:, 1:], expected[:, 1:])


class Waits(TorchDispatchMode):
    """Counts the operations whose result a GPU's host would have to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def packed(gist_model: GistModel) -> dict[str, torch.Tensor]:
    gist = gist_model.gist_token_id
    examples = [Example(str(n), [5, 6, gist, 7], [8] * n, gist_start=2, gist_end=3) for n in (1, 2, 3)]
    batch = only_labelled(Collator("gist", "packed", 0, 8)(examples))
    del batch["labels"]
    return batch


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_packed_forward_pass_waits_for_no_gpu(family: str) -> None:
    gist_model = tiny_gist_model(family, "gist", 1)
    batch = packed(gist_model)
    head = TrainingHead(gist_model.model, gist_model.gist_token_id)
    with Waits() as waits, head.only(batch.pop("slots")):
        gist_model.model(**batch, use_cache=False)
    assert waits.count == 0


def test_a_mask_of_ones_is_not_combined_with_the_bounds_of_packed_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention's mask would have a GPU's host wait for whether it is all ones."""
    gist_model = tiny_gist_model("llama", "gist", 1)
    given: list[torch.Tensor | None] = []

    def spy(**kwargs: Any) -> Any:
        given.append(kwargs["attention_mask"])
        return sdpa_mask(**kwargs)

    monkeypatch.setitem(AttentionMaskInterface._global_mapping, "sdpa", _with_layout(spy))
    batch = packed(gist_model)
    del batch["slots"]
    gist_model.model(**batch, use_cache=False)
    assert given
    assert all(mask is None for mask in given)


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize("attention", ["sdpa", "flex_attention"])
def test_a_gpu_agrees_that_nothing_waited_for_it(attention: str) -> None:
    gist_model = tiny_gist_model("llama", "gist", 1, attn_implementation=attention, head_dim=16)
    gist_model.model.to("cuda")
    batch = {name: tensor.cuda() for name, tensor in packed(gist_model).items()}
    head = TrainingHead(gist_model.model, gist_model.gist_token_id)
    with torch.no_grad(), head.only(batch.pop("slots")):
        gist_model.model(**batch, use_cache=False)  # compiles the kernels
        torch.cuda.set_sync_debug_mode("error")
        try:
            gist_model.model(**batch, use_cache=False)
        finally:
            torch.cuda.set_sync_debug_mode("default")
