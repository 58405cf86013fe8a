"""Every stage, from sources to report, on a tiny random decoder and a tiny random T5."""

import importlib
import json
import re
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from gist_core.data.rows import read_rows
from gist_core.lineage.audit import every_number
from gist_core.models.tokens import tokens_in_prompt
from tests.e2e.project import SMALL, compose, copy_project, run

TRAINED = ["pos_control", "neg_control", "gist-1"]
RUNS = [*TRAINED, "tfidf-1"]


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", output)


def check_outs(root: Path) -> None:
    """Every out of every stage is there and means something."""
    for run_name in RUNS:
        for split in ("seen", "unseen", "human"):
            lines = (root / f"data/generations/{run_name}/{split}.jsonl").read_text(encoding="utf-8").splitlines()
            assert len(lines) == 6
            assert {json.loads(line)["run"] for line in lines} == {run_name}
    short = json.loads((root / "data/generations/tfidf-1/human.jsonl").read_text(encoding="utf-8").splitlines()[0])
    tokenizer = AutoTokenizer.from_pretrained(root / "data/base_model")
    (row,) = (row for row in read_rows(root / "data/alpaca_plus/human.parquet") if row.row_id == short["row_id"])
    assert short["num_kept_tokens"] == len(tokens_in_prompt(tokenizer, short["shortened_instruction"])) <= 2
    assert short["num_instruction_tokens"] == len(tokens_in_prompt(tokenizer, row.instruction)) > 2
    metrics = json.loads((root / "reports/metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["human"]["rouge_l"]) == set(RUNS)
    assert metrics["seen"]["exact_match"]["pos_control"]["mean_pct"] == 100
    judge = json.loads((root / "reports/judge/gist-1.json").read_text(encoding="utf-8"))
    assert not judge["seen"]["is_language_model"]
    benchmark = json.loads((root / "reports/benchmark/gist-1.json").read_text(encoding="utf-8"))
    flops = benchmark["batch_sizes"]["1"]["strategies"]
    assert flops["gist"]["gflops_formula"] < flops["none"]["gflops_formula"]
    assert "<html" in (root / "reports/report.html").read_text(encoding="utf-8")
    assert "gist-1" in (root / "reports/report.md").read_text(encoding="utf-8")


@pytest.mark.timeout(560)
def test_a_decoder_from_sources_to_report_and_only_what_changed_runs_again(tmp_path: Path) -> None:
    root = copy_project(tmp_path, "llama")
    first = run(root, "-m", "tasks.pipeline")
    graph = run(root, "-m", "dvc", "stage", "list", "--name-only").stdout.split()
    assert sorted(stages_run(first.stdout)) == sorted(graph)
    assert "report: reports/report.html" in first.stdout
    run(root, "-m", "dvc", "plots", "show", "--out", "plots")
    assert (root / "plots/index.html").read_text(encoding="utf-8").count('"loss"') >= len(TRAINED)
    check_outs(root)
    # Forced to run again, these ask the model again.
    assert not [path for kind in ("train", "generate", "baseline") for path in (root / ".work").glob(f"{kind}@*/*")]
    audited = [*every_number(root)]
    assert len(audited) > 100
    assert [number for number in audited if number.problems] == []

    again = run(root, "-m", "tasks.pipeline")
    assert stages_run(again.stdout) == []

    location = f"model.location={tmp_path / 'model'}"
    compose(root, location, *SMALL, "+judge.resamples=60")
    judged = stages_run(run(root, "-m", "tasks.pipeline").stdout)
    assert {"judge@gist-1", "judge@neg_control"} <= set(judged) <= {"judge@gist-1", "judge@neg_control", "report"}

    one_more = "judged_runs=[neg_control,gist-1,tfidf-1]"
    compose(root, location, *SMALL, "+judge.resamples=60", one_more, "runs.gist-1.num_gist_tokens=2")
    dry = run(root, "-m", "tasks.pipeline", "--dry").stdout
    assert "up to date" not in dry
    changed = set(stages_run(dry))
    assert {"train@gist-1", "judge@tfidf-1"} <= changed
    assert "judge@neg_control" not in changed
    assert not {f"{stage}@{control}" for stage in ("train", "generate") for control in TRAINED[:2]} & changed
    assert "baseline@tfidf-1" not in changed


def test_a_t5_from_sources_to_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same stages without a process each: every task module is called in the order of DVC's graph."""
    from dvc.repo import Repo
    from networkx import topological_sort

    from tasks.stage import Stage

    root = copy_project(tmp_path, "t5")
    monkeypatch.chdir(root)
    with Repo(str(root)) as repo:
        names = [stage.addressing for stage in reversed(list(topological_sort(repo.index.graph)))]
    for name in names:
        task = importlib.import_module(f"tasks.{name.partition('@')[0]}")
        Stage(name, root, ["python", "-m", task.__name__])._execute(task.run)
    check_outs(root)
    statements = {path.stem for path in (root / "data/statements").glob("*.json")}
    assert set(names) <= statements


def test_the_graph_in_the_readme_is_the_one_that_dvc_has(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    mermaid = run(root, "-m", "dvc", "dag", "--mermaid").stdout
    nodes = set(re.findall(r'\["([^"]+)"\]', mermaid))
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert nodes == set(re.findall(r'\["([^"]+)"\]', readme.partition("```mermaid")[2].partition("```")[0]))


def test_params_yaml_is_what_conf_composes_to(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    composed = tmp_path / "params.yaml"
    run(root, "-m", "cli.main", "params", "--output", str(composed))
    assert yaml.safe_load(composed.read_text()) == yaml.safe_load((root / "params.yaml").read_text())
