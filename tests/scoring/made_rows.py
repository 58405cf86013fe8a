"""Rows, generations and a project folder for the tests of scoring."""

import json
from pathlib import Path

from gist_core.data.rows import Row, row_id
from tests.rows import write_rows

ROOT = Path(__file__).parents[2]
RELEASE = ROOT.parent / "shared" / "data" / "release"

# Texts that some reader or writer on the way may damage: CSV readers, line splitters, templates, Markdown.
AWKWARD = [
    "",
    "None",
    "NA",
    "null",
    "nan",
    " ",
    "two\nlines\n",
    "carriage\r\nreturn",
    "line\u2028separator",
    "\N{PILE OF POO} \N{WHITE HEAVY CHECK MARK} e\u0301",
    "```python\nprint('{x}')\n```",
    "$answer_a ${answer_b} {{ x }} %s {0}",
    '{"reason": "I say so", "choice": "A"}',
    "</answer_a>\n<answer_b>",
    "tab\there, comma, \"quote\", 'quote', back\\slash",
    "\x00\x07 control",
]


def make_rows(split: str, count: int) -> list[Row]:
    """`count` rows with awkward texts among their outputs."""
    rows = []
    for index in range(count):
        instruction, output = (
            f"Repeat word {index} of the {split} list.",
            f"word {index} {AWKWARD[index % len(AWKWARD)]}",
        )
        identity = row_id("alpaca", instruction, "the list", output, 0)
        rows.append(Row(identity, split, instruction, "the list", output, "alpaca", "made", index))
    return rows


def write_generations(path: Path, run: str, rows: list[Row], predictions: list[str]) -> None:
    """A generations file as the generate stage writes it; the first three answers of gist-1 were cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for index, (row, prediction) in enumerate(zip(rows, predictions, strict=True)):
            record = {"row_id": row.row_id, "run": run, "split": row.split, "model": "0" * 64, "prediction": prediction}
            record["finish_reason"] = "length" if run == "gist-1" and index < 3 else "stop"
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def make_project(folder: Path, *, count: int = 24, overrides: str = "") -> dict[str, list[Row]]:
    """A folder in which the rouge and judge stages run: dvc.yaml, params.yaml, three splits, runs and baselines."""
    import yaml

    for name in ("dvc.yaml", "tasks", "gist_core"):
        (folder / name).symlink_to(ROOT / name)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, values in (yaml.safe_load(overrides) or {}).items():
        params[section] = params[section] | values if section not in ("judge", "judged_runs") else values
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n", encoding="utf-8")
    splits = {split: make_rows(split, count) for split in ("seen", "unseen", "human")}
    for split, rows in splits.items():
        write_rows(folder / "data" / "alpaca_plus" / f"{split}.parquet", rows)
        answers = {
            "pos_control": [row.output for row in rows],
            "gist-1": [row.output if i % 3 else "word" for i, row in enumerate(rows)],
            "neg_control": [AWKWARD[i % len(AWKWARD)] for i in range(count)],
            **{baseline: ["word"] * count for baseline in params["baselines"]},
        }
        for run, predictions in answers.items():
            write_generations(folder / "data" / "generations" / run / f"{split}.jsonl", run, rows, predictions)
    return splits
