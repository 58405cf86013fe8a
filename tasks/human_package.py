"""Draws the blind annotation package: for every annotator a page, a CSV and Label Studio tasks, and separately the key.

    dvc repro human_package

Items and positions come from hashes, of the row ids and of the two runs' models, so the same models give the same package. It
depends on no annotator's answer and on no verdict, so people can begin as soon as both runs have answered."""

from gist_core.data.rows import read_rows
from gist_core.scoring.human_eval.files import write_package
from gist_core.scoring.human_eval.package import Pair, draw_package
from gist_core.scoring.predictions import model_of, read_predictions, rows_answered_by_all
from tasks import paths
from tasks.sections import POS_CONTROL
from tasks.stage import Stage, stage_main


def run(stage: Stage) -> None:
    params = stage.params.human_eval
    files = {name: stage.dep(paths.GENERATIONS / name) / "human.jsonl" for name in (params.run, POS_CONTROL)}
    if not all(file.exists() for file in files.values()):
        raise ValueError(
            "people compare the answers to human, which the runs have not answered; add human to generate.splits, or "
            "make what does without it: `dvc repro rouge judge`"
        )
    answers = {name: read_predictions(file) for name, file in files.items()}
    rows = rows_answered_by_all(read_rows(stage.dep(paths.ALPACA_PLUS / "human.parquet")), answers, "human")
    package = draw_package(
        [
            Pair(
                row.row_id,
                row.instruction,
                row.input,
                answers[params.run][row.row_id],
                answers[POS_CONTROL][row.row_id],
            )
            for row in rows
        ],
        run=params.run,
        against=POS_CONTROL,
        num_items=params.items,
        annotators=[f"annotator-{number}" for number in range(1, params.annotators + 1)],
        seed=params.seed,
        secret=[model_of(file) for file in files.values()],
    )
    with stage.out(paths.HUMAN_EVAL) as temporary:
        write_package(package, temporary)
    stage.facts["package"] = package.id
    stage.facts["items"] = {"asked": package.asked, "drawn": len(package.pairs), "eligible": package.eligible}


if __name__ == "__main__":
    stage_main("human_package", run)
