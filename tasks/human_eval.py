"""Computes the figures of the human evaluation from the answers imported so far: win rates, agreement among people and with
the judge.

    gist human-eval import FILES... && dvc repro human_eval

Without any answers the figures are null, and the counts say so."""

import json

from gist_core.scoring.human_eval.files import read_package
from gist_core.scoring.human_eval.judge import read_judge_ratings
from gist_core.scoring.human_eval.results import evaluate
from gist_core.scoring.human_eval.store import load_answers, other_packages
from tasks import paths
from tasks.stage import Stage, stage_main


def run(stage: Stage) -> None:
    params = stage.params.human_eval
    package = read_package(stage.dep(paths.HUMAN_EVAL))
    annotations = stage.dep(paths.ANNOTATIONS)
    judge = read_judge_ratings(stage.dep(paths.VERDICTS / params.run) / "human.jsonl")
    results = evaluate(
        package, load_answers(package, annotations), judge=judge, resamples=params.resamples, seed=params.seed
    )
    results["answers_to_other_packages"] = other_packages(package, annotations)
    with stage.out(paths.HUMAN_EVAL_METRICS) as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    stage.facts["package"] = package.id
    stage.facts["answers"] = results["num_answers"]


if __name__ == "__main__":
    stage_main("human_eval", run)
