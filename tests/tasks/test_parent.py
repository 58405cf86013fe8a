"""A stage dies with `dvc repro`, and no second one starts while it runs. Done with real processes and real kills."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tasks.parent import is_dvc
from tests.running import environment, gone, make_repository, wait_until

ROOT = Path(__file__).resolve().parents[2]

# A real stage: it leaves its pid and that of a child in a session of its own, and hangs as long as `hang` exists.
STAGE = '''
"""A stage that hangs while told so."""
import os, pathlib, subprocess, sys, time
from tasks.stage import stage_main


def run(stage):
    if pathlib.Path("hang").exists():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
        pathlib.Path("pids").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(300)
    with stage.out(pathlib.Path("data/slow")) as out:
        out.write_text("done")


stage_main("slow", run)
'''
DVC_YAML = """
stages:
  slow:
    cmd: python slow.py
    deps: [slow.py]
    outs: [data/slow, data/statements/slow.json]
"""


class Project:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *command: str, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=self.root,
            env=environment(),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self.started.append(process)
        return process

    def repro(self) -> "subprocess.Popen[str]":
        return self.start("-m", "dvc", "repro")

    def hang(self) -> None:
        (self.root / "hang").touch()

    def pids(self) -> list[int]:
        """The stage's process and its child, once both run."""
        file = self.root / "pids"
        assert wait_until(lambda: file.exists() and len(file.read_text().split()) == 2), "the stage did not start"
        pids = [int(pid) for pid in file.read_text().split()]
        file.unlink()
        return pids


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    (tmp_path / "slow.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    make_repository(tmp_path)
    made = Project(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killing_dvc_repro_ends_its_stage_within_seconds_and_the_next_one_completes(project: Project, how: int) -> None:
    project.hang()
    repro = project.repro()
    pids = project.pids()
    repro.send_signal(how)
    repro.wait()
    assert wait_until(lambda: all(gone(pid) for pid in pids), 3.0)
    (project.root / "hang").unlink()
    again = project.repro()
    assert again.wait(60) == 0, again.stdout and again.stdout.read()
    assert (project.root / "data/slow").read_text() == "done"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_pipeline_told_to_stop_stops_dvc_and_its_stage(project: Project, how: int) -> None:
    project.hang()
    pipeline = project.start("-m", "tasks.pipeline")
    pids = project.pids()
    dvc = psutil.Process(pipeline.pid).children()[0]
    pipeline.send_signal(how)
    said, _ = pipeline.communicate(timeout=30)
    assert pipeline.returncode == 128 + signal.SIGTERM, said
    assert "goes on where it was" in said
    assert gone(dvc.pid)
    assert wait_until(lambda: all(gone(pid) for pid in pids), 3.0)


def test_at_a_terminal_the_first_interrupt_is_the_stages_and_the_second_ends_dvc(project: Project) -> None:
    project.hang()
    ours, theirs = pty.openpty()
    pipeline = project.start("-m", "tasks.pipeline", stdin=theirs)
    pids = project.pids()
    pipeline.send_signal(signal.SIGINT)
    time.sleep(1)
    assert pipeline.poll() is None
    assert not any(gone(pid) for pid in pids)
    pipeline.send_signal(signal.SIGINT)
    said, _ = pipeline.communicate(timeout=30)
    assert pipeline.returncode == 128 + signal.SIGTERM, said
    assert wait_until(lambda: all(gone(pid) for pid in pids), 3.0)
    os.close(ours)
    os.close(theirs)


def test_a_restart_right_after_a_kill_is_not_refused(project: Project) -> None:
    project.hang()
    repro = project.repro()
    pids = project.pids()
    (project.root / "hang").unlink()
    repro.kill()
    repro.wait()
    again = project.start("slow.py")  # faster than `dvc repro`: the dying stage still holds the lock
    assert again.wait(60) == 0, again.stdout and again.stdout.read()
    assert all(gone(pid) for pid in pids)
    assert (project.root / "data/slow").read_text() == "done"


def test_a_second_start_while_a_stage_runs_is_refused_and_names_the_process(project: Project) -> None:
    project.hang()
    repro = project.repro()
    pids = project.pids()
    second_stage = project.start("slow.py")
    second_repro = project.repro()
    said, _ = second_stage.communicate(timeout=60)
    assert second_stage.returncode == 2, said
    assert f"already running in process {pids[0]} (" in said
    assert "slow.py" in said
    said, _ = second_repro.communicate(timeout=60)
    assert second_repro.returncode != 0
    assert "is busy" in said
    assert str(repro.pid) in said
    assert not any(gone(pid) for pid in pids), "the first one must go on"
    assert repro.poll() is None


def test_a_stage_whose_dvc_died_before_it_was_ready_ends_at_once(project: Project) -> None:
    (project.root / "orphan.py").write_text(
        "from tasks.parent import die_with_parent; die_with_parent(); import time; time.sleep(60)"
    )
    # Started by something that is not DVC, but with DVC's mark in the environment: DVC was there and is gone.
    orphan = subprocess.run(
        [sys.executable, "orphan.py"], cwd=project.root, env=environment(DVC_STAGE="slow"), timeout=30, check=False
    )
    assert orphan.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["dvc", "repro"], True),
        (["/venv/bin/python", "/venv/bin/dvc", "--wait-for-lock", "repro"], True),
        (["python", "-m", "dvc", "repro"], True),
        (["python", "/home/dvc/project/train.py"], False),
        (["bash", "-c", "dvc repro; make"], False),
    ],
)
def test_dvc_is_told_from_paths_that_contain_its_name(command: list[str], expected: bool) -> None:
    assert is_dvc(command) is expected
