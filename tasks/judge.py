"""Pairwise verdicts of one run against pos_control on every split that both have answered.

    python -m tasks.judge --run gist-1

Writes one verdict per row (data/verdicts/RUN/SPLIT.jsonl) and the summary (reports/judge/RUN.json). The provider
`reference_rule` needs nothing. `openai` reads its key from OPENAI_API_KEY and keeps every answer in
.work/judge/calls.sqlite the moment it arrives, so a stopped run goes on where it was, and no kept answer is paid for twice.
"""

import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from gist_core.data.rows import read_rows
from gist_core.scoring.judge import openai_judge, reference_rule
from gist_core.scoring.judge.pair import Pair
from gist_core.scoring.judge.prices import Prices
from gist_core.scoring.judge.settings import OpenAISettings
from gist_core.scoring.judge.store import CallStore
from gist_core.scoring.judge.summary import summarise_verdicts
from gist_core.scoring.judge.verdict import Judge, Verdict, verdict_record
from gist_core.scoring.predictions import answered_splits, read_predictions, rows_answered_by_all
from tasks import paths
from tasks.parent import told_by_term
from tasks.sections import POS_CONTROL, JudgeParams
from tasks.stage import Stage, stage_main

STORE = paths.WORK / "judge" / "calls.sqlite"


def run(stage: Stage) -> None:
    options = stage.params.judge
    pairs = pairs_by_split(stage.dep, stage.run_name)
    verdicts, judge, facts = judge_pairs(pairs, options, paths.project_of(stage.root) / STORE)
    summaries = {
        split: summarise_verdicts(rows, judge, options.protocol, resamples=options.resamples, seed=options.seed)
        for split, rows in verdicts.items()
    }
    stage.facts["judge"] = facts
    with stage.out(paths.VERDICTS / stage.run_name) as folder:
        folder.mkdir(parents=True)
        for split, rows in verdicts.items():
            with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
                for verdict in rows:
                    record = verdict_record(
                        verdict, judge, options.protocol, run=stage.run_name, other=POS_CONTROL, split=split
                    )
                    file.write(json.dumps(record) + "\n")
    with stage.out(paths.JUDGE_METRICS / f"{stage.run_name}.json") as target:
        target.write_text(json.dumps(summaries, indent=1) + "\n", encoding="utf-8")


def pairs_by_split(locate: Callable[[Path], Path], run_name: str) -> dict[str, list[Pair]]:
    """The pairs of every split, a = the run, b = pos_control. `locate` turns a declared path into a readable one.

    Raises:
        ValueError: no split was answered by both, or their rows differ.
    """
    folders = {name: locate(paths.GENERATIONS / name) for name in (run_name, POS_CONTROL)}
    pairs = {}
    for split in answered_splits(folders):
        answers = {name: read_predictions(folder / f"{split}.jsonl") for name, folder in folders.items()}
        rows = rows_answered_by_all(read_rows(locate(paths.ALPACA_PLUS / f"{split}.parquet")), answers, split)
        pairs[split] = [
            Pair(
                row.row_id,
                row.instruction,
                row.input,
                row.output,
                answers[run_name][row.row_id],
                answers[POS_CONTROL][row.row_id],
            )
            for row in rows
        ]
    return pairs


def judge_pairs(
    pairs: dict[str, list[Pair]], options: JudgeParams, store: Path
) -> tuple[dict[str, list[Verdict]], Judge, dict[str, Any]]:
    """Verdicts by split, the judge that gave them, and facts for the statement."""
    if options.provider == "reference_rule":
        judged = {
            split: [reference_rule.judge_by_reference(pair, options.protocol, options.seed) for pair in rows]
            for split, rows in pairs.items()
        }
        return judged, reference_rule.JUDGE, {"provider": "reference_rule", "is_language_model": False}
    settings = openai_settings(options)
    with told_by_term(settings.timeout_s + 5), CallStore(store) as calls:
        verdicts = openai_judge.judge_with_openai(
            pairs, options.protocol, options.seed, settings, calls, api_key=os.environ.get("OPENAI_API_KEY")
        )
    judge = openai_judge.judge_identity(settings)
    models = {call.model for rows in verdicts.values() for verdict in rows for call in verdict.calls if call.model}
    return verdicts, judge, {"provider": "openai", "is_language_model": True, "models_as_answered": sorted(models)}


def openai_settings(options: JudgeParams) -> OpenAISettings:
    """The parameters of the OpenAI judge as plain values for the library."""
    assert options.model is not None
    prices = None
    if options.prices is not None:
        prices = Prices(
            as_of=options.prices.as_of.isoformat(),
            input_usd_per_million=options.prices.input_usd_per_million,
            output_usd_per_million=options.prices.output_usd_per_million,
            factor=options.prices.batch_factor if options.mode == "batch" else 1.0,
        )
    same = {field.name for field in fields(OpenAISettings)} - {"prices"}
    return OpenAISettings(**options.model_dump(include=same), prices=prices)


if __name__ == "__main__":
    stage_main("judge", run)
