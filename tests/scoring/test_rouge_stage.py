"""`python -m tasks.rouge` as DVC runs it, on a small project."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from gist_core.scoring.rouge import rouge_scores

from .made_rows import make_project


def run_stage(folder: Path, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", f"tasks.{name}", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_project(tmp_path)
    return tmp_path


def test_the_stage_writes_a_score_for_every_row_and_the_figures_of_every_split(project: Path) -> None:
    done = run_stage(project, "rouge")
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(project / "data/scores/rows.parquet")
    columns = ["row_id", "split", "run", "rouge_1_pct", "rouge_2_pct", "rouge_l_pct", "exact_match"]
    assert list(table.columns) == columns
    assert len(table) == 3 * 4 * 24
    assert not table.duplicated(["row_id", "run"]).any()
    metrics = json.loads((project / "reports/metrics.json").read_text(encoding="utf-8"))
    for (split, run), group in table.groupby(["split", "run"]):
        for kind in ("rouge_1", "rouge_2", "rouge_l"):
            assert metrics[split][kind][run]["mean_pct"] == pytest.approx(group[f"{kind}_pct"].mean(), abs=1e-4)
        assert metrics[split]["exact_match"][run]["mean_pct"] == pytest.approx(
            100 * group["exact_match"].mean(), abs=1e-4
        )
    assert metrics["seen"]["exact_match"]["pos_control"]["mean_pct"] == 100.0
    assert metrics["seen"]["empty_predictions"] == {"pos_control": 0, "neg_control": 4, "gist-1": 0, "tfidf-1": 0}
    assert metrics["seen"]["cut_predictions"] == {"pos_control": 0, "neg_control": 0, "gist-1": 3, "tfidf-1": 0}
    row = table[(table["run"] == "gist-1") & (table["split"] == "seen")].iloc[3]
    assert row["rouge_l_pct"] == rouge_scores("word 3 null", "word").rouge_l_pct

    before = [(project / path).read_bytes() for path in ("data/scores/rows.parquet", "reports/metrics.json")]
    assert run_stage(project, "rouge").returncode == 0
    assert before == [(project / path).read_bytes() for path in ("data/scores/rows.parquet", "reports/metrics.json")]


def test_a_run_without_generations_and_a_run_on_other_rows_are_user_errors(project: Path) -> None:
    file = project / "data/generations/gist-1/human.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n")
    file.write_text("\n".join(lines[1:]), encoding="utf-8")
    done = run_stage(project, "rouge")
    assert done.returncode == 2
    assert "gist-1 lacks 1 of the 24 rows of pos_control" in done.stderr
    file.unlink()
    done = run_stage(project, "rouge")
    assert done.returncode == 2
    assert "gist-1: seen, unseen" in done.stderr
    assert not (project / "reports/metrics.json").exists()
