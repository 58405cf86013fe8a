"""Rows that have ended leave their batch, and no answer changes by it."""

from typing import Any

import numpy as np
import pytest
import torch

from gist_core.cache import compress, generate
from gist_core.masks import Condition
from gist_core.models.gist_model import GistModel
from tests.tiny import FAMILIES, tiny_gist_model

INSTRUCTIONS = [
    "Sort.",
    "a" * 200,
    "Say it in French, please.",
    "b c " * 9,
    "Count the words.",
    "Translate.",
    "d",
    "e f",
]
INPUTS = ["pear, fig", "", "Good morning.", "x" * 60, "one two three", "q", "", "u v"]
NEW_TOKENS = 24


class RowsComputed:
    """Counts the rows of every step of a generation, the decoder's alone in an encoder-decoder."""

    def __init__(self, gist_model: GistModel) -> None:
        self.name = "decoder_input_ids" if gist_model.is_encoder_decoder else "input_ids"
        self.steps: list[int] = []
        self.hook = gist_model.model.register_forward_pre_hook(self.count, with_kwargs=True)

    def count(self, module: object, args: tuple, kwargs: dict[str, Any]) -> None:
        self.steps.append(len(kwargs[self.name]))

    def __enter__(self) -> list[int]:
        return self.steps

    def __exit__(self, *_: object) -> None:
        self.hook.remove()


def steps_of_rows(answers: torch.Tensor, end: int) -> list[int]:
    """For each answer the steps that it takes until it ends."""
    return [row.index(end) + 1 if end in row else len(row) for row in answers.tolist()]


def end_that_spreads(answers: torch.Tensor) -> int:
    """The token which, were it the end of text, would have these answers end after as many different numbers of tokens as
    possible."""
    return max(answers.unique().tolist(), key=lambda end: len({*steps_of_rows(answers, end)}))


def at_once(gist_model: GistModel, **options: Any) -> torch.Tensor:
    """What the stock `generate` answers to the full prompts, every row computed to the last step."""
    parts = zip(gist_model.encode_instructions(INSTRUCTIONS), gist_model.encode_inputs(INPUTS), strict=True)
    batch = gist_model.pad([a + b for a, b in parts], "right" if gist_model.is_encoder_decoder else "left")
    options = {"max_new_tokens": NEW_TOKENS, "suppress_tokens": [gist_model.gist_token_id]} | options
    output = gist_model.model.generate(**vars(batch), **options)
    return output[:, 1 if gist_model.is_encoder_decoder else batch.input_ids.shape[1] :]


@pytest.mark.parametrize(
    ("family", "condition"),
    [(family, "gist") for family in FAMILIES]
    + [(family, control) for family in ("llama", "gemma3", "t5") for control in ("pos_control", "neg_control")],
)
def test_rows_that_have_ended_are_not_computed_and_the_others_go_on_as_before(
    family: str, condition: Condition
) -> None:
    gist_model = tiny_gist_model(family, condition, 2)
    end = end_that_spreads(at_once(gist_model, eos_token_id=None))
    with RowsComputed(gist_model) as computed:
        masked = gist_model.generate_masked(INSTRUCTIONS, INPUTS, max_new_tokens=NEW_TOKENS, eos_token_id=end)
    assert torch.equal(masked, at_once(gist_model, eos_token_id=end))
    ends = steps_of_rows(masked, end)
    assert min(ends) < max(ends)
    going_on = [sum(step < last for last in ends) for step in range(max(ends))]
    assert [len(computed), computed[0]] == [len(going_on), len(INPUTS)]
    assert all(needed <= rows < 2 * needed for needed, rows in zip(going_on[1:], computed[1:], strict=True))
    if condition == "gist":
        cache = compress(gist_model, INSTRUCTIONS)
        assert torch.equal(generate(gist_model, cache, INPUTS, max_new_tokens=NEW_TOKENS, eos_token_id=end), masked)


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize(
    "options",
    [{"num_beams": 2}, {"repetition_penalty": 1.3}, {"min_new_tokens": 9}, {"no_repeat_ngram_size": 2}],
    ids=lambda options: next(iter(options)),
)
def test_options_that_look_back_see_all_of_an_answer(family: str, options: dict[str, Any]) -> None:
    gist_model = tiny_gist_model(family, "gist", 2)
    end = end_that_spreads(at_once(gist_model, eos_token_id=None, **options))
    options = options | {"eos_token_id": end}
    answers = gist_model.generate_masked(INSTRUCTIONS, INPUTS, max_new_tokens=NEW_TOKENS, **options)
    assert torch.equal(answers, at_once(gist_model, **options))


def test_no_end_of_text_and_several_of_them() -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    endless = gist_model.generate_masked(INSTRUCTIONS, INPUTS, max_new_tokens=NEW_TOKENS, eos_token_id=None)
    assert endless.shape == (len(INPUTS), NEW_TOKENS)
    ends = [end_that_spreads(endless), int(endless[0, 5])]
    answers = gist_model.generate_masked(INSTRUCTIONS, INPUTS, max_new_tokens=NEW_TOKENS, eos_token_id=ends)
    assert torch.equal(answers, at_once(gist_model, eos_token_id=ends))
    assert min(steps_of_rows(answers, ends[0])) < answers.shape[1]
    for given in (torch.tensor(ends), ends):
        options = {"eos_token_id": given, "pad_token_id": None, "max_new_tokens": NEW_TOKENS}
        assert torch.equal(gist_model.generate_masked(INSTRUCTIONS, INPUTS, **options), answers)
    padded = gist_model.generate_masked(
        INSTRUCTIONS, INPUTS, eos_token_id=ends, pad_token_id=ends[0], max_new_tokens=NEW_TOKENS
    )
    assert torch.equal(padded, torch.where(answers == gist_model.tokenizer.pad_token_id, ends[0], answers))


def test_options_that_say_what_holds_anyway_change_nothing_and_odd_ones_work() -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    end = end_that_spreads(at_once(gist_model, eos_token_id=None))
    asked: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "eos_token_id": end}
    for said in ({}, {"num_beams": 1, "num_return_sequences": 1, "repetition_penalty": 1.0, "do_sample": False}):
        with RowsComputed(gist_model) as computed:
            answers = gist_model.generate_masked(INSTRUCTIONS, INPUTS, **asked, **said)
        assert computed[-1] < len(INPUTS)
    suppressed = {"suppress_tokens": np.array([end + 1, end + 2])}
    assert gist_model.generate_masked(INSTRUCTIONS, INPUTS, **asked, **suppressed).shape[0] == len(answers)


def test_a_draw_from_a_seed_is_the_same_from_a_cached_prompt() -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    options = {"max_new_tokens": NEW_TOKENS, "do_sample": True, "temperature": 0.3, "top_k": 20}
    options |= {"eos_token_id": end_that_spreads(at_once(gist_model, eos_token_id=None))}
    torch.manual_seed(3)
    masked = gist_model.generate_masked(INSTRUCTIONS, INPUTS, **options)
    torch.manual_seed(3)
    assert torch.equal(generate(gist_model, compress(gist_model, INSTRUCTIONS), INPUTS, **options), masked)
