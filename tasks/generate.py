"""Answers the rows of the validation splits with the model of one run.

    python -m tasks.generate --run gist-1

A gist run answers from cached gists, the controls from the full prompt under their mask. A stopped run goes on from the
answered rows.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from gist_core.out_of_memory import enough_memory
from tasks import paths
from tasks.stage import Stage, stage_main
from tasks.trained import draw_rows, load_model

if TYPE_CHECKING:
    from gist_core.models.gist_model import GistModel


def run(stage: Stage) -> None:
    answer_splits(stage, load_model(stage, stage.run_name, "generate"))


def answer_splits(stage: Stage, gist_model: "GistModel", shorten: Callable[[str], str] | None = None) -> None:
    """Writes the answers to the splits of `generate.splits`, one JSON line per row, as the generations of the stage's run.

    shorten: gives the text that the model sees in place of an instruction. A line then also holds this text, the number of
    its tokens and that of the whole instruction.
    """
    from gist_core.data.prompt import Prompt
    from gist_core.data.rows import read_rows
    from gist_core.generation.decode import answer_split
    from gist_core.models.tokens import tokens_in_prompt

    params = stage.params.generate
    split_counts = {}
    with stage.out(paths.GENERATIONS / stage.run_name) as folder:
        folder.mkdir(parents=True)
        for split in params.splits:
            rows = draw_rows(read_rows(stage.dep(paths.ALPACA_PLUS / f"{split}.parquet")), params.max_rows)
            split_counts[split] = len(rows)
            if not rows:  # someone's own data need not have every split; later stages take those that have a file
                continue
            with enough_memory("the model that shortens instructions has not enough for the longest of them"):
                given = [shorten(row.instruction) if shorten else row.instruction for row in rows]
            answers = answer_split(
                gist_model,
                [Prompt(row.row_id, text, row.input) for row, text in zip(rows, given, strict=True)],
                stage.work_dir / f"{split}.jsonl",
                batch_size=params.batch_size,
                max_new_tokens=params.max_new_tokens,
                description=f"{stage.name} {split}",
            )
            about = {"run": stage.run_name, "split": split, "model": gist_model.fingerprint}
            with (
                enough_memory(f"lower generate.batch_size = {params.batch_size}; the rows that are answered stay so"),
                (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file,
            ):
                for row, text, answer in zip(rows, given, answers, strict=True):
                    line = about | answer
                    if shorten:
                        line["shortened_instruction"] = text
                        # Without the template's words around the instruction, which are never shortened.
                        line["num_kept_tokens"] = len(tokens_in_prompt(gist_model.tokenizer, text))
                        line["num_instruction_tokens"] = len(tokens_in_prompt(gist_model.tokenizer, row.instruction))
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
    stage.facts |= {
        "model": gist_model.fingerprint,
        "rows": split_counts,
        "decoding": "greedy",
        "device": stage.device,
        "dtype": params.dtype,
    }


if __name__ == "__main__":
    stage_main("generate", run)
