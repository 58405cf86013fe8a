"""Generation from cached gists gives what masked generation of the full prompt gives; caches can be cut, joined, stored."""

import functools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
)

from gist_core.cache import GistCache, compress, generate, load_cache, save_cache
from gist_core.cache.gist_cache import Keeps
from gist_core.masks import CONDITIONS, Condition
from gist_core.models import attention
from gist_core.models.attention import CACHE_NAME
from gist_core.models.gist_model import GistModel
from tests.tiny import FAMILIES, tiny_gist_model

LOGITS_TOLERANCE = 1e-4
MIXED = [("Sort.", "pear, fig"), ("a" * 300, ""), ("Say it in French, please.", "Good morning."), ("b" * 40, "x" * 60)]


class Record(LogitsProcessor):
    """Keeps the logits of every step of a generation, without that of the gist token, which is excluded afterwards."""

    def __init__(self, gist_token_id: int) -> None:
        self.gist_token_id = gist_token_id
        self.steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        others = torch.arange(scores.shape[1]) != self.gist_token_id
        self.steps.append(scores[:, others])
        return scores


@functools.cache
def model(family: str, k: int, bos: bool = False) -> GistModel:
    return tiny_gist_model(family, "gist", k, bos=bos)


def both_ways(gist_model: GistModel, prompts: list[tuple[str, str]], **kwargs: object) -> tuple[bool, float]:
    """Whether cached and masked generation give the same tokens, and the largest difference of their logits (relative)."""
    instructions, inputs = [p[0] for p in prompts], [p[1] for p in prompts]
    masked, cached = Record(gist_model.gist_token_id), Record(gist_model.gist_token_id)
    kwargs = {"max_new_tokens": 8, "do_sample": False} | kwargs
    a = gist_model.generate_masked(instructions, inputs, logits_processor=LogitsProcessorList([masked]), **kwargs)
    cache = compress(gist_model, instructions)
    b = generate(gist_model, cache, inputs, logits_processor=LogitsProcessorList([cached]), **kwargs)
    pairs = list(zip(masked.steps, cached.steps, strict=False))
    error = max(float((x - y).abs().max() / x.abs().max().clamp(min=1)) for x, y in pairs)
    return torch.equal(a, b), error


texts = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=300)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=5, derandomize=True)
@given(
    k=st.sampled_from([1, 2, 5, 10]),
    prompts=st.integers(0, 2).flatmap(
        lambda n: st.lists(
            st.tuples(texts, st.text("ABC ", max_size=30)), min_size=2**n * (n > 0) or 1, max_size=[1, 2, 8][n]
        )
    ),
    beams=st.sampled_from([1, 1, 3]),
)
def test_cached_generation_equals_masked_generation(
    family: str, k: int, prompts: list[tuple[str, str]], beams: int
) -> None:
    same, error = both_ways(model(family, k), prompts, num_beams=beams)
    assert error < LOGITS_TOLERANCE
    assert same


@pytest.mark.parametrize("k", [1, 2, 5, 10])
@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_of_1_to_300_tokens_share_a_batch(family: str, k: int) -> None:
    same, error = both_ways(model(family, k), MIXED * 2)
    assert error < LOGITS_TOLERANCE
    assert same


