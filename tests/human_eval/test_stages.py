"""The two stages and the commands as a person runs them, in a project of their own."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gist_core.data.rows import Row, row_id
from gist_core.scoring.human_eval.files import read_package
from gist_core.scoring.human_eval.package import draw_package
from tasks.hand_out import refuse_answers_in_place
from tasks.params import load_params
from tests.human_eval.packages import AWKWARD, write_page_export
from tests.rows import write_rows

ROOT = Path(__file__).parents[2]
PARTS = ("dvc.yaml", "params.yaml", ".dvc/config", "gist_core", "tasks", "cli", "flows", "data/annotations")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A clone with the outs of the stages before: 24 human rows, both runs' answers, and verdicts."""
    root = tmp_path_factory.mktemp("project")
    for part in PARTS:
        source, target = ROOT / part, root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    params = root / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("resamples: 1000", "resamples: 20"), encoding="utf-8")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *arguments], cwd=root, check=True)

    rows = []
    for i in range(24):
        texts = (f"Instruction {i}", AWKWARD[i % len(AWKWARD)], "reference")
        rows.append(Row(row_id("self_instruct", *texts, 0), "human", *texts, "self_instruct", "file.jsonl", i))
    write_rows(root / "data/alpaca_plus/human.parquet", rows)
    for run in ("pos_control", "gist-1"):
        write_lines(
            root / f"data/generations/{run}/human.jsonl",
            [
                {
                    "row_id": r.row_id,
                    "run": run,
                    "model": f"of {run}",
                    "prediction": f"{run}: {AWKWARD[-i % len(AWKWARD)]}",
                }
                for i, r in enumerate(rows)
            ],
        )
    write_lines(
        root / "data/verdicts/gist-1/human.jsonl",
        [
            {"row_id": r.row_id, "status": "ok", "winner": ("a", "b", "tie", None)[i % 4], "model": "m"}
            for i, r in enumerate(rows)
        ],
    )
    return root


def write_lines(path: Path, records: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def command(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=240
    )


def test_draw_import_and_evaluate(project, tmp_path):
    done = command(project, "tasks.human_package")
    assert done.returncode == 0, done.stderr
    drawn = read_package(project / "data/human_eval")
    assert (len(drawn.pairs), drawn.asked, drawn.eligible) == (24, 100, 24)
    statement = json.loads((project / "data/statements/human_package.json").read_text(encoding="utf-8"))
    assert drawn.id in json.dumps(statement)
    told = {"run": drawn.run, "against": drawn.against, "num_items": 100, "annotators": drawn.annotators}
    by_page = draw_package(drawn.pairs, **told, seed=load_params(project / "params.yaml").human_eval.seed)
    assert by_page.row_ids == drawn.row_ids
    assert by_page.run_is_a != drawn.run_is_a, "the sides follow from what a page shows"

    one, two, three = drawn.annotators
    files = [
        write_page_export(tmp_path / f"{name}.json", drawn, name, {r: "AB"[i % 2] for i, r in enumerate(ids)})
        for name, ids in ((one, drawn.row_ids), (two, drawn.row_ids[:9]))
    ]
    done = command(project, "cli.main", "human-eval", "import", *map(str, files))
    assert done.returncode == 0, done.stderr
    assert "annotator-2: 9 new, 0 known; 15 of 24 items without an answer" in done.stdout
    refused = command(project, "cli.main", "human-eval", "import", str(files[0]), str(files[0]))
    assert refused.returncode == 2
    assert refused.stderr.startswith("gist: 24 problem(s)")

    done = command(project, "tasks.human_eval")
    assert done.returncode == 0, done.stderr
    figures = json.loads((project / "reports/human_eval.json").read_text(encoding="utf-8"))
    assert figures["num_annotators"] == {"planned": 3, "started": 2, "complete": 1}
    assert figures["annotators"][three]["missing"] == 24
    assert (figures["judge"]["verdicts"], figures["judge"]["model"]) == (18, "m")
    assert figures["win_rate"]["n"] == 33


def test_without_answers_to_human_the_stage_says_which_parameter_to_change(project):
    answers = project / "data/generations/gist-1/human.jsonl"
    aside = answers.rename(answers.with_suffix(".aside"))
    done = command(project, "tasks.human_package")
    aside.rename(answers)
    assert done.returncode == 2
    assert "add human to generate.splits" in done.stderr


def test_a_run_that_is_not_judged_is_refused_when_the_parameters_are_read(tmp_path):
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    values["judged_runs"] = ["neg_control"]
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(ValueError, match=r"human_eval\.run is 'gist-1', which is not under judged_runs"):
        load_params(path)


def test_a_sheet_that_is_filled_in_inside_the_package_is_not_written_over(project) -> None:
    assert command(project, "tasks.human_package").returncode == 0
    sheet = project / "data/human_eval/hand_out/annotator-1/annotator-1.csv"
    refuse_answers_in_place(project)
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0]["choice"] = "A"
    with sheet.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    done = command(project, "tasks.pipeline", "human_package")
    assert done.returncode == 2
    assert f"filled in where DVC would write over it: {sheet.relative_to(project)}. Move it out" in done.stderr
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        assert next(csv.DictReader(file))["choice"] == "A"
    sheet.write_bytes("choice;item\ntie;caf\u00e9\n".encode("cp1252"))  # as a spreadsheet may save it
    with pytest.raises(ValueError, match=r"annotator-1\.csv.* Move it out"):
        refuse_answers_in_place(project)
