"""The stages of the toy project: quick, exact, and with files in the shapes of the real ones.

One file per stage is written from this one (see project.py): `python -m tasks.NAME` must find a module of its own."""

import hashlib
import json
import os

import pandas as pd

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
            pd.DataFrame(part, columns=COLUMNS).to_parquet(folder / f"{split}.parquet", index=False)
        facts = {"is_papers_data": False, "label": "a toy", "rows": {"train": 3, "seen": 3, "unseen": 3, "human": 3}}
        (folder / "facts.json").write_text(json.dumps(facts))


def base_model(stage: Stage) -> None:
    with stage.out(paths.BASE_MODEL) as folder:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(hashlib.sha256(b"base").digest() * 64)
    stage.facts["base_model"] = {"source": stage.params.model.source, "revision": stage.params.model.revision}


def train(stage: Stage) -> None:
    base = (stage.dep(paths.BASE_MODEL) / "model.safetensors").read_bytes()
    rows = stage.dep(paths.ALPACA_PLUS / "train.parquet").read_bytes()
    noise = os.urandom(8) if stage.params.train.seed == 999 else b""
    settings = json.dumps([stage.run_params.model_dump(), stage.params.train.model_dump()]).encode()
    with stage.out(paths.MODELS / str(stage.run_name)) as folder:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(hashlib.sha256(base + rows + settings + noise).digest() * 64)
    with stage.out(paths.CURVES / f"{stage.run_name}.jsonl") as curve:
        curve.write_text(
            "".join(json.dumps({"step": s, "loss": 3 - s / 10, "learning_rate": 1e-4}) + "\n" for s in range(5))
        )
    stage.facts["seed"] = stage.params.train.seed
    stage.run_facts["tokens_per_s"] = 1.0


def generate(stage: Stage) -> None:
    weights = (stage.dep(paths.MODELS / str(stage.run_name)) / "model.safetensors").read_bytes()
    model = hashlib.sha256(weights).hexdigest()
    with stage.out(paths.GENERATIONS / str(stage.run_name)) as folder:
        folder.mkdir()
        for split in paths.SPLITS:
            frame = pd.read_parquet(stage.dep(paths.ALPACA_PLUS / f"{split}.parquet"))
            with (folder / f"{split}.jsonl").open("w") as lines:
                for row in frame.itertuples():
                    draw = hashlib.sha256(weights + row.row_id.encode()).digest()[0]
                    line = {"row_id": row.row_id, "run": stage.run_name, "split": split, "model": model}
                    line |= {"prediction": row.output if draw % 2 else WORDS[draw % 12], "finish_reason": "stop"}
                    lines.write(json.dumps(line | {"num_gist_tokens": 1, "num_output_tokens": 1}) + "\n")


def rouge(stage: Stage) -> None:
    scores = []
    metrics: dict = {}
    for split in paths.SPLITS:
        references = pd.read_parquet(stage.dep(paths.ALPACA_PLUS / f"{split}.parquet")).set_index("row_id")["output"]
        for run in stage.params.runs:
            lines = (stage.dep(paths.GENERATIONS / run) / f"{split}.jsonl").read_text().splitlines()
            for line in map(json.loads, lines):
                right = 100.0 * (line["prediction"] == references[line["row_id"]])
                scores.append([line["row_id"], split, run, right, right, right, bool(right)])
    frame = pd.DataFrame(
        scores, columns=["row_id", "split", "run", "rouge_1_pct", "rouge_2_pct", "rouge_l_pct", "exact_match"]
    )
    for (split, run), part in frame.groupby(["split", "run"]):
        mean = part["rouge_l_pct"].mean()
        entry = {"mean_pct": mean, "ci95_pct": [mean - 1, mean + 1], "n": len(part)}
        for metric in ("rouge_1", "rouge_2", "rouge_l"):
            metrics.setdefault(split, {}).setdefault(metric, {})[run] = {**entry, "bootstrap_median_pct": mean}
        exact = {"mean_pct": 100 * part["exact_match"].mean(), "ci95_pct": [0.0, 100.0], "n": len(part)}
        metrics[split].setdefault("exact_match", {})[run] = exact
        metrics[split].setdefault("normalised", {})[run] = {"rouge_l": {"pct": 50.0, "ci95_pct": [0.0, 100.0]}}
        difference = {"a": run, "b": "pos_control", "difference_pct": 0.5, "ci95_pct": [0.0, 1.0], "p_value": 0.5}
        metrics[split].setdefault("significance", []).append(difference)
    with stage.out(paths.SCORES) as folder:
        folder.mkdir()
        frame.to_parquet(folder / "rows.parquet", index=False)
    with stage.out(paths.METRICS) as file:
        file.write_text(json.dumps(metrics, indent=1))


def judge(stage: Stage) -> None:
    summary = {}
    with stage.out(paths.VERDICTS / str(stage.run_name)) as folder:
        folder.mkdir()
        for split in paths.SPLITS:
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
    lines = [f"- {split}: {metrics[split]['rouge_l']['gist-1']['mean_pct']:.1f}" for split in paths.SPLITS]
    with stage.out(paths.REPORT_MD) as file:
        file.write_text("\n".join(lines) + "\n")
    with stage.out(paths.REPORT_HTML) as file:
        file.write_text("<p>" + "</p><p>".join(lines) + "</p>\n")
