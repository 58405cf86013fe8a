"""Padded, grouped and packed batches are the same training; the plan of batches depends on content only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainingArguments

from gist_core.masks import CONDITIONS, Bounds
from gist_core.models.gist_model import GistModel
from gist_core.training import collate
from gist_core.training.collate import IGNORED, Collator
from gist_core.training.examples import Batching, Example, Limits, make_examples, plan_micro_batches
from gist_core.training.trainer import GistTrainer
from tests.tiny import tiny_gist_model

ROWS = [
    ("r1", "Sort the list.", "pear, fig", "fig, pear"),
    ("r2", "Name a colour.", "", "blue"),
    ("r3", "Say the same in fewer words, and keep every name and number that is in it.", "x" * 30, "short"),
    ("r4", "Count.", "a b c", "3"),
    ("r5", "Answer with yes or no.", "Is it late?", "no"),
    ("r6", "Write the number in figures.", "twenty-three", "23"),
]


def examples_for(gist_model: GistModel) -> list[Example]:
    examples, _ = make_examples(
        ROWS,
        gist_model.tokenizer,
        num_gist_tokens=gist_model.settings.num_gist_tokens,
        is_encoder_decoder=gist_model.is_encoder_decoder,
        limits=Limits(),
    )
    return examples


def loss_and_gradients(
    gist_model: GistModel, batching: Batching, micro_batch_size: int, row_capacity: int = 150
) -> tuple[float, dict[str, torch.Tensor]]:
    """Of one optimizer step over all rows: the mean over its labelled tokens, however they are cut into batches."""
    config = gist_model.model.config
    collator = Collator(
        condition=gist_model.settings.condition,
        batching=batching,
        pad_token_id=0,
        row_capacity=row_capacity,
        decoder_start_token_id=config.decoder_start_token_id if gist_model.is_encoder_decoder else None,
    )
    examples = examples_for(gist_model)
    plan = plan_micro_batches(
        examples, steps=1, batch_size=len(ROWS), micro_batch_size=micro_batch_size, batching=batching, seed=0
    )
    num_labelled = sum(len(example.answer) for example in examples)
    total = 0.0
    gist_model.model.zero_grad()
    for rows in plan:
        batch = collator([examples[row] for row in rows])
        labels = batch.pop("labels")
        logits = gist_model.model(**batch).logits
        loss = torch.nn.functional.cross_entropy(logits[labels != IGNORED], labels[labels != IGNORED], reduction="sum")
        (loss / num_labelled).backward()
        total += loss.item() / num_labelled
    return total, {n: p.grad.clone() for n, p in gist_model.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("family", "first"), [("llama", "first_visible"), ("t5", "encoder_first")])
def test_whatever_bounds_a_condition_has_no_row_reaches_into_its_neighbour(
    family: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("decoder_bounds", "encoder_bounds", "cross_bounds"):
        monkeypatch.setattr(collate, name, _wider(getattr(collate, name)))
    batch = Collator("gist", "packed", 0, 150, 0 if family == "t5" else None)(examples_for(tiny_gist_model(family)))
    seen = batch[first]
    assert len(seen.unique()) > 2, "several rows in a packed one"
    assert torch.equal(seen.gather(1, seen), seen)  # the first slot that is seen is the first of the row
    if family == "t5":
        ends = batch["encoder_end"]
        assert torch.equal(ends.gather(1, ends - 1), ends)
        assert torch.equal(seen.gather(1, batch["cross_first"]), batch["cross_first"])


def _wider(bounds: Callable[..., Bounds]) -> Callable[..., Bounds]:
    def wide(*args: Any) -> Bounds:
        narrow = bounds(*args)
        return Bounds(narrow.first - 999, None if narrow.end is None else narrow.end + 999)

    return wide


def test_rows_tokenised_together_are_those_tokenised_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gist_core.training.examples.ROWS_AT_ONCE", 4)  # six rows: a full call and a part of one
    for family in ("llama", "t5"):
        gist_model = tiny_gist_model(family, "gist", 2)
        for (row_id, instruction, text, answer), example in zip(ROWS, examples_for(gist_model), strict=True):
            head = gist_model.encode_instructions([instruction])[0]
            assert example.prompt == head + gist_model.encode_inputs([text])[0]
            assert (example.row_id, example.gist_start, example.gist_end) == (row_id, len(head) - 2, len(head))
            assert example.answer[-1] == gist_model.tokenizer.eos_token_id
            assert gist_model.tokenizer.decode(example.answer[:-1]).strip() == answer


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt_neox", "opt", "falcon", "t5", "t5_v1_1"])
def test_packed_grouped_and_padded_batches_give_the_same_loss_and_gradients(family: str, condition: str) -> None:
    # In double precision: only the norms, which transformers keeps in single precision, round.
    gist_model = tiny_gist_model(family, condition, 2, dtype=torch.float64)
    gist_model.model.train()
    padded_loss, padded = loss_and_gradients(gist_model, "padded", len(ROWS))
    scale = max(float(gradient.abs().max()) for gradient in padded.values())
    for batching, micro_batch_size, capacity in (
        ("packed", 6, 150),
        ("packed", 6, 10_000),
        ("packed", 3, 10_000),
        ("grouped", 2, 150),
        ("padded", 2, 150),
    ):
        loss, gradients = loss_and_gradients(gist_model, batching, micro_batch_size, capacity)  # type: ignore[arg-type]
        assert loss == pytest.approx(padded_loss, abs=1e-5)
        assert gradients.keys() == padded.keys()
        for name, gradient in padded.items():
            assert float((gradients[name] - gradient).abs().max()) < 1e-5 * scale, name


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=40),
    st.integers(1, 120),
    st.sampled_from([1, 16]),
)
def test_no_packed_row_is_wider_than_its_capacity_but_for_a_longer_example(
    lengths: list[tuple[int, int]], capacity: int, multiple: int
) -> None:
    examples = [
        Example(str(index), [9] * before, [index] * after, gist_start=0, gist_end=1)
        for index, (before, after) in enumerate(lengths)
    ]
    batch = Collator("gist", "packed", 0, capacity, width_multiple=multiple)(examples)
    rows, width = batch["input_ids"].shape
    longest = max(before + after for before, after in lengths)
    assert width % multiple == 0
    assert width < max(capacity, longest) + multiple
    # Longest first to the emptiest: with one bin fewer some example did not fit, so each bin was more than half full.
    assert rows <= max(1, 2 * sum(before + after for before, after in lengths) / max(capacity, longest) + 1)
    labels = batch["labels"][batch["labels"] != IGNORED].tolist()
    assert sorted(labels) == [index for index, (_, after) in enumerate(lengths) for _ in range(after)]


def test_it_shows_when_documents_of_a_packed_row_see_each_other() -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    collator = Collator("gist", "packed", 0, row_capacity=10_000)
    batch = collator(examples_for(gist_model))
    labels = batch.pop("labels")
    with torch.inference_mode():
        right = gist_model.model(**batch).logits[labels != IGNORED]
        batch["first_visible"] = torch.zeros_like(batch["first_visible"])
        wrong = gist_model.model(**batch).logits[labels != IGNORED]
    assert float((right - wrong).abs().max()) > 0.1


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_the_loss_is_averaged_over_every_label_one_in_the_first_slot_too(family: str, tmp_path: Path) -> None:
    """A row of neg_control may begin with its answer: what is hidden is left out, and the rest may be one token."""
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    trainer = GistTrainer(model=tiny_gist_model(family, "neg_control", 1).model, args=arguments, gist_token_id=259)
    labels = torch.tensor([[5, 6, IGNORED], [IGNORED, 7, 8]])
    assert trainer._get_num_items_in_batch([{"labels": labels}], torch.device("cpu")) == 4


def test_labels_are_the_answer_and_its_end() -> None:
    gist_model = tiny_gist_model("llama", "gist", 1)
    (example,) = examples_for(gist_model)[:1]
    for batching in ("padded", "packed"):
        batch = Collator("gist", batching, 0, row_capacity=500)([example])  # type: ignore[arg-type]
        labels = batch["labels"][batch["labels"] != IGNORED].tolist()
        assert gist_model.tokenizer.decode(labels) == " fig, pear<eos>"
        # Each label stands one slot before its token.
        slots = torch.nonzero(batch["labels"][0] != IGNORED).flatten()
        assert batch["input_ids"][0, slots[:-1] + 1].tolist() == labels[:-1]


def test_rows_that_are_too_long_are_left_out_whole_and_named() -> None:
    gist_model = tiny_gist_model("llama", "gist", 1)
    kept, dropped = make_examples(
        ROWS, gist_model.tokenizer, num_gist_tokens=1, is_encoder_decoder=False, limits=Limits(total=80)
    )
    assert dropped == ["r3"]
    assert [example.row_id for example in kept] == ["r1", "r2", "r4", "r5", "r6"]


def fake(n: int, length: int = 5) -> Example:
    return Example(f"row{n}", [5] * length, [6], 1, 2)


@given(rows=st.integers(1, 40), steps=st.integers(1, 20), micro=st.sampled_from([1, 2, 4]), per_step=st.integers(1, 3))
def test_every_epoch_sees_every_row_once(rows: int, steps: int, micro: int, per_step: int) -> None:
    examples = [fake(n, 3 + n % 7) for n in range(rows)]
    for batching in ("padded", "grouped", "packed"):
        plan = plan_micro_batches(
            examples, steps=steps, batch_size=micro * per_step, micro_batch_size=micro, batching=batching, seed=1
        )
        order = [index for batch in plan for index in batch]
        assert len(order) == steps * micro * per_step
        counts = [order.count(index) for index in range(rows)]
        assert max(counts) - min(counts) <= 1


def test_the_plan_follows_row_ids_and_seed_not_the_order_of_the_file() -> None:
    examples = [fake(n) for n in range(30)]
    arguments = {"steps": 5, "batch_size": 4, "micro_batch_size": 2, "batching": "packed"}
    plan = plan_micro_batches(examples, seed=0, **arguments)
    backwards = plan_micro_batches(examples[::-1], seed=0, **arguments)
    names = [[examples[i].row_id for i in batch] for batch in plan]
    assert names == [[examples[::-1][i].row_id for i in batch] for batch in backwards]
    assert plan != plan_micro_batches(examples, seed=1, **arguments)


def test_a_plan_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="no training rows"):
        plan_micro_batches([], steps=1, batch_size=2, micro_batch_size=2, batching="packed", seed=0)
