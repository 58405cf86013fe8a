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
