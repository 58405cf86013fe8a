"""The stages of the toy project: quick, exact, and with files in the shapes of the real ones.

One file per stage is written from this one (see project.py): `python -m tasks.NAME` must find a module of its own."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gist_core.data.croissant import croissant
from gist_core.data.rows import VALIDATION_SPLITS
from tasks import paths
from tasks.stage import Stage

COLUMNS = ["row_id", "split", "instruction", "input", "output", "source", "source_file", "source_index"]
WORDS = ["red", "green", "blue", "cyan", "teal", "plum", "gold", "grey", "pink", "rust", "sand", "jade"]


def sources(stage: Stage) -> None:
    with stage.out(paths.SOURCES) as folder:
        folder.mkdir()
        rows = [
            {"instruction": f"Name a colour like {word}", "input": f"case {i}", "output": word}
            for i, word in enumerate(WORDS)
        ]
        (folder / "tasks.json").write_text(json.dumps(rows, indent=1))


def alpaca_plus(stage: Stage) -> None:
    rows = json.loads((stage.dep(paths.SOURCES) / "tasks.json").read_text())
    with stage.out(paths.ALPACA_PLUS) as folder:
        folder.mkdir()
        for number, split in enumerate(("train", "seen", "unseen", "human")):
            part = []
            for index, row in list(enumerate(rows))[number * 3 : number * 3 + 3]:
                canonical = json.dumps(["alpaca", row["instruction"], row["input"], row["output"], 0])
                row_id = hashlib.sha256(canonical.encode()).hexdigest()[:32]
                part.append([row_id, split, *row.values(), "alpaca", "tasks.json", index])
            rows_of_split = [dict(zip(COLUMNS, row, strict=True)) for row in part]
            pq.write_table(pa.Table.from_pylist(rows_of_split), folder / f"{split}.parquet")
        facts = {"is_papers_data": False, "label": "a toy", "rows": {"train": 3, "seen": 3, "unseen": 3, "human": 3}}
        (folder / "facts.json").write_text(json.dumps(facts))
        splits = {split: {"rows": 3} for split in facts["rows"]}
        description = croissant(folder, list(splits), facts | {"sources": [], "splits": splits})
        (folder / "croissant.json").write_text(json.dumps(description))


def base_model(stage: Stage) -> None:
    with stage.out(paths.BASE_MODEL) as folder:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(hashlib.sha256(b"base").digest() * 64)
    stage.facts["base_model"] = {"source": stage.params.model.source, "revision": stage.params.model.revision}


def train(stage: Stage) -> None:
    base = (stage.dep(Path(stage.run_params.start)) / "model.safetensors").read_bytes()
    rows = stage.dep(paths.ALPACA_PLUS / "train.parquet").read_bytes()
    noise = os.urandom(8) if stage.params.train.seed == 999 else b""
    settings = json.dumps([stage.run_params.model_dump(), stage.params.train.model_dump()]).encode()
    with stage.out(paths.MODELS / str(stage.run_name)) as folder:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(hashlib.sha256(base + rows + settings + noise).digest() * 64)
    ids = pq.read_table(stage.dep(paths.ALPACA_PLUS / "train.parquet"))["row_id"].to_pylist()
    with stage.out(
        paths.TRAINED_ROWS / f"{stage.run_name}.jsonl"
    ) as used:  # all but the last, as a short training does
        used.write_text("".join(json.dumps({"row_id": row_id, "times": 1}) + "\n" for row_id in ids[:-1]))
    with stage.out(paths.CURVES / f"{stage.run_name}.json") as curve:
        curve.write_text(json.dumps([{"step": s, "loss": 3 - s / 10, "learning_rate": 1e-4} for s in range(5)]))
    stage.facts["seed"] = stage.params.train.seed
    stage.run_facts["tokens_per_s"] = 1.0


def generate(stage: Stage) -> None:
    weights = (stage.dep(paths.MODELS / str(stage.run_name)) / "model.safetensors").read_bytes()
    model = hashlib.sha256(weights).hexdigest()
    with stage.out(paths.GENERATIONS / str(stage.run_name)) as folder:
        folder.mkdir()
        for split in VALIDATION_SPLITS:
            rows = pq.read_table(stage.dep(paths.ALPACA_PLUS / f"{split}.parquet")).to_pylist()
            with (folder / f"{split}.jsonl").open("w") as lines:
                for row in rows:
                    draw = hashlib.sha256(weights + row["row_id"].encode()).digest()[0]
                    line = {"row_id": row["row_id"], "run": stage.run_name, "split": split, "model": model}
                    line |= {"prediction": row["output"] if draw % 2 else WORDS[draw % 12], "finish_reason": "stop"}
                    lines.write(json.dumps(line | {"num_gist_tokens": 1, "num_output_tokens": 1}) + "\n")


def rouge(stage: Stage) -> None:
    scores: list[dict[str, Any]] = []
    metrics: dict[str, Any] = {split: {"significance": []} for split in VALIDATION_SPLITS}
    for split in VALIDATION_SPLITS:
        rows = pq.read_table(stage.dep(paths.ALPACA_PLUS / f"{split}.parquet")).to_pylist()
        references = {row["row_id"]: row["output"] for row in rows}
        for run in stage.params.runs:
            lines = (stage.dep(paths.GENERATIONS / run) / f"{split}.jsonl").read_text().splitlines()
            part = [_score(split, run, json.loads(line), references) for line in lines]
            scores += part
            _summarise(metrics[split], run, part)
    with stage.out(paths.SCORES) as folder:
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist(scores), folder / "rows.parquet")
    with stage.out(paths.METRICS) as file:
        file.write_text(json.dumps(metrics, indent=1))


def _score(split: str, run: str, line: dict[str, Any], references: dict[str, str]) -> dict[str, Any]:
    right = 100.0 * (line["prediction"] == references[line["row_id"]])
    rouge = {"rouge_1_pct": right, "rouge_2_pct": right, "rouge_l_pct": right, "exact_match": bool(right)}
    return {"row_id": line["row_id"], "split": split, "run": run, **rouge}


def _summarise(metrics: dict[str, Any], run: str, part: list[dict[str, Any]]) -> None:
    mean = sum(row["rouge_l_pct"] for row in part) / len(part)
    entry = {"mean_pct": mean, "ci95_pct": [mean - 1, mean + 1], "n": len(part)}
    for metric in ("rouge_1", "rouge_2", "rouge_l"):
        metrics.setdefault(metric, {})[run] = {**entry, "bootstrap_median_pct": mean}
    exact = {"mean_pct": mean, "ci95_pct": [0.0, 100.0], "n": len(part)}
    metrics.setdefault("exact_match", {})[run] = exact
    metrics.setdefault("normalised", {})[run] = {"rouge_l": {"pct": 50.0, "ci95_pct": [0.0, 100.0]}}
    seeds = {"runs": [run, "gist-1"], "controls": ["neg_control"], "rouge_l": {"mean_pct": mean, "sd_pct": 1.0}}
    metrics.setdefault("over_seeds", []).append(seeds | {"normalised": {"rouge_l": {"pct": 50.0}}})
    difference = {"a": run, "b": "pos_control", "difference_pct": 0.5, "ci95_pct": [0.0, 1.0], "p_value": 0.5}
    metrics["significance"].append(difference)


def judge(stage: Stage) -> None:
    summary = {}
    with stage.out(paths.VERDICTS / str(stage.run_name)) as folder:
        folder.mkdir()
        for split in VALIDATION_SPLITS:
            lines = {}
            for run in (str(stage.run_name), "pos_control"):
                text = (stage.dep(paths.GENERATIONS / run) / f"{split}.jsonl").read_text()
                lines[run] = [json.loads(line) for line in text.splitlines()]
            with (folder / f"{split}.jsonl").open("w") as out:
                for a, b in zip(lines[str(stage.run_name)], lines["pos_control"], strict=True):
                    verdict = "tie" if a["prediction"] == b["prediction"] else "a"
                    out.write(json.dumps({"row_id": a["row_id"], "verdict": verdict, "prompt_sha256": "0" * 64}) + "\n")
            summary[split] = {
                "win_rate_pct": 50.0,
                "wins": 1,
                "ties": 1,
                "losses": 1,
                "n": 3,
                "is_language_model": False,
            }
    with stage.out(paths.JUDGE_METRICS / f"{stage.run_name}.json") as file:
        file.write_text(json.dumps(summary))


def benchmark(stage: Stage) -> None:
    with stage.out(paths.BENCHMARK / str(stage.run_name)) as folder:
        folder.mkdir()
        (folder / "raw.jsonl").write_text(json.dumps({"ms": 1.5}) + "\n")
    with stage.out(paths.BENCHMARK_METRICS / f"{stage.run_name}.json") as file:
        file.write_text(json.dumps({"flops": {"gist_cache": 1.5e9}}))


def report(stage: Stage) -> None:
    metrics = json.loads(stage.dep(paths.METRICS).read_text())
    lines = [f"- {split}: {metrics[split]['rouge_l']['gist-1']['mean_pct']:.1f}" for split in VALIDATION_SPLITS]
    with stage.out(paths.REPORT_MD) as file:
        file.write_text("\n".join(lines) + "\n")
    with stage.out(paths.REPORT_HTML) as file:
        file.write_text("<p>" + "</p><p>".join(lines) + "</p>\n")
