"""Gist attention on stock models is exactly the paper's mask, in every family, batch and padding."""

import functools
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from gist_core import masks
from gist_core.models import attention
from gist_core.models.base import add_gist_token
from gist_core.models.gist_model import GistModel, GistSettings
from tests.core.explicit import explicit_logits, make_prompts, masked_logits
from tests.tiny import DECODERS, ENCODER_DECODERS, FAMILIES, byte_tokenizer, tiny_gist_model, tiny_model

TOLERANCE = 1e-5
SIDES = {True: ["right"], False: ["left", "right"]}


@functools.cache
def pair(family: str, condition: str, k: int) -> tuple[GistModel, PreTrainedModel]:
    """A gist model and a stock model with the same weights."""
    gist_model = tiny_gist_model(family, condition, k)
    stock = tiny_model(family)
    add_gist_token(stock, byte_tokenizer())
    return gist_model, stock


def largest_error(family: str, condition: str, k: int, lengths: list[tuple[int, int]], side: str) -> float:
    """Largest difference of logits between gist attention and the explicit mask, at real tokens, relative to their scale."""
    gist_model, stock = pair(family, condition, k)
    instructions = ["".join(chr(97 + (i * 7 + n) % 26) for i in range(n)) for n, _ in lengths]
    inputs = ["".join(chr(65 + (i * 5 + m) % 26) for i in range(m)) for _, m in lengths]
    prompts = make_prompts(gist_model, instructions, inputs, side)
    target = torch.arange(3, 9).repeat(len(lengths), 1) if gist_model.is_encoder_decoder else None
    with torch.inference_mode():
        expected = explicit_logits(stock, prompts, condition, target)
        found = masked_logits(gist_model, prompts, target)
    difference = (found - expected).abs() / expected.abs().max().clamp(min=1)
    return float(difference.max() if target is not None else difference[prompts.is_real].max())


batches = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 40)), min_size=1, max_size=8)


@pytest.mark.parametrize("condition", masks.CONDITIONS)
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=6, derandomize=True)
@given(k=st.sampled_from([1, 2, 5, 10]), lengths=batches, left=st.booleans())
def test_gist_attention_gives_the_logits_of_the_explicit_mask(
    family: str, condition: str, k: int, lengths: list[tuple[int, int]], left: bool
) -> None:
    side = "left" if left and family in DECODERS else "right"
    assert largest_error(family, condition, k, lengths, side) < TOLERANCE


