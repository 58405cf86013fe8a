"""Writes the report: the paper's tables and figures for this run, as one HTML page and the same in Markdown.

    python -m tasks.report

Reads what the earlier stages wrote and measures nothing itself. What was not done (a run that was not judged, no human
answers) is said on the page. The bytes depend on the inputs alone.
"""

from gist_core.report.inputs import load_inputs
from gist_core.report.page import Page, to_html, to_markdown
from tasks import paths
from tasks.stage import Stage, stage_main

SECTIONS = ("data", "model", "train", "engine", "runs", "baselines", "rouge", "generate")
# One machine trains all runs, so the statement of pos_control, which always exists, stands for all trainings.
TRAINING = paths.STATEMENTS / "train@pos_control.json"


def run(stage: Stage) -> None:
    params = stage.params.report
    inputs = load_inputs(
        params={section: stage.parameters[section] for section in SECTIONS},
        data=stage.dep(paths.ALPACA_PLUS),
        generations=stage.dep(paths.GENERATIONS),
        metrics=stage.dep(paths.METRICS),
        judge=stage.dep(paths.JUDGE_METRICS),
        judged_runs=stage.parameters["judged_runs"],
        human_eval=stage.dep(paths.HUMAN_EVAL_METRICS),
        benchmark=stage.dep(paths.BENCHMARK_METRICS),
        benchmarked_runs=stage.parameters["benchmarked_runs"],
        curves=stage.dep(paths.CURVES),
        statement=stage.dep(TRAINING),
        notes=params.notes,
    )
    page = Page(params.title, inputs)
    with stage.out(paths.REPORT_HTML) as target:
        target.write_text(to_html(page), encoding="utf-8")
    with stage.out(paths.REPORT_MD) as target:
        target.write_text(to_markdown(page), encoding="utf-8")
    stage.facts["missing"] = page.missing


if __name__ == "__main__":
    stage_main("report", run)
