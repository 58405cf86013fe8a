"""The two stages as DVC runs them, in a project of their own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gist_core.data.rows import SPLITS, read_rows
from gist_core.data.upstream import UPSTREAM
from tasks import sources
from tasks.stage import Stage
from tests.data.random_sources import SMALL_ALPACA, SMALL_SELF_INSTRUCT, SMALL_TASKS, write_upstream_shapes
from tests.data.test_download import Server, server  # noqa: F401
from tests.data.test_sources import serve_as_upstream

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of this project's code, graph and parameters, with a folder of small stand-ins as its data."""
    project = tmp_path / "project"
    project.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("gist_core", "tasks"):
        shutil.copytree(ROOT / name, project / name, ignore=ignored)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, project / name)
    write_upstream_shapes(project / "mine", SMALL_SELF_INSTRUCT, SMALL_ALPACA, SMALL_TASKS)
    names = {role: file.name for role, file in UPSTREAM.items()}
    set_data(project, kind="folder", folder="mine", stand_ins=names, num_seen=1, num_unseen=2, num_dev=1)
    dvc(project, "init", "--no-scm", "-q")
    return project


def set_data(project: Path, **data: object) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    (project / "params.yaml").write_text(yaml.safe_dump({**params, "data": data}))


def dvc(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_another_parameter_of_the_data_downloads_nothing_again(
    project: Path,
    server: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base_url = serve_as_upstream(server, project / "mine", monkeypatch)
    for parameters in ({}, {"num_dev": 1}, {"num_seen": 2}):
        set_data(project, **{"kind": "download", "base_url": base_url, "num_seen": 1, "num_unseen": 2, **parameters})
        sources.run(Stage("sources", project, ["python", "-m", "tasks.sources"]))
        assert (project / "data" / "sources" / "manifest.json").exists()
    assert len(server.ranges) == 3


def test_dvc_repro_builds_the_data_with_a_statement_and_refuses_unnamed_files(project: Path) -> None:
    result = dvc(project, "repro", "alpaca_plus")
    assert result.returncode == 0, result.stderr + result.stdout
    data = project / "data" / "alpaca_plus"
    names = {"facts.json", "croissant.json", *(f"{split}.parquet" for split in (*SPLITS, "dev"))}
    assert {path.name for path in data.iterdir()} == names
    assert len(read_rows(data / "dev.parquet")) == 1
    statement = json.loads((project / "data" / "statements" / "alpaca_plus.json").read_text())
    facts = statement["predicate"]["buildDefinition"]["internalParameters"]["facts"]
    assert facts["is_papers_data"] is False
    assert set(facts["proof"]) == set(SPLITS)
    assert str(project) not in json.dumps(facts) + (project / "data" / "sources" / "manifest.json").read_text()
    assert "up to date" in dvc(project, "status", "alpaca_plus").stdout

    set_data(project, kind="folder", folder="mine", num_seen=1, num_unseen=2)
    refused = dvc(project, "repro", "alpaca_plus")
    assert refused.returncode != 0
    assert "tasks.sources: the sources in data.folder cannot be used" in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr
