"""The summary of raw measurements: pairing, repeats, missing quantities, determinism."""

import pytest

from gist_core.benchmark.summary import summarise


def row(row_id, strategy, wall_ms, *, repeat=0, batch_size=1, **changes):
    return {
        "row_id": row_id,
        "strategy": strategy,
        "batch_size": batch_size,
        "repeat": repeat,
        "wall_ms": wall_ms,
        "device_ms": None,
        "gflops_formula": 2.0,
        "gflops_counted": 2.01,
        "peak_bytes": 100,
        "kv_bytes": 0 if strategy == "none" else 10,
        "prompt_tokens": 12,
        "instruction_tokens": 8,
        "input_tokens": 4,
    } | changes


ROWS = [
    row("a", "none", 10.0),
    row("a", "none", 14.0, repeat=1),
    row("a", "gist", 6.0),
    row("a", "instruction", 8.0),
    row("b", "none", 20.0),
    row("b", "gist", 15.0),
    row("b", "instruction", 16.0),
    row("c", "none", 1000.0),
]


def test_repeats_are_averaged_before_prompts_and_unpaired_prompts_are_left_out():
    batch = summarise(ROWS, 200, 0)["batch_sizes"]["1"]
    assert (batch["n"], batch["n_unpaired"], batch["repeats"]) == (2, 1, 2)
    assert batch["strategies"]["none"]["wall_ms"] == pytest.approx(16)
    gist = batch["relative"]["gist_vs_none"]["wall_ms"]
    assert gist["pct"] == pytest.approx(100 * (1 - 10.5 / 16))
    # Two prompts: the bootstrap's ends are the prompts themselves, saving 50 % and 25 %.
    assert gist["ci95_pct"] == pytest.approx([25, 50])
    assert batch["relative"]["gist_vs_instruction"]["wall_ms"]["pct"] == pytest.approx(100 * (1 - 10.5 / 12))
    assert batch["formula_vs_counted_max_pct"] == pytest.approx(100 * 0.01 / 2.01)


def test_what_was_not_measured_stays_missing():
    batch = summarise(ROWS, 50, 0)["batch_sizes"]["1"]
    assert batch["strategies"]["gist"]["device_ms"] is None
    assert batch["relative"]["gist_vs_none"]["device_ms"] is None
    assert batch["relative"]["gist_vs_none"]["kv_bytes"] is None


def test_the_same_measurements_give_the_same_summary_in_any_order():
    assert summarise(ROWS, 100, 7) == summarise(reversed(ROWS), 100, 7)


def test_batch_sizes_are_kept_apart():
    rows = ROWS + [row(i, s, 1.0, batch_size=8) for i in "ab" for s in ("none", "gist")]
    summary = summarise(rows, 10, 0)["batch_sizes"]
    assert list(summary) == ["1", "8"]
    assert "gist_vs_instruction" not in summary["8"]["relative"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no measurements"),
        ([row("a", "gits", 1.0)], "unknown strategy 'gits' in row a"),
        ([row("a", "gist", 1.0)], "batch size 1 has no batch"),
    ],
)
def test_measurements_that_compare_nothing_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        summarise(rows, 10, 0)
