"""The benchmark measures what it says: FLOPs by formula equal FLOPs by counting, and caches cost less."""

import pytest

from gist_core.benchmark.measure import STRATEGIES, Prompt, measure
from gist_core.benchmark.summary import summarise
from tests.tiny import tiny_gist_model

PROMPTS = [Prompt(f"{n}", "Say it again, " * (n + 2), "x" * (5 + n)) for n in range(4)]


@pytest.mark.parametrize("family", ["llama", "gemma3", "t5", "t5_v1_1"])
def test_flops_by_formula_equal_flops_by_counting(family: str) -> None:
    rows = list(measure(tiny_gist_model(family, "gist", 2), PROMPTS, batch_sizes=[1, 3], warmup=0, repeats=1, seed=0))
    assert {row["strategy"] for row in rows} == set(STRATEGIES)
    assert len(rows) == len(PROMPTS) * len(STRATEGIES) * 2
    for row in rows:
        assert row["gflops_formula"] == pytest.approx(row["gflops_counted"], rel=0.01), row


def test_a_gist_costs_less_than_the_instruction_and_that_less_than_nothing_cached() -> None:
    rows = list(measure(tiny_gist_model("llama", "gist", 2), PROMPTS, batch_sizes=[1], warmup=0, repeats=2, seed=0))
    summary = summarise(rows, resamples=50, seed=0)["batch_sizes"]["1"]
    flops = {strategy: summary["strategies"][strategy]["gflops_counted"] for strategy in STRATEGIES}
    assert flops["gist"] < flops["instruction"] < flops["none"]
    kv = {strategy: summary["strategies"][strategy]["kv_bytes"] for strategy in STRATEGIES}
    assert 0 == kv["none"] < kv["gist"] < kv["instruction"]
