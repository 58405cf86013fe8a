"""Process groups end whole, however they end; failures are told apart."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from prefect.logging import disable_run_logger

from flows import stages
from flows.failures import FailureKind, StageFailed, classify, retries_left
from flows.graph import read_graph
from flows.processes import run_in_group
from flows.stages import UP_TO_DATE, StageRun, reproduce
from tasks.stage import TRY_LATER
from tests.flows.project import make_project
from tests.running import environment, gone, wait_until

# A process with a child in a session of its own, as torchrun's workers are, that would both run on for minutes.
FAMILY = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
print("ready", flush=True)
time.sleep(300)
"""


def test_output_comes_line_by_line_while_the_command_runs(tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    program = "import time; print('one', flush=True); time.sleep(0.6); print('two')"
    outcome = run_in_group(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(),
        on_line=lambda line: seen.append((line, time.monotonic())),
    )  # fmt: skip
    assert [line for line, _ in seen] == ["one", "two"] == list(outcome.tail)
    assert seen[1][1] - seen[0][1] > 0.3
    assert (outcome.ended, outcome.returncode) == ("by itself", 0)


@pytest.mark.parametrize("how", ["timed out", "cancelled"])
def test_a_time_out_or_a_cancellation_ends_the_whole_family(tmp_path: Path, how: str) -> None:
    pid_file = tmp_path / "pid"
    cancelled = threading.Event()
    outcome = run_in_group(
        [sys.executable, "-c", FAMILY, str(pid_file)],
        cwd=tmp_path,
        env=environment(),
        timeout_s=1.0 if how == "timed out" else 60.0,
        cancelled=cancelled,
        on_line=lambda _: cancelled.set() if how == "cancelled" else None,
    )
    assert outcome.ended == how
    assert outcome.seconds < 10
    assert wait_until(lambda: gone(int(pid_file.read_text())), 2)


def test_children_that_a_finished_command_left_behind_are_ended(tmp_path: Path) -> None:
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])"
    program = f"import subprocess, sys; print({child}.pid)"
    outcome = run_in_group([sys.executable, "-c", program], cwd=tmp_path, env=environment())
    assert wait_until(lambda: gone(int(outcome.tail[0])), 2)


def test_when_a_launcher_is_killed_its_workers_end_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = FAMILY.replace("time.sleep(300)\n", "import os; os.kill(os.getpid(), 9)\n")
    outcome = run_in_group([sys.executable, "-c", program, str(pid_file)], cwd=tmp_path, env=environment())
    assert outcome.returncode == -9
    assert wait_until(lambda: gone(int(pid_file.read_text())), 2)


def test_killing_the_flow_ends_what_it_had_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    flow = f"""
from pathlib import Path; import os, sys
from flows.processes import run_in_group
run_in_group([sys.executable, "-c", {FAMILY!r}, {str(pid_file)!r}], cwd=Path("."), env=dict(os.environ))
"""
    process = subprocess.Popen([sys.executable, "-c", flow], env=environment(), cwd=tmp_path)
    try:
        assert wait_until(lambda: pid_file.exists() and pid_file.read_text())
        leader = psutil.Process(int(pid_file.read_text())).parent()
        assert leader is not None
        process.kill()
        assert wait_until(lambda: gone(leader.pid) and gone(int(pid_file.read_text())), 30)
    finally:
        process.kill()
        process.wait()


FAILED = "ERROR: failed to reproduce 'x': failed to run: python -m tasks.x, exited with {}"


@pytest.mark.parametrize(
    ("tail", "kind"),
    [
        ([FAILED.format(2)], FailureKind.MISTAKE),
        ([FAILED.format(1)], FailureKind.ERROR),
        ([FAILED.format(TRY_LATER)], FailureKind.ERROR),
        (["torch.OutOfMemoryError: CUDA out of memory. Tried to ...", FAILED.format(1)], FailureKind.OUT_OF_MEMORY),
        ([FAILED.format(-9)], FailureKind.KILLED),
        ([FAILED.format(137)], FailureKind.KILLED),
        (["ERROR: failed to reproduce 'x': 'out' is busy, it is being blocked by:"], FailureKind.BUSY),
        (["ERROR: failed to push data to the cloud - Unable to connect"], FailureKind.REMOTE),
        (["tasks.x: stage x is already running in process 12", FAILED.format(2)], FailureKind.BUSY),
    ],
)
def test_failures_are_told_apart(tail: list[str], kind: FailureKind) -> None:
    assert classify(255, tail) is kind


def test_only_what_may_pass_by_itself_is_tried_again() -> None:
    for resource in ("net", "cpu", "gpu", "api"):
        for kind in (FailureKind.MISTAKE, FailureKind.OUT_OF_MEMORY, FailureKind.TIMED_OUT, FailureKind.CANCELLED):
            assert not retries_left(kind, resource, 1)
        assert retries_left(FailureKind.KILLED, resource, 1)
        assert not retries_left(FailureKind.KILLED, resource, 2)
    assert retries_left(FailureKind.ERROR, "api", 3)
    assert not retries_left(FailureKind.ERROR, "api", 4)
    assert not retries_left(FailureKind.ERROR, "gpu", 1)


@pytest.mark.slow
def test_a_stage_waits_for_another_one_that_uses_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC wants the outs of a stage for itself, although it is up to date, while `count` reads them."""
    project = make_project(tmp_path / "project")
    project.dvc("repro", "split")
    project.order("count", "sleep 15")
    stage = read_graph(project.root).stages["split"]
    monkeypatch.setattr(stages, "HELD_POLL_SECONDS", 0.5)
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", "count"]
    with disable_run_logger(), subprocess.Popen(command, cwd=project.root, stdout=subprocess.DEVNULL) as other:
        assert wait_until(lambda: project.events("count"), 30)
        cancelled = threading.Event()
        threading.Timer(5.0, cancelled.set).start()
        with pytest.raises(StageFailed, match="split: cancelled: stopped"):
            reproduce(stage, StageRun(project.root), cancelled)
        assert other.poll() is None
        assert reproduce(stage, StageRun(project.root), threading.Event()).how == UP_TO_DATE
        assert other.wait(30) == 0
    (event,) = project.events("count")
    assert event["end"], "it was let finish"
