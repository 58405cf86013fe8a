"""A model card with its results block (`model-index` of the Hugging Face hub's metadata); its table has, beside every
number, the command that traces it."""

from pathlib import Path
from typing import Any

import yaml

from gist_core.lineage import numbers
from gist_core.lineage.hashing import sha256_of_path
from gist_core.lineage.intact import Intact, NotIntactError
from gist_core.lineage.ledger import Ledger
from gist_core.lineage.statement import FOLDER

METRICS = {"rouge_1": ("rouge1", "ROUGE-1"), "rouge_2": ("rouge2", "ROUGE-2"), "rouge_l": ("rougeL", "ROUGE-L")}

TRAIN, BASE = "train@", "base_model"
FACTS, RESULTS = "data/alpaca_plus/facts.json", "reports/metrics.json"


def card(root: Path, run: str | None) -> str:
    """The Markdown of a card for the model of a run.

    Raises:
        ValueError: no run is named, or it has no training statement.
        NotIntactError: what the card would present is not what the statements and dvc.lock say.
    """
    ledger = Ledger.of_workspace(root)
    intact = Intact(root, ledger)
    runs = [name.removeprefix(TRAIN) for name in intact.stages if name.startswith(TRAIN)]
    if run not in runs:
        raise ValueError(f"a model card needs --run, one of {', '.join(runs) or '(none trained yet)'}; got {run!r}")
    intact.demand([f"{TRAIN}{run}"], [])
    trained = _started_from(ledger, f"{TRAIN}{run}")
    _demand_intact(intact, trained)
    statement = ledger.statements[f"{TRAIN}{run}"]
    facts = _load(root, FACTS)
    metrics = _load(root, RESULTS)
    weights = {path: digest["sha256"] for path, digest in statement.outputs.items() if path.startswith("data/models/")}
    base = ledger.statements.get(BASE)
    metadata = {
        "library_name": "transformers",
        "tags": ["gist-tokens", "prompt-compression"],
        "model-index": [{"name": run, "results": _results(metrics, run, str(facts.get("label") or "Alpaca+"))}],
    }
    model = (base.parameters if base else {}).get("model", {})
    through = [f"the run {name.removeprefix(TRAIN)}, and through it from " for name in trained[1:]]
    digest = sha256_of_path(root / FOLDER / f"{statement.stage}.json")
    lines = [
        "---",
        yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        f"# {run}",
        "",
        f"Trained from {''.join(through)}{model.get('name', 'a base model')} ({model.get('location', 'unknown')}, "
        f"revision {model.get('revision')}) by `{statement.command}` at commit `{statement.source['commit']}`.",
        f"Statement `{FOLDER}/{statement.stage}.json`, SHA-256 `{digest}`.",
        "",
        f"Data: {facts.get('label', 'see the statement')}.",
        "",
        "| Weights file | SHA-256 |",
        "|---|---|",
        *(f"| {path} | `{sha256}` |" for path, sha256 in weights.items()),
        "",
        "| Number | Value | Where it came from |",
        "|---|---|---|",
        *_table(metrics, run),
        "",
        "Parameters:",
        "",
        "```yaml",
        yaml.safe_dump(dict(statement.parameters), sort_keys=True).rstrip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _started_from(ledger: Ledger, stage: str) -> list[str]:
    """The training stage, the one whose model it started from, and so on to the one that started from the base model."""
    stages = [stage]
    while before := [
        name
        for name in (ledger.upstream(stages[-1]) if stages[-1] in ledger.statements else ())
        if name.startswith(TRAIN) and name not in stages
    ]:
        stages.append(before[0])
    return stages


def _demand_intact(intact: Intact, trained: list[str]) -> None:
    """Raises NotIntactError unless the results, and the statements that the card names, are intact and fit together."""
    stages = [*trained, *({BASE} & set(intact.stages))]
    links = (
        f"{name} read other bytes of {path} than {maker} states to have made"
        for name in trained
        for path, maker in intact.ledger.broken_links(name)
        if maker in stages
    )
    if problems := [*intact.problems(stages, [FACTS, RESULTS]), *links]:
        raise NotIntactError(problems)


def _results(metrics: dict[str, Any], run: str, label: str) -> list[dict[str, Any]]:
    results = []
    for split, by_metric in metrics.items():
        values = [
            {"type": kind, "name": f"{title} F (%)", "value": by_metric[metric][run]["mean_pct"]}
            for metric, (kind, title) in METRICS.items()
            if run in by_metric.get(metric, {})
        ]
        if values:
            dataset = {"name": label, "type": "alpaca_plus", "split": split}
            task = {"type": "text-generation", "name": "Instruction following"}
            results.append({"task": task, "dataset": dataset, "metrics": values})
    return results


def _table(metrics: dict[str, Any], run: str) -> list[str]:
    return [
        f"| {title}, {split} | {by_metric[metric][run]['mean_pct']:.2f} "
        f"| `gist lineage why reports/metrics.json:{split}.{metric}.{run}.mean_pct` |"
        for split, by_metric in metrics.items()
        for metric, (_, title) in METRICS.items()
        if run in by_metric.get(metric, {})
    ]


def _load(root: Path, file: str) -> dict[str, Any]:
    return numbers.load(root / file) if (root / file).exists() else {}
