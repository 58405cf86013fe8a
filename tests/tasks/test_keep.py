"""`make keep NAME=...` copies a run's numbers into docs/results, and nowhere else."""

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name in ("params.yaml", "dvc.lock", "reports/report.md", "data/statements/report.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for name in ("requirements.lock", "pyproject.toml"):
        (root / name).touch()
    shutil.copy(MAKEFILE, root / "Makefile")
    return root


def keep(project: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", "keep", f"NAME={name}"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_explains_the_numbers_is_copied(project: Path) -> None:
    done = keep(project, "My_run-1.2")
    assert done.stdout == "docs/results/My_run-1.2\n", done.stderr
    assert files(project / "docs/results/My_run-1.2") == {
        "params.yaml",
        "dvc.lock",
        "reports/report.md",
        "data/statements/report.json",
    }


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
