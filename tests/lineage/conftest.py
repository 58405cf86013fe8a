"""The toy project, built once for all workers of a test run; tests that change it take a copy."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.lineage import project


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy project after one `dvc repro`. Read only."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root = shared / "toy_project"
    with FileLock(shared / "toy_project.lock"):
        if not (root / ".built").exists():
            shutil.rmtree(root, ignore_errors=True)
            project.build(root)
            project.run(root, "git", "status", "--short")
            (root / ".git" / "info" / "exclude").write_text(".built\n")
            (root / ".built").touch()
    return root


@pytest.fixture
def toy(built: Path, tmp_path: Path) -> Path:
    """A copy of the built project, to be changed."""
    return project.copy(built, tmp_path / "toy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of a worker waits for the toy project: 15 s of processor time, minutes on a busy machine."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(900))
