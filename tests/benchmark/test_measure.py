"""The benchmark measures what it says: FLOPs by formula equal FLOPs by counting, and caches cost less."""

import pytest
import torch

from gist_core.benchmark.measure import ForwardPass, _disjoint, measure
from gist_core.benchmark.summary import STRATEGIES, Strategy, summarise
from gist_core.cache import GistCache
from gist_core.data.prompt import Prompt
from gist_core.models.gist_model import GistModel
from tests.tiny import tiny_gist_model

PROMPTS = [Prompt(f"{n}", "Say it again, " * (n + 2), "x" * (5 + n)) for n in range(4)]


@pytest.mark.parametrize("family", ["llama", "gemma3", "t5", "t5_v1_1"])
def test_flops_by_formula_equal_flops_by_counting(family: str) -> None:
    rows = list(measure(tiny_gist_model(family, "gist", 2), PROMPTS, batch_sizes=[1, 3], warmup=0, repeats=1, seed=0))
    assert {row["strategy"] for row in rows} == set(STRATEGIES)
    assert len(rows) == (len(PROMPTS) + 1) * len(STRATEGIES)
    for row in rows:
        assert row["gflops_formula"] == pytest.approx(row["gflops_counted"], rel=0.01), row


def test_a_gist_costs_less_than_the_instruction_and_that_less_than_nothing_cached() -> None:
    rows = list(measure(tiny_gist_model("llama", "gist", 2), PROMPTS, batch_sizes=[1], warmup=0, repeats=2, seed=0))
    summary = summarise(rows, resamples=50, seed=0)["batch_sizes"]["1"]
    flops = {strategy: summary["strategies"][strategy]["gflops_counted"] for strategy in STRATEGIES}
    assert flops["gist"] < flops["instruction"] < flops["none"]
    kv = {strategy: summary["strategies"][strategy]["kv_bytes"] for strategy in STRATEGIES}
    assert 0 == kv["none"] < kv["gist"] < kv["instruction"]


def test_no_prompt_is_in_two_batches_of_a_size_unless_there_are_too_few_for_one() -> None:
    for count, size, batches in ((7, 2, 3), (8, 8, 1), (3, 8, 1), (9, 1, 9)):
        prompts = [Prompt(f"{n}", "Say it.", "x") for n in range(count)]
        drawn = _disjoint(prompts, size)
        assert [len(batch) for batch in drawn] == [size] * batches
        if count >= size:
            assert len({prompt.row_id for batch in drawn for prompt in batch}) == size * batches


def test_a_mixture_of_experts_is_counted_and_has_no_formula() -> None:
    rows = list(measure(tiny_gist_model("mixtral", "gist", 2), PROMPTS, batch_sizes=[1], warmup=0, repeats=1, seed=0))
    assert {row["gflops_formula"] for row in rows} == {None}
    batch = summarise(rows, resamples=50, seed=0)["batch_sizes"]["1"]
    assert batch["formula_vs_counted_max_pct"] is None
    flops = {strategy: batch["strategies"][strategy]["gflops_counted"] for strategy in STRATEGIES}
    assert 0 < flops["gist"] < flops["instruction"] < flops["none"]


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_a_prompt_beyond_the_context_and_no_prompt_are_refused(family: str) -> None:
    gist_model, long = tiny_gist_model(family, "gist", 2), Prompt("long", "x" * 600, "y" * 600)
    for prompts, message in (
        ([*PROMPTS, long], r"1 of 5 are longer than the 1,024 .*row long \(1,2\d\d\)"),
        ([], "no prompts"),
    ):
        with pytest.raises(ValueError, match=message):
            next(measure(gist_model, prompts, batch_sizes=[1], warmup=0, repeats=1, seed=0))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_t5_is_timed_without_what_prepares_its_pass(strategy: Strategy, monkeypatch: pytest.MonkeyPatch) -> None:
    gist_model = tiny_gist_model("t5", "gist", 2)
    run = ForwardPass(gist_model, PROMPTS, strategy)._prepared()
    monkeypatch.setattr("gist_core.models.attention.find_gist_span", lambda *_: pytest.fail("gist tokens were sought"))
    monkeypatch.setattr(GistModel, "encode_inputs", lambda *_: pytest.fail("text was made tokens within the clock"))
    monkeypatch.setattr(GistCache, "as_dynamic_cache", lambda *_: pytest.fail("a cache was copied within the clock"))
    with torch.inference_mode():
        assert run().logits.isfinite().all()


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_without_a_cache_a_model_computes_what_it_does_from_the_gist_and_searches_nothing_within_the_clock(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gist_model = tiny_gist_model(family, "gist", 2)
    passes = [ForwardPass(gist_model, PROMPTS, strategy)._prepared() for strategy in ("none", "gist")]  # type: ignore[arg-type]
    monkeypatch.setattr("gist_core.models.attention.find_gist_span", lambda *_: pytest.fail("gist tokens were sought"))
    with torch.inference_mode():
        whole, cached = (run().logits[:, -1] for run in passes)
    torch.testing.assert_close(whole, cached, atol=1e-4, rtol=1e-4)
