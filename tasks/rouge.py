"""Computes ROUGE-1/2/L and exact match of every run on every split, with intervals.

    python -m tasks.rouge

Reads the splits and the generations of all runs; writes a score for every row (data/scores/rows.parquet) and the
figures of each split (reports/metrics.json). The runs must have answered the same rows.
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from gist_core.data.rows import read_rows
from gist_core.scoring.predictions import (
    answered_splits,
    count_cut,
    exactly_equal,
    read_predictions,
    rows_answered_by_all,
)
from gist_core.scoring.rouge import mostly_read, score_pairs
from gist_core.scoring.summary import summarise_split
from tasks import paths
from tasks.sections import POS_CONTROL, RunParams
from tasks.stage import Stage, stage_main


def run(stage: Stage) -> None:
    options = stage.params.rouge
    runs = [POS_CONTROL, *(name for name in (*stage.params.runs, *stage.params.baselines) if name != POS_CONTROL)]
    summaries: dict[str, Any] = {}
    tables: list[pd.DataFrame] = []
    facts: dict[str, Any] = {}
    folders = {name: stage.dep(paths.GENERATIONS) / name for name in runs}
    for split in answered_splits(folders):
        by_run = {name: read_predictions(folder / f"{split}.jsonl") for name, folder in folders.items()}
        rows = rows_answered_by_all(read_rows(stage.dep(paths.ALPACA_PLUS / f"{split}.parquet")), by_run, split)
        answers = {name: [by_run[name][row.row_id] for row in rows] for name in runs}
        scored = score_pairs(
            [row.output for row in rows] * len(runs),
            [answer for name in runs for answer in answers[name]],
            processes=options.processes,
        )
        scores = {name: scored[i * len(rows) : (i + 1) * len(rows)] for i, name in enumerate(runs)}
        matches = {
            name: [exactly_equal(a, b) for a, b in zip(answers[name], answers[POS_CONTROL], strict=True)]
            for name in runs
        }
        for name in runs:
            table = pd.DataFrame(scores[name])
            table.insert(0, "run", name)
            table.insert(0, "split", split)
            table.insert(0, "row_id", [row.row_id for row in rows])
            table["exact_match"] = matches[name]
            tables.append(table)
        counts = {
            "empty_predictions": {name: sum(not answer.strip() for answer in answers[name]) for name in runs},
            "cut_predictions": {name: count_cut(folder / f"{split}.jsonl") for name, folder in folders.items()},
            "unread_references": sum(not mostly_read(row.output) for row in rows),
        }
        summary = summarise_split(
            scores, matches, resamples=options.resamples, seed=options.seed, alike=runs_alike(stage.params.runs)
        )
        summaries[split] = summary | counts
        facts[split] = {"rows": len(rows)} | counts
    stage.facts["rouge"] = facts
    with stage.out(paths.SCORES) as folder:
        folder.mkdir(parents=True)
        pd.concat(tables, ignore_index=True).to_parquet(folder / "rows.parquet", index=False)
    with stage.out(paths.METRICS) as target:
        target.write_text(json.dumps(summaries, indent=1) + "\n", encoding="utf-8")


def runs_alike(runs: Mapping[str, RunParams]) -> list[list[str]]:
    """Groups of runs that differ only in their seed, each in the order of params.yaml."""
    groups: dict[str, dict[int | None, str]] = {}
    for name, run in runs.items():
        groups.setdefault(run.model_dump_json(exclude={"seed"}), {}).setdefault(run.seed, name)
    return [[*group.values()] for group in groups.values() if len(group) > 1]


if __name__ == "__main__":
    stage_main("rouge", run)