def test_a_tokenizer_with_bos_is_served_too() -> None:
    same, _ = both_ways(model("llama", 2, bos=True), MIXED)
    assert same
    assert compress(model("llama", 2, bos=True), ["ab"]).prompt_tokens.tolist() == [len("Instruction: ab\n")]


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_it_shows_when_positions_do_not_go_on(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = GistCache.to
    shifted = lambda self, *args, **kwargs: replace(original(self, *args, **kwargs), positions=self.positions * 0)  # noqa: E731
    monkeypatch.setattr(GistCache, "to", shifted)
    _, error = both_ways(model(family, 2), MIXED)
    assert error > 10 * LOGITS_TOLERANCE


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_it_shows_when_the_window_counts_slots(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_slot(layout: object, window: int, q_offset: int) -> object:
        return lambda batch, head, query, key: query - key < window

    monkeypatch.setattr(attention, "_window", by_slot)
    _, error = both_ways(model(family, 2), MIXED)
    assert error > 10 * LOGITS_TOLERANCE


@pytest.mark.parametrize("family", ["llama", "gemma3", "t5"])
def test_one_prompt_serves_many_inputs_and_rows_can_be_picked_and_joined(family: str) -> None:
    gist_model = model(family, 2)
    instructions, inputs = [p[0] for p in MIXED], ["pear, fig", "three", "A b c", ""]
    whole = compress(gist_model, instructions)
    one = generate(gist_model, whole.select([2]), inputs, max_new_tokens=6)
    assert torch.equal(one, gist_model.generate_masked([instructions[2]] * 4, inputs, max_new_tokens=6))
    joined = GistCache.concatenate([whole.select([3, 1]), whole.select([0])])
    assert joined.prompt_hashes == (whole.prompt_hashes[3], whole.prompt_hashes[1], whole.prompt_hashes[0])
    again = generate(gist_model, joined, inputs[:3], max_new_tokens=6)
    expected = gist_model.generate_masked([instructions[i] for i in (3, 1, 0)], inputs[:3], max_new_tokens=6)
    assert torch.equal(again, expected)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_threads_do_not_mix_up_their_prompts(family: str) -> None:
    gist_model = model(family, 2)
    prompts = [
        (text, f"{number}, {number}") for number, text in enumerate(["Sort.", "Count it!", "Say it in French"] * 4)
    ]

    def answer(prompt: tuple[str, str]) -> list[int]:
        cache = compress(gist_model, [prompt[0]])
        return generate(gist_model, cache, [prompt[1]], max_new_tokens=4).tolist()

    alone = [answer(prompt) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(answer, prompts * 3)) == alone * 3


def test_what_the_base_model_sets_for_generation_does_not_count(tmp_path: Path) -> None:
    base = model("llama", 2)
    stock = tiny_gist_model("llama", "gist", 2)
    stock.model.generation_config.update(repetition_penalty=1.5, num_beams=3, use_cache=False, eos_token_id=7)
    again = GistModel(stock.model, stock.tokenizer, stock.settings)
    instructions, inputs = [p[0] for p in MIXED], [p[1] for p in MIXED]
    expected = base.generate_masked(instructions, inputs, max_new_tokens=8)
    assert torch.equal(again.generate_masked(instructions, inputs, max_new_tokens=8), expected)
    assert torch.equal(generate(again, compress(again, instructions), inputs, max_new_tokens=8), expected)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_beams_may_come_in_a_generation_config(family: str) -> None:
    gist_model, config = model(family, 2), GenerationConfig(num_beams=3, max_new_tokens=6, suppress_tokens=[9])
    cache = compress(gist_model, ["Sort.", "Count."])
    found = generate(gist_model, cache, ["b, a", "c"], generation_config=config)
    spelled = {"num_beams": 3, "max_new_tokens": 6, "suppress_tokens": [9]}
    assert torch.equal(found, generate(gist_model, cache, ["b, a", "c"], **spelled))
    assert torch.equal(found, gist_model.generate_masked(["Sort.", "Count."], ["b, a", "c"], **spelled))


@pytest.mark.parametrize(
    ("family", "condition", "keep"),
    [("llama", "gist", "gist"), ("mistral", "gist", "gist"), ("llama", "pos_control", "instruction")],
)
def test_what_assisted_decoding_rejects_leaves_no_trace(family: str, condition: Condition, keep: Keeps) -> None:
    """Looking up likely tokens in the prompt changes the speed alone; a window must not count the tokens taken back, and
    what is cached, with its padding, stays as visible as it was."""
    prompt, text = "Say it again and again and again, as it was said before.", "again and again, as it was"
    for seed in range(4):
        gist_model = tiny_gist_model(family, condition, 2, seed=seed)
        cache = compress(gist_model, [prompt, prompt * 2], keep=keep).select([0])
        plain = generate(gist_model, cache, [text], max_new_tokens=40, do_sample=False)
        looked_up = generate(
            gist_model,
            cache,
            [text],
            max_new_tokens=40,
            do_sample=False,
            prompt_lookup_num_tokens=5,
            max_matching_ngram_size=1,
        )
        assert torch.equal(plain, looked_up)


@pytest.mark.parametrize("option", ["generation_config", "num_beams", "num_return_sequences"])
def test_an_option_of_generation_that_is_none_is_as_if_not_given(option: str) -> None:
    gist_model = model("llama", 2)
    cache, unset = compress(gist_model, ["Sort."]), {option: None}
    expected = generate(gist_model, cache, ["b, a"], max_new_tokens=6)
    assert torch.equal(generate(gist_model, cache, ["b, a"], max_new_tokens=6, **unset), expected)
    assert torch.equal(gist_model.generate_masked(["Sort."], ["b, a"], max_new_tokens=6, **unset), expected)


def test_the_gist_token_is_no_answer_whatever_else_is_suppressed() -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    gist_model.model.get_output_embeddings().weight.data[gist_model.gist_token_id] *= 50
    cache = compress(gist_model, ["Sort."])

    def favour(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.index_fill(1, torch.tensor([gist_model.gist_token_id]), 1e9)

    for also in (
        {"suppress_tokens": [5]},
        {"logits_processor": [SuppressTokensLogitsProcessor([5])]},
        {"logits_processor": [favour]},
    ):
        assert gist_model.gist_token_id not in generate(gist_model, cache, ["b, a"], max_new_tokens=8, **also)
    for wrong in ({"use_cache": False}, {"return_dict_in_generate": True}):
        with pytest.raises(ValueError, match="cannot be served"):
            generate(gist_model, cache, ["b, a"], **wrong)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_batch_size_of_compression_does_not_matter(family: str) -> None:
    gist_model = model(family, 2)
    together = compress(gist_model, [p[0] for p in MIXED], batch_size=8)
    one_by_one = compress(gist_model, [p[0] for p in MIXED], batch_size=1)
    for a, b in zip((*together.keys, *together.values), (*one_by_one.keys, *one_by_one.values), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_batch_size_of_generation_does_not_matter(family: str) -> None:
    gist_model = model(family, 2)
    cache = compress(gist_model, [p[0] for p in MIXED])
    masked = [
        gist_model.generate_masked(*zip(*MIXED, strict=True), batch_size=size, max_new_tokens=6, num_beams=2)
        for size in (3, 8)
    ]
    assert torch.equal(*masked)
    for prompts, inputs in ((cache, [p[1] for p in MIXED]), (cache.select([1]), ["b, a", "", "x" * 40])):
        for options in ({"num_beams": 2}, {"num_beams": 2, "num_return_sequences": 2}):
            together = generate(gist_model, prompts, inputs, max_new_tokens=6, **options)
            parts = generate(gist_model, prompts, inputs, batch_size=2, max_new_tokens=6, **options)
            assert torch.equal(together, parts)


def test_answers_of_several_batches_are_padded_to_one_width() -> None:
    gist_model = model("llama", 2)
    cache, inputs = compress(gist_model, ["Sort."]), ["b, a", "x" * 40]
    first = generate(gist_model, cache, inputs[:1], max_new_tokens=8)[0].tolist()
    second = generate(gist_model, cache, inputs[1:], max_new_tokens=8)[0].tolist()
    end = next(token for token in first if token not in second)  # it ends the first answer alone
    rows = generate(gist_model, cache, inputs, batch_size=1, max_new_tokens=8, eos_token_id=end).tolist()
    assert rows[1] == second
    length = first.index(end) + 1
    assert rows[0] == first[:length] + [gist_model.tokenizer.pad_token_id] * (8 - length)


def test_generation_leaves_the_cache_as_it_was() -> None:
    gist_model = model("llama", 2)
    cache = compress(gist_model, ["Sort."])
    before = [keys.clone() for keys in cache.keys]
    first = generate(gist_model, cache, ["b, a"], max_new_tokens=6)
    assert torch.equal(first, generate(gist_model, cache, ["b, a"], max_new_tokens=6))
    assert all(torch.equal(a, b) for a, b in zip(before, cache.keys, strict=True))


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3"])
def test_an_instruction_cache_equals_the_full_prompt_in_every_condition(family: str) -> None:
    answers = []
    for condition in CONDITIONS:
        gist_model = tiny_gist_model(family, condition, 2)
        cache = compress(gist_model, [p[0] for p in MIXED], keep="instruction")
        assert cache.compression_factors == [1.0] * len(MIXED)
        found = generate(gist_model, cache, [p[1] for p in MIXED], max_new_tokens=8)
        assert torch.equal(
            found, gist_model.generate_masked([p[0] for p in MIXED], [p[1] for p in MIXED], max_new_tokens=8)
        )
        answers.append(found)
    if family != "gemma3":  # whose tiny one answers alike whatever it sees
        assert len({str(tokens.tolist()) for tokens in answers}) == len(CONDITIONS)


def test_an_instruction_cache_of_an_encoder_decoder_is_for_timing_alone() -> None:
    cache = compress(model("t5", 2), ["Sort."], keep="instruction")
    with pytest.raises(ValueError, match='compress with keep="gist"'):
        generate(model("t5", 2), cache, ["b, a"])


def test_sizes_are_counted() -> None:
    gist_model = model("llama", 2)
    cache = compress(gist_model, ["ab"])
    layers, kv_heads, head_dim, fp32 = 3, 2, 8, 4
    assert cache.nbytes == layers * 2 * kv_heads * 2 * head_dim * fp32
    assert cache.compression_factors == [len("Instruction: ab\n") / 2]
    assert cache.nbytes_uncompressed == cache.nbytes // 2 * len("Instruction: ab\n")
    assert cache.to(dtype=torch.bfloat16).nbytes == cache.nbytes // 2


# --- storage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_stored_cache_gives_the_same_tokens(family: str, tmp_path: Path) -> None:
    gist_model = model(family, 2)
    cache = compress(gist_model, [p[0] for p in MIXED])
    save_cache(cache, tmp_path / "cache.safetensors")
    loaded = load_cache(tmp_path / "cache.safetensors")
    assert loaded.origin == cache.origin
    assert loaded.prompt_hashes == cache.prompt_hashes
    inputs = [p[1] for p in MIXED]
    assert torch.equal(generate(gist_model, cache, inputs), generate(gist_model, loaded, inputs))


def test_a_cache_travels_to_another_process(tmp_path: Path) -> None:
    gist_model = model("llama", 2)
    save_cache(compress(gist_model, ["Sort."]), tmp_path / "cache.safetensors")
    program = (
        "from tests.tiny import tiny_gist_model; from gist_core.cache import generate, load_cache;"
        f"cache = load_cache({str(tmp_path / 'cache.safetensors')!r});"
        "print(generate(tiny_gist_model('llama', 'gist', 2), cache, ['b, a'], max_new_tokens=6).tolist())"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(
        generate(gist_model, compress(gist_model, ["Sort."]), ["b, a"], max_new_tokens=6).tolist()
    )


def test_a_cache_of_another_model_or_k_is_refused() -> None:
    cache = compress(model("llama", 2), ["Sort."])
    with pytest.raises(ValueError, match="num_gist_tokens is 2, the model's 5"):
        generate(model("llama", 5), cache, ["x"])
    with pytest.raises(ValueError, match="model_fingerprint"):
        generate(tiny_gist_model("llama", "gist", 2, seed=1), cache, ["x"])
    with pytest.raises(
        ValueError, match="model_fingerprint"
    ):  # the same weights, which another config puts to another use
        generate(tiny_gist_model("llama", "gist", 2, rms_norm_eps=1e-5), cache, ["x"])
    with pytest.raises(ValueError, match="different origin"):
        GistCache.concatenate([cache, compress(model("llama", 5), ["Sort."])])


def test_the_scale_of_an_adapter_is_part_of_a_model() -> None:
    """It stands in the adapter's config alone: in neither the weights nor the model's config."""
    prints = set()
    for alpha in (1, 64):
        gist_model = tiny_gist_model("llama", "gist", 2)
        torch.manual_seed(0)
        config = LoraConfig(target_modules=["q_proj"], lora_alpha=alpha, init_lora_weights=False)
        gist_model.model = get_peft_model(gist_model.model, config)
        prints |= {gist_model.fingerprint}
    assert len(prints) == 2


def test_a_model_whose_state_is_not_of_tensors_has_no_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    monkeypatch.setattr(gist_model.model, "state_dict", lambda: {"lm_head._packed_params": (torch.zeros(1), None)})
    with pytest.raises(ValueError, match=r"lm_head\._packed_params is a tuple and no tensor"):
        compress(gist_model, ["Sort."])


def test_a_model_that_is_published_with_a_card_is_still_the_model_of_its_caches(tmp_path: Path) -> None:
    trained = tmp_path / "model"
    gist_model = model("llama", 2)
    gist_model.model.save_pretrained(trained)
    gist_model.tokenizer.save_pretrained(trained)
    gist_model.settings.save(trained)
    cache = compress(GistModel.from_pretrained(trained), ["Sort."])
    (trained / "README.md").write_text("# A card")
    (trained / ".gitattributes").write_text("*.safetensors filter=lfs")
    (trained / ".cache").mkdir()
    (trained / ".cache" / "download.lock").write_text("")
    generate(GistModel.from_pretrained(trained), cache, ["b, a"], max_new_tokens=2)
    (trained / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ValueError, match="model_fingerprint"):
        generate(GistModel.from_pretrained(trained), cache, ["b, a"], max_new_tokens=2)


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache.safetensors"
    save_cache(compress(model("llama", 2), ["Sort."]), path)
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cut short or damaged"):
            load_cache(path)
    for place in range(len(whole) - 1, 0, -len(whole) // 40):  # tensors and header
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"damaged|not a gist cache"):
            load_cache(path)
    with pytest.raises(ValueError, match="no cache at"):
        load_cache(tmp_path / "nothing")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not a gist cache"):
        load_cache(path)
    with pytest.raises(ValueError, match="cannot be written"):
        save_cache(compress(model("llama", 2), ["Sort."]), tmp_path / "missing" / "cache.safetensors")
    (tmp_path / "gist.json").touch()
    with pytest.raises(ValueError, match="is a model's folder"):
        save_cache(compress(model("llama", 2), ["Sort."]), tmp_path / "cache.safetensors")


# --- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        ([], "no prompts"),
        ([""], "empty"),
        (["  \n"], "empty"),
        (["Say <GIST> twice"], "literal text '<GIST>' at character 4"),
    ],
)
def test_prompts_that_cannot_be_compressed_are_refused(instructions: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compress(model("llama", 2), instructions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": "all"}, "keep is 'all'; it must be one of 'gist', 'instruction'"),
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number from 1"),
    ],
)
def test_options_that_compress_does_not_have_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compress(model("llama", 2), ["Sort."], **options)


def test_a_cache_below_the_folder_of_a_model_is_refused(tmp_path: Path) -> None:
    gist_model = model("llama", 2)
    gist_model.settings.save(tmp_path)
    (tmp_path / "caches").mkdir()
    with pytest.raises(ValueError, match="is a model's folder, all of which its fingerprint covers"):
        save_cache(compress(gist_model, ["Sort."]), tmp_path / "caches/a.safetensors")


def test_keys_and_values_stay_floating_point() -> None:
    with pytest.raises(ValueError, match=r"dtype is torch\.int8; .* floating-point"):
        compress(model("llama", 2), ["Sort."]).to(dtype=torch.int8)


@pytest.mark.parametrize(
    "rows", [1, None, slice(1), {0}, {0: 1}, b"\0", ["0"], [0, None], [[0], [0, 1]], [[0, 1]], [0.5]]
)
def test_rows_that_are_no_list_of_row_numbers_are_refused(rows: Any) -> None:
    with pytest.raises(ValueError, match="must be a list of row numbers"):
        compress(model("llama", 2), ["Sort.", "Count."]).select(rows)


def test_rows_may_stand_in_anything_that_holds_them_in_order() -> None:
    cache = compress(model("llama", 2), ["Sort.", "Count.", "Add."])
    for rows in ((2, 0), range(2, -1, -2), np.array([2, 0]), pd.Series([2, 0], index=[5, 7]), iter([2, 0])):
        assert cache.select(rows).prompt_hashes == (cache.prompt_hashes[2], cache.prompt_hashes[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": "8"}, "batch_size is '8'; it must be a whole number from 1"),
        ({"max_new_tokens": 1.5}, r"max_new_tokens is 1\.5; it must be a whole number"),
        ({"num_beams": 0}, "num_beams is 0; it must be a whole number"),
        ({"generation_config": {"max_new_tokens": 4}}, r"generation_config is a dict; transformers\.GenerationConfig"),
        ({"guidance_scale": 1.5}, "guidance_scale cannot be served"),
        ({"negative_prompt_ids": torch.ones(1, 3, dtype=torch.long)}, "negative_prompt_ids cannot be served"),
        ({"token_healing": True}, "token_healing cannot be served"),
        ({"cache_implementation": "paged"}, "cache_implementation='paged' cannot be served"),
        (
            {"logits_processor": TemperatureLogitsWarper(2.0)},
            "logits_processor is a TemperatureLogitsWarper; give a list",
        ),
    ],
)
def test_options_that_cannot_be_served_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    gist_model = model("llama", 2)
    for call in (
        lambda: generate(gist_model, compress(gist_model, ["Sort."]), ["b, a"], **options),
        lambda: gist_model.generate_masked(["Sort."], ["b, a"], **options),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_answers_are_given_with_a_key_value_cache_whatever_is_set(family: str) -> None:
    gist_model = tiny_gist_model(family, "gist", 2)
    cache, config = compress(gist_model, ["Sort."]), GenerationConfig(max_new_tokens=6)
    expected = generate(gist_model, cache, ["b, a"], max_new_tokens=6)
    alike = (
        {"use_cache": None, "max_new_tokens": 6},
        {"generation_config": config},
        {"guidance_scale": 1, "max_new_tokens": 6},
    )
    for options in alike:
        assert torch.equal(generate(gist_model, cache, ["b, a"], **options), expected)
        assert torch.equal(gist_model.generate_masked(["Sort."], ["b, a"], **options), expected)
    assert config.use_cache is GenerationConfig().use_cache
    gist_model.model.generation_config.use_cache = False
    assert torch.equal(generate(gist_model, cache, ["b, a"], max_new_tokens=6, use_cache=True), expected)


def test_what_a_config_leaves_open_is_the_models_and_refused_like_it() -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    cache, config = compress(gist_model, ["Sort."]), GenerationConfig(top_k=1)
    own = gist_model.model.generation_config
    for name, value, message in (
        ("use_cache", False, "use_cache=False"),
        ("max_new_tokens", 2000, "longer than the 1,024 tokens"),
        ("guidance_scale", 1.5, "guidance_scale cannot be served"),
        ("repetition_penalty", 3.0, r"repetition_penalty=3\.0 reads the whole prompt"),
    ):
        before = getattr(own, name)
        setattr(own, name, value)
        with pytest.raises(ValueError, match=message):
            generate(gist_model, cache, ["b, a"], generation_config=config)
        setattr(own, name, before)
    own.num_beams = 2
    with_beams = generate(gist_model, cache, ["b, a"], generation_config=config, max_new_tokens=4)
    assert torch.equal(with_beams, generate(gist_model, cache, ["b, a"], num_beams=2, max_new_tokens=4))


def test_only_a_cache_that_grows_continues_a_cached_prompt() -> None:
    gist_model = model("llama", 2)
    cache = compress(gist_model, ["Sort."])
    for name in ("static", "offloaded"):
        with pytest.raises(ValueError, match=f"cache_implementation='{name}' cannot be served"):
            generate(gist_model, cache, ["b, a"], cache_implementation=name)
    expected = generate(gist_model, cache, ["b, a"], max_new_tokens=4)
    assert torch.equal(
        generate(gist_model, cache, ["b, a"], max_new_tokens=4, cache_implementation="dynamic"), expected
    )
    with pytest.raises(ValueError, match="assistant_model reads the whole prompt"):
        generate(gist_model, cache, ["b, a"], assistant_model=gist_model.model)
    with pytest.raises(ValueError, match=r"the cache is a str and no GistCache; load_cache\(path\) reads one"):
        generate(gist_model, "prompts.safetensors", ["b, a"])  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    cache = compress(model("llama", 2), ["Sort."])
    save_cache(cache, tmp_path / "c.safetensors")
    for call in (
        lambda: cache.to("gpu"),
        lambda: load_cache(tmp_path / "c.safetensors", device="gpu"),
        lambda: GistModel.from_pretrained(tmp_path, device="gpu"),
    ):
        with pytest.raises(ValueError, match=r"device 'gpu' cannot be used: .*; here is cpu"):
            call()


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_prompts_beyond_the_models_context_are_refused(family: str) -> None:
    """Rotary positions would go on without a word, learned ones break off with an index error."""
    with pytest.raises(ValueError, match=r"1 of 2 are longer than the 1,024 tokens .* prompt 2 \(1,\d\d\d\)"):
        compress(model(family, 2), ["Sort.", "a" * 1024])
    cache = compress(model(family, 2), ["a" * 600])
    with pytest.raises(ValueError, match=r"1 of 2 are longer than the 1,024 tokens .* input 2 \(1,\d\d\d\)"):
        generate(model(family, 2), cache, ["a", "b" * 500], batch_size=1)
    with pytest.raises(ValueError, match=r"prompt 1 \(1,\d\d\d\)"):
        model(family, 2).generate_masked(["a" * 600], ["b" * 500])
    with pytest.raises(ValueError, match=r"input 1 \(1,\d\d\d\)"):
        generate(model(family, 2), cache, ["b"], generation_config=GenerationConfig(max_new_tokens=400))
    with pytest.raises(ValueError, match=r"prompt 1 \(1,\d\d\d\)"):
        model(family, 2).generate_masked(["a" * 600], ["b"], max_new_tokens=400)
    # Where nothing is asked, transformers makes 20 tokens.
    almost = 1024 - int(cache.positions[0, -1]) - 1 - len(model(family, 2).encode_inputs(["b"])[0])
    with pytest.raises(ValueError, match=r"input 1 \(1,025\)"):
        generate(model(family, 2), cache, ["b" * (almost - 18)])
    assert generate(model(family, 2), cache, ["b" * (almost - 19)], eos_token_id=None).shape == (1, 20)
    with pytest.raises(ValueError, match="max_length=300 counts padding and nothing that is cached"):
        generate(model(family, 2), cache, ["b"], max_length=300)
    with pytest.raises(ValueError, match="max_length=300 counts padding and nothing that is cached"):
        model(family, 2).generate_masked(["Sort."], ["b"], max_length=300)
    compress(model("t5", 2), ["a" * 1024])


def test_long_rotary_models_have_the_context_before_their_positions_change() -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    assert gist_model.max_tokens == 1024
    gist_model.model.config.rope_parameters = {"rope_type": "longrope", "original_max_position_embeddings": 64}
    assert gist_model.max_tokens == 64
    gist_model.model.config.rope_parameters = {"rope_type": "longrope"}
    gist_model.model.config.original_max_position_embeddings = 128  # where Phi-3 has it
    assert gist_model.max_tokens == 128


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("repetition_penalty", 1.3),
        ("no_repeat_ngram_size", 2),
        ("min_length", 30),
        ("encoder_no_repeat_ngram_size", 2),
        ("encoder_repetition_penalty", 1.3),
        ("prefill_chunk_size", 4),
    ],
)
def test_options_that_read_the_prompt_are_refused_where_a_cache_has_not_its_tokens(
    family: str, option: str, value: Any
) -> None:
    gist_model = model(family, 2)
    cache = compress(gist_model, ["Sort."])
    if family == "t5" and "encoder" not in option and option != "prefill_chunk_size":  # of the answer alone
        asked = {option: value, "max_new_tokens": 40}
        assert torch.equal(
            generate(gist_model, cache, ["b"], **asked), gist_model.generate_masked(["Sort."], ["b"], **asked)
        )
        return
    for options in ({option: value}, {"generation_config": GenerationConfig(**{option: value})}):
        with pytest.raises(ValueError, match=f"{option}={value} reads the whole prompt"):
            generate(gist_model, cache, ["b"], **options)


def test_a_model_in_training_mode_is_refused() -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    cache = compress(gist_model, ["Sort."])
    gist_model.model.train()
    for call in (
        lambda: compress(gist_model, ["Sort."]),
        lambda: generate(gist_model, cache, ["b"]),
        lambda: gist_model.generate_masked(["Sort."], ["b"]),
    ):
        with pytest.raises(ValueError, match=r"in training mode.*model\.eval\(\)"):
            call()


def test_a_control_has_no_gist_to_keep() -> None:
    with pytest.raises(ValueError, match="trained under 'pos_control'"):
        compress(tiny_gist_model("llama", "pos_control", 1), ["Sort."])


def test_what_cannot_be_repeated_or_joined_is_refused() -> None:
    cache = compress(model("llama", 2), ["Sort.", "Count."])
    with pytest.raises(ValueError, match="times is 0"):
        cache.repeat(0)
    with pytest.raises(ValueError, match="must be a list of caches"):
        GistCache.concatenate(cache)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no caches"):
        GistCache.concatenate(iter([]))
    with pytest.raises(ValueError, match="has a NoneType"):
        GistCache.concatenate([cache, None])  # type: ignore[list-item]
    whole = [compress(model("llama", 2), [text], keep="instruction") for text in ("Sort.", "Count them.")]
    with pytest.raises(ValueError, match="that keep 'gist' and 'instruction' cannot be one batch"):
        GistCache.concatenate([cache, whole[0]])
    with pytest.raises(ValueError, match=r"caches of \d+ and \d+ slots cannot be one batch; compress these"):
        GistCache.concatenate(whole)
    with pytest.raises(
        ValueError, match=r"torch\.float32 and torch\.bfloat16 cannot be one batch; bring them to one `dtype`"
    ):
        GistCache.concatenate([cache, cache.to(dtype=torch.bfloat16)])
    elsewhere = replace(cache, keys=tuple(keys.to("meta") for keys in cache.keys))
    with pytest.raises(
        ValueError, match="caches on cpu and meta cannot be one batch; bring them to one `device` first"
    ):
        GistCache.concatenate([cache, elsewhere])
    assert len(GistCache.concatenate(cache.select([row]) for row in (1, 0))) == 2


def test_all_is_checked_before_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    gist_model, third_is_bad = model("llama", 2), ["a", "b", "c <GIST>"]
    cache = compress(gist_model, ["Sort."])
    monkeypatch.setattr(gist_model.model, "generate", lambda **_: pytest.fail("an answer was begun"))
    with pytest.raises(ValueError, match="number 3 of 3: the input contains the literal text '<GIST>'"):
        generate(gist_model, cache, third_is_bad, batch_size=1)
    with pytest.raises(ValueError, match="number 3 of 3: the input contains the literal text '<GIST>'"):
        gist_model.generate_masked(["Sort."] * 3, third_is_bad, batch_size=1)
    with pytest.raises(ValueError, match="number 2 of 3: the instruction is empty"):
        gist_model.generate_masked(["Sort.", " ", "Count."], ["", "", ""], batch_size=1)
    with pytest.raises(ValueError, match="number 2 of 2: the instruction is empty"):
        compress(gist_model, ["Sort.", " "])
    with pytest.raises(ValueError, match="2 instructions and 1 inputs; give one input for each"):
        gist_model.generate_masked(["Sort.", "Count."], [""])
    with pytest.raises(ValueError, match=r"prompt 3 \(1,\d\d\d\)"):
        gist_model.generate_masked(["Sort."] * 3, ["", "", "b" * 1024], batch_size=1)


def test_inputs_that_do_not_fit_the_cache_are_refused() -> None:
    cache = compress(model("llama", 2), ["Sort.", "Count."])
    with pytest.raises(ValueError, match="2 cached prompts for 3 inputs"):
        generate(model("llama", 2), cache, ["a", "b", "c"])
    with pytest.raises(ValueError, match="2 cached prompts for 0 inputs"):
        generate(model("llama", 2), cache, [])
    with pytest.raises(ValueError, match="no inputs to answer"):
        generate(model("llama", 2), cache.select([0]), [])
    with pytest.raises(ValueError, match="batch_size is 0"):
        generate(model("llama", 2), cache, ["a", "b"], batch_size=0)
    with pytest.raises(ValueError, match="literal text '<GIST>'"):
        generate(model("llama", 2), cache, ["a", "<GIST>"])
    with pytest.raises(ValueError, match="row 2 is out of range"):
        cache.select([0, 2])
    with pytest.raises(ValueError, match="row -1 is out of range"):
        cache.select([-1, 0])
    with pytest.raises(ValueError, match="not a mask"):
        cache.select(torch.tensor([False, True]))
    for texts, message in (
        ("ab", "must be a list of texts"),
        ({"a": "b", "c": "d"}, r"must be a list of texts \(or one column of a table\), not a dict"),
        ({"a", "b"}, "must be a list of texts .*, not a set"),
        (pd.DataFrame({"a": ["c"], "b": ["d"]}), "must be a list of texts .*, not a DataFrame"),
        (None, "must be a list of texts .*, not a NoneType"),
        (["a", None], r"number 2 of the \w+ is None, which is not a text"),
        (["a", float("nan")], r"number 2 of the \w+ is nan, which is not a text"),
        (["\ud800", "b"], r"number 1 of the \w+ is not Unicode"),
    ):
        for call in (
            functools.partial(compress, model("llama", 2)),
            functools.partial(generate, model("llama", 2), cache),
        ):
            with pytest.raises(ValueError, match=message):
                call(texts)


def test_texts_may_stand_in_anything_that_holds_them() -> None:
    gist_model, texts = model("llama", 2), ["Sort.", "Count."]
    answers = generate(gist_model, compress(gist_model, texts), ["a", "b"], max_new_tokens=4)
    for holds in (tuple, np.array, pd.Series, iter, lambda them: dict.fromkeys(them).keys()):
        cache = compress(gist_model, holds(texts))
        assert torch.equal(generate(gist_model, cache, holds(["a", "b"]), max_new_tokens=4), answers)


def test_a_kv_cache_from_elsewhere_is_refused() -> None:
    gist_model = model("llama", 2)
    other = tiny_gist_model("llama", "pos_control", 2)
    foreign = other.model(input_ids=torch.tensor([[5, 6]]), use_cache=True)[CACHE_NAME]
    with pytest.raises(ValueError, match="filled outside gist attention"):
        gist_model.model(input_ids=torch.tensor([[7]]), **{CACHE_NAME: foreign})
