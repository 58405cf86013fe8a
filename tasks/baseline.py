"""Answers the rows of the validation splits with pos_control's model, from an instruction shortened as text.

    python -m tasks.baseline --run tfidf-1

The compressor is given the distinct instructions of the training split. A stopped run goes on from the answered rows.
"""

from functools import cache

from tasks import paths
from tasks.generate import answer_splits
from tasks.sections import POS_CONTROL
from tasks.stage import Stage, stage_main
from tasks.trained import load_model


def run(stage: Stage) -> None:
    from gist_core.compressors import make_compressor
    from gist_core.data.rows import read_rows

    baseline = stage.params.baselines[stage.run_name]
    gist_model = load_model(stage, POS_CONTROL, "generate")
    train = read_rows(stage.dep(paths.ALPACA_PLUS / "train.parquet"))
    compressor = make_compressor(baseline.compressor, list(dict.fromkeys(row.instruction for row in train)), gist_model)

    @cache
    def shorten(instruction: str) -> str:
        return compressor(instruction, baseline.num_kept_tokens)

    answer_splits(stage, gist_model, shorten)


if __name__ == "__main__":
    stage_main("baseline", run)