MIXED = [(1, 0), (40, 7), (120, 3), (9, 25)]


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_it_shows_when_the_mask_is_broken(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_first_visible", lambda condition, span: span.start - 1)
    assert largest_error(family, "gist", 2, MIXED, "right") > 100 * TOLERANCE


def test_it_shows_when_the_encoder_gist_sees_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    open_end = lambda condition, span, n: masks.Bounds(  # noqa: E731
        masks.decoder_bounds(condition, span, torch.arange(n)[None]).first
    )
    monkeypatch.setattr(attention, "encoder_bounds", open_end)
    assert largest_error("t5", "gist", 2, MIXED, "right") > 100 * TOLERANCE


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_it_shows_when_the_window_is_broken(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = attention._window
    monkeypatch.setattr(attention, "_window", lambda layout, window, offset: original(layout, window - 1, offset))
    assert largest_error(family, "gist", 2, MIXED, "left") > 100 * TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_never_changes_a_row(family: str) -> None:
    gist_model, _ = pair(family, "gist", 2)
    texts = [("a" * n, "B" * m) for n, m in MIXED]
    for side in SIDES[gist_model.is_encoder_decoder]:
        together = make_prompts(gist_model, [t[0] for t in texts], [t[1] for t in texts], side)
        target = torch.arange(3, 9).repeat(len(texts), 1) if gist_model.is_encoder_decoder else None
        batched = masked_logits(gist_model, together, target)
        for row, (instruction, text) in enumerate(texts):
            alone = make_prompts(gist_model, [instruction], [text], side)
            single = masked_logits(gist_model, alone, None if target is None else target[:1])[0]
            found = batched[row] if target is not None else batched[row][together.is_real[row]]
            torch.testing.assert_close(found, single, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_neg_control_is_blind_to_instruction_and_gist_tokens(family: str) -> None:
    gist_model = tiny_gist_model(family, "neg_control", 2)
    answers = []
    for instruction, shift in (("Sort the list.", 0.0), ("Qpsu uif mjtu!", 3.0)):
        with torch.no_grad():
            gist_model.model.get_input_embeddings().weight[gist_model.gist_token_id] += shift
        prompts = make_prompts(gist_model, [instruction], ["pear, fig"], "right")
        target = torch.arange(3, 9)[None] if gist_model.is_encoder_decoder else None
        logits = masked_logits(gist_model, prompts, target)
        answers.append(logits if target is not None else logits[:, -len(gist_model.encode_inputs(["pear, fig"])[0]) :])
    vocabulary = gist_model.gist_token_id  # its own logit changes with a tied head; no other does
    assert torch.equal(answers[0][..., :vocabulary], answers[1][..., :vocabulary])


@pytest.mark.parametrize("family", FAMILIES)
def test_pos_control_is_the_unmasked_model(family: str) -> None:
    gist_model, stock = pair(family, "pos_control", 2)
    prompts = make_prompts(gist_model, ["Sort the list.", "Count."], ["pear, fig", ""], "right")
    target = torch.arange(3, 9).repeat(2, 1) if gist_model.is_encoder_decoder else None
    kwargs = {"input_ids": prompts.input_ids, "attention_mask": prompts.attention_mask}
    kwargs |= {"decoder_input_ids": target} if target is not None else {"position_ids": prompts.positions}
    with torch.inference_mode():
        torch.testing.assert_close(
            masked_logits(gist_model, prompts, target), stock(**kwargs).logits, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    ("family", "implementation"),
    [
        ("llama", "eager"),
        ("gemma3", "eager"),
        ("t5", "eager"),
        pytest.param("llama", "flex_attention", marks=pytest.mark.slow),
        pytest.param("gemma3", "flex_attention", marks=pytest.mark.slow),
    ],
)
def test_eager_and_flex_attention_agree_with_sdpa(family: str, implementation: str) -> None:
    expected, _ = pair(family, "gist", 2)
    other = tiny_gist_model(family, "gist", 2, attn_implementation=implementation)
    prompts = make_prompts(expected, ["Sort the list.", "a" * 60], ["pear, fig", "x"], "right")
    target = torch.arange(3, 9).repeat(2, 1) if expected.is_encoder_decoder else None
    with torch.inference_mode():
        a, b = masked_logits(expected, prompts, target), masked_logits(other, prompts, target)
    if target is None:
        a, b = a[prompts.is_real], b[prompts.is_real]
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[5, 6, 7]], "no gist token"),
        ([[5, 259, 6, 259]], "not adjacent"),
        ([[5, 259, 259, 6], [5, 6, 259, 7]], "mixes numbers of gist tokens"),
        ([[5, 259, 6, 7]], r"trained for 2"),
    ],
)
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_batch_that_cannot_be_masked_is_refused(family: str, ids: list[list[int]], message: str) -> None:
    gist_model, _ = pair(family, "gist", 2)
    assert gist_model.gist_token_id == 259
    extra = {"decoder_input_ids": torch.tensor([[0]] * len(ids))} if family in ENCODER_DECODERS else {}
    with pytest.raises(ValueError, match=message):
        gist_model.model(input_ids=torch.tensor(ids), **extra)


@pytest.mark.parametrize(("family", "implementation"), [("llama", "flash_attention_2"), ("t5", "flex_attention")])
def test_an_attention_implementation_that_cannot_carry_the_mask_is_refused(family: str, implementation: str) -> None:
    model = tiny_model(family)
    model.config._attn_implementation = implementation
    with pytest.raises(ValueError, match="cannot carry a gist mask"):
        attention.attach_gist_attention(model, condition="gist", gist_token_id=5, num_gist_tokens=1)


def test_it_is_refused_before_a_model_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'flash_attention_2' cannot carry a gist mask"):
        GistModel.from_pretrained(tmp_path, attn_implementation="flash_attention_2")


@pytest.mark.parametrize(
    ("config_class", "arguments", "message"),
    [
        ("MptConfig", {"d_model": 32, "n_heads": 4, "n_layers": 2}, "mpt takes no position_ids"),
        (
            "FalconConfig",
            {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "alibi": True},
            "falcon takes no position_ids",
        ),
        (
            "RemBertConfig",
            {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48},
            "rembert is an encoder, whose tokens see those after them",
        ),
        ("LongT5Config", {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}, "encoder of longt5"),
    ],
)
def test_a_family_whose_positions_or_masks_cannot_be_set_is_refused(
    config_class: str, arguments: dict[str, int], message: str
) -> None:
    config = getattr(transformers, config_class)(vocab_size=260, **arguments)
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    with pytest.raises(ValueError, match=message):
        attention.attach_gist_attention(auto.from_config(config), condition="gist", gist_token_id=5, num_gist_tokens=1)


def test_a_model_of_images_too_is_refused_when_it_is_attached() -> None:
    vision = {
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": 28,
        "patch_size": 14,
    }
    text = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 260, "head_dim": 8}
    config = transformers.Gemma3Config(
        text_config=text | {"hidden_size": 32}, vision_config=vision | {"hidden_size": 32}
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match=r"gemma3 is more than a language model .* save its language model by itself"):
        attention.attach_gist_attention(model, condition="gist", gist_token_id=5, num_gist_tokens=1)


