"""Answers every row of the validation splits with the model of one run.

    python -m tasks.generate --run gist-1

A gist run answers from cached gists, the controls from the full prompt under their mask. Resumes by row.
"""

import json

from tasks import paths
from tasks.stage import Stage, stage_main


def run(stage: Stage) -> None:
    import torch

    from gist_core.data.rows import read_rows
    from gist_core.generation.decode import Question, answer_split
    from gist_core.models.gist_model import GistModel

    params = stage.params.generate
    model_folder = stage.dep(paths.MODELS / str(stage.run_name))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    gist_model = GistModel.from_pretrained(model_folder, device=device)
    split_counts = {}
    with stage.out(paths.GENERATIONS / str(stage.run_name)) as folder:
        folder.mkdir(parents=True)
        for split in params.splits:
            rows = read_rows(stage.dep(paths.ALPACA_PLUS / f"{split}.parquet"))[: params.max_rows]
            answers = answer_split(
                gist_model,
                [Question(row.row_id, row.instruction, row.input) for row in rows],
                stage.work_dir / f"{split}.jsonl",
                batch_size=params.batch_size,
                max_new_tokens=params.max_new_tokens,
                description=f"{stage.name} {split}",
            )
            about = {"run": stage.run_name, "split": split, "model": gist_model.fingerprint}
            with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
                for answer in answers:
                    file.write(json.dumps(about | answer, ensure_ascii=False) + "\n")
            split_counts[split] = len(rows)
    stage.facts |= {"model": gist_model.fingerprint, "rows": split_counts, "decoding": "greedy", "device": device}


if __name__ == "__main__":
    stage_main("generate", run)
