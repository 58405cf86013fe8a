"""`make keep NAME=...` copies a run's numbers into docs/results, and nowhere else."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.utils.serialize import dumps_yaml

ROOT = Path(__file__).parents[2]
FILES = {"reports/report.md": "37.2", "data/statements/report.json": "{}"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What a run leaves, in a folder where the environment counts as installed."""
    root = tmp_path / "project"
    outs = []
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(text)
        outs.append({"path": name, "hash": "md5", "md5": hashlib.md5(text.encode()).hexdigest(), "size": len(text)})
    params = {"train": {"seed": 0, "steps": 4, "learning_rate": 2e-05}, "runs": {"gist-1": {"start": None}}}
    (root / "params.yaml").write_text(dumps_yaml(params))
    read = {
        "params.yaml": {"train": params["train"], "runs.gist-1": params["runs"]["gist-1"], "runs.gist-1.start": None}
    }
    stages = {"report": {"cmd": "make it", "params": read, "outs": outs}}
    (root / "dvc.lock").write_text(dumps_yaml({"schema": "2.0", "stages": stages}))
    (root / "dvc.yaml").write_text(dumps_yaml({"stages": {"report": {"cmd": "make it", "outs": list(FILES)}}}))
    Repo.init(str(root), no_scm=True).close()
    for name in ("requirements.lock", "pyproject.toml"):
        (root / name).touch()
    shutil.copy(ROOT / "Makefile", root / "Makefile")
    checksum = subprocess.run(["cksum"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
    python = root / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (root / f".venv/.installed-{checksum.split()[0]}").touch()
    return root


def keep(project: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", "keep", f"NAME={name}"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_explains_the_numbers_is_copied(project: Path) -> None:
    done = keep(project, "My_run-1.2")
    assert done.stdout == "docs/results/My_run-1.2\n", done.stderr
    assert files(project / "docs/results/My_run-1.2") == {"params.yaml", "dvc.lock", *FILES}


@pytest.mark.parametrize(
    "name", ["", "a b", "../../evil", "a/b", "..", ".", ".hidden", "a;touch b", '"', "'", "$$(touch b)", "ä"]
)
def test_a_name_that_is_no_folder_below_results_is_refused_and_writes_nothing(project: Path, name: str) -> None:
    before = files(project.parent)
    done = keep(project, name)
    assert done.returncode == 2
    assert "NAME" in done.stderr
    assert files(project.parent) == before
    assert not (project / "docs").exists()


def test_a_run_kept_again_under_its_name_takes_the_place_of_the_first_and_leaves_the_page(project: Path) -> None:
    keep(project, "mine")
    kept = project / "docs/results/mine"
    (kept / "README.md").touch()
    (project / "data/statements/report.json").rename(project / "data/statements/rouge.json")
    (project / "reports/.gitignore").touch()
    assert keep(project, "mine").returncode == 0
    assert files(kept) == {"README.md", "params.yaml", "dvc.lock", "reports/report.md", "data/statements/rouge.json"}


def test_a_project_that_has_not_run_is_not_kept(project: Path) -> None:
    (project / "dvc.lock").unlink()
    done = keep(project, "mine")
    assert done.returncode == 2
    assert "there is no dvc.lock" in done.stderr
    assert not (project / "docs").exists()


@pytest.mark.parametrize(
    ("file", "was", "now", "said"),
    [
        ("params.yaml", "seed: 0", "seed: 777", "report: train in params.yaml is not what it ran with"),
        ("reports/report.md", "37.2", "99.0", "reports/report.md is not the file that report made"),
        ("data/statements/report.json", "{}", "{ }", "data/statements/report.json is not the file that report made"),
    ],
)
def test_what_is_not_of_the_run_is_not_kept(project: Path, file: str, was: str, now: str, said: str) -> None:
    (project / file).write_text((project / file).read_text().replace(was, now))
    done = keep(project, "mine")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (project / "docs").exists()


def test_a_run_that_was_taken_out_of_the_parameters_hinders_nothing(project: Path) -> None:
    (project / "params.yaml").write_text("train: {seed: 1}\nruns: {}\n")
    assert keep(project, "mine").returncode == 2
    (project / "dvc.yaml").write_text("stages: {}\n")
    assert keep(project, "mine").returncode == 0