def test_local_layers_that_count_slots_by_themselves_are_refused() -> None:
    config = transformers.GPTNeoConfig(
        hidden_size=32, num_heads=4, attention_types=[[["global", "local"], 1]], num_layers=2
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match=r"gpt_neo has layers of type \['local'\]"):
        attention.attach_gist_attention(model, condition="gist", gist_token_id=5, num_gist_tokens=1)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_model_attends_under_one_condition_at_a_time(family: str) -> None:
    gist_model = tiny_gist_model(family, "gist", 1)
    model, tokenizer = gist_model.model, gist_model.tokenizer
    assert GistModel(model, tokenizer, GistSettings("gist", 1)).fingerprint == gist_model.fingerprint
    for other in (GistSettings("pos_control", 1), GistSettings("gist", 2)):
        with pytest.raises(ValueError, match=r"attends as gist with 1 gist token\(s\) already"):
            GistModel(model, tokenizer, other)


def test_it_shows_when_a_model_goes_around_the_decoder_that_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("opt")
    monkeypatch.setattr(type(model), "get_decoder", lambda self: self.model)  # which OPT's forward pass goes around
    attention.attach_gist_attention(model, condition="gist", gist_token_id=5, num_gist_tokens=1)
    with pytest.raises(RuntimeError, match="nothing was masked"):
        model(input_ids=torch.tensor([[3, 4, 5, 6]]))


def test_it_shows_when_a_model_makes_its_mask_by_itself() -> None:
    config = transformers.OpenAIGPTConfig(vocab_size=260, n_embd=32, n_layer=2, n_head=4)
    model = transformers.AutoModelForCausalLM.from_config(config)
    attention.attach_gist_attention(model, condition="gist", gist_token_id=5, num_gist_tokens=1)
    with pytest.raises(RuntimeError, match="makes its attention mask by itself, so nothing was masked"):
        model(input_ids=torch.tensor([[3, 4, 5, 6]]))


@pytest.mark.parametrize("condition", masks.CONDITIONS)
@pytest.mark.parametrize("family", DECODERS)
def test_a_pass_may_end_at_any_token_from_the_last_gist_token_on(family: str, condition: str) -> None:
    """What is left of the prompt then sees no more than in one pass: a gist token sees the instruction, what follows not."""
    gist_model, _ = pair(family, condition, 2)
    head, tail = gist_model.encode_instructions(["Sort the list."])[0], gist_model.encode_inputs(["pear, fig"])[0]
    whole = torch.tensor([head + tail])
    with torch.inference_mode():
        expected = gist_model.model(input_ids=whole).logits
        for length in (len(head), len(head) + 1, len(head) + 3):
            begun = gist_model.model(input_ids=whole[:, :length], use_cache=True)
            rest = gist_model.model(
                input_ids=whole[:, length:],
                position_ids=torch.arange(length, whole.shape[1])[None],
                **{attention.CACHE_NAME: begun[attention.CACHE_NAME]},
            )
            torch.testing.assert_close(rest.logits, expected[:, length:], atol=1e-4, rtol=1e-4)


def test_a_packed_row_may_go_to_the_decoder_itself_and_its_bounds_end_with_the_call() -> None:
    gist_model, _ = pair("llama", "pos_control", 2)
    document = gist_model.encode_instructions(["Sort."])[0] + gist_model.encode_inputs(["b, a"])[0]
    ids, length = torch.tensor([document * 2]), len(document)
    packed = {
        "position_ids": torch.arange(length).repeat(2)[None],
        "first_visible": torch.tensor([[0] * length + [length] * length]),
    }
    with torch.inference_mode():
        whole = gist_model.model(input_ids=ids, **packed).logits
        states = gist_model.model.get_decoder()(input_ids=ids, **packed).last_hidden_state
        assert torch.equal(gist_model.model.get_output_embeddings()(states), whole)
        torch.testing.assert_close(whole[:, length:], whole[:, :length], atol=1e-4, rtol=1e-4)
        plain = gist_model.model(input_ids=ids).logits
        assert float((plain - whole).abs().max()) > 0.1
        with pytest.raises(ValueError, match="inputs_embeds alone cannot be masked"):
            gist_model.model(inputs_embeds=torch.zeros(1, 2 * length, 32), **packed)
        states = gist_model.model.get_decoder()(input_ids=ids).last_hidden_state
        assert torch.equal(gist_model.model.get_output_embeddings()(states), plain)


def test_a_mask_that_is_already_expanded_is_refused() -> None:
    gist_model, _ = pair("llama", "gist", 2)
    with pytest.raises(ValueError, match="two-dimensional"):
        gist_model.model(input_ids=torch.tensor([[5, 259, 259, 6]]), attention_mask=torch.ones(1, 1, 4, 4))


def test_other_models_of_the_process_are_left_alone() -> None:
    _, stock = pair("llama", "gist", 2)
    ids = torch.arange(3, 30)[None]
    with torch.inference_mode():
        before = stock(input_ids=ids).logits
        tiny_gist_model("llama", "neg_control", 1)
        assert torch.equal(before, stock(input_ids=ids).logits)
