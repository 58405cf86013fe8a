"""The flow against a real Prefect server: limits, skipping, failures of each kind, kills and cancellation."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.flows.conftest import Server
from tests.flows.project import STAGES, Project
from tests.running import environment, git

GPU = ("train@a", "train@b", "train@c")


def flow(project: Project, server: Server, *arguments: str, **popen: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "flows.pipeline", *arguments],
        cwd=project.root,
        env=server.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **popen,
    )


def finish(process: "subprocess.Popen[str]", seconds: float = 120) -> tuple[int, str]:
    said, _ = process.communicate(timeout=seconds)
    return process.returncode, said


def expect(condition: Callable[[], object], seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def processes_in(root: Path) -> list[psutil.Process]:
    """Whatever still works in the project's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(root):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind(project: Project) -> Iterator[None]:
    """After every test, whatever it did: no process of the project is alive."""
    yield
    try:
        expect(lambda: not processes_in(project.root), 10)
    finally:
        for process in processes_in(project.root):
            process.kill()


def overlaps(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        (first["stage"], second["stage"])
        for number, first in enumerate(events)
        for second in events[number + 1 :]
        if second["start"] < first["end"] and first["start"] < second["end"]
    ]


def test_the_whole_graph_runs_within_its_limits_and_leaves_the_lock_that_dvc_repro_leaves(
    project: Project, server: Server
) -> None:
    for stage in GPU:
        project.order(stage, "sleep 1.5")
    project.order("count", "meet check@a")
    project.order("check@a", "meet count")
    code, said = finish(flow(project, server))
    assert code == 0, said
    assert f"{STAGES} made" in said
    events = project.events()
    assert len(events) == STAGES
    flow_runs, task_runs = zip(*(event["started_by"] for event in events), strict=True)
    assert (len(set(flow_runs)), len(set(task_runs))) == (1, STAGES), "each stage knows the runs that started it"
    assert not overlaps([event for event in events if event["stage"] in GPU])
    pairs = {frozenset(pair) for pair in overlaps(events)}
    assert frozenset({"count", "check@a"}) in pairs, (
        "stages that do not depend on each other should run at the same time"
    )
    lock = project.lock()

    code, said = finish(flow(project, server, "report"))
    assert code == 0, said
    assert "train@a is up to date: skipped" in said
    assert f"{STAGES} up to date" in said
    assert len(project.events()) == STAGES

    shutil.rmtree(project.root / "out")
    shutil.rmtree(project.root / ".dvc/cache")
    shutil.rmtree(project.root / "orders")
    for path in ("dvc.lock", "judge.json", "report.html"):
        (project.root / path).unlink()
    project.dvc("repro")
    assert project.lock() == lock


@pytest.mark.slow
def test_failures_of_each_kind(project: Project, server: Server) -> None:
    project.order("fetch", "fail once")  # net: tried again
    project.order("train@a", "exit 2")  # a user's mistake
    project.order("train@b", "memory")  # a full GPU
    project.order("train@c", "suicide")  # killed once: tried again
    code, said = finish(flow(project, server))
    assert code == 1, said
    assert [len(project.events(stage)) for stage in ("fetch", *GPU)] == [2, 1, 1, 2], said
    assert "\ntrain@a: user's mistake: " in said
    assert "\ntrain@b: out of memory: " in said
    for stage in ("check@a", "judge", "report"):
        assert f"{stage}: not started, it needs train@" in said
    assert project.events("check@c"), "what does not depend on a failed stage goes on"
    assert project.events("count")

    shutil.rmtree(project.root / "orders")
    code, said = finish(flow(project, server))
    assert code == 0, said
    assert len(project.events("train@c")) == 2, "what was finished is not done again"


@pytest.mark.slow
def test_a_stage_past_its_time_out_is_stopped_with_all_it_started(project: Project, server: Server) -> None:
    project.order("weights", "hang")
    code, said = finish(flow(project, server, "train@a", "--timeout", "weights=4"))
    assert code == 1
    assert "weights: timed out: stopped after its limit of 4 s" in said
    child = int((project.root / "events/weights.child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    (project.root / "orders/weights").unlink()
    code, said = finish(flow(project, server, "train@a"))
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.parametrize("how", ["KILL", "TERM", "INT", "cancel"])
def test_however_the_flow_ends_its_stage_ends_too_and_the_next_run_completes(
    project: Project, server: Server, how: str
) -> None:
    project.order("weights", "hang")
    run = flow(project, server, "train@a")
    expect(lambda: (project.root / "events/weights.child").exists())
    expect(lambda: project.events("weights"))
    if how == "cancel":
        listed = command(project, server, "status")
        running = re.search(r"^(\w{8})  Running", listed, re.MULTILINE)
        assert running, listed
        assert "is being cancelled" in command(project, server, "cancel", running[1])
    else:
        run.send_signal(signal.Signals[f"SIG{how}"])
    code, said = finish(run, 40)
    assert code != 0, said
    expect(lambda: not processes_in(project.root), 8)
    if how == "cancel":
        assert "Cancelled" in command(project, server, "status")
    (project.root / "orders/weights").unlink()
    if how == "KILL":
        (project.root / ".dvc/tmp/rwlock").write_text("", encoding="utf-8")  # as DVC leaves it, killed while it writes
    code, said = finish(flow(project, server, "train@a"))
    assert code == 0, said
    assert len(project.events("fetch")) == 1, "what was finished before is not done again"


def command(project: Project, server: Server, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        cwd=project.root,
        env=server.env(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_a_users_mistakes_are_one_message_before_anything_starts(project: Project, server: Server) -> None:
    code, said = finish(flow(project, server, "reprot", "--run", "z", "--timeout", "x=1"))
    assert code == 2
    assert said.startswith("flows: there is no stage 'reprot' (did you mean report")
    assert "no run 'z'" in said
    assert "timeouts_s names 'x'" in said
    assert len(said.splitlines()) == 1
    assert not project.events()


@pytest.mark.slow
def test_a_second_run_in_a_clone_is_refused_and_the_parameters_of_the_first_stay(
    project: Project, server: Server
) -> None:
    """The second would change the stages of the matrix, and with them params.yaml, under the first."""
    configurable(project)
    project.order("weights", "hang")
    first = flow(project, server, "weights")
    try:
        expect(lambda: (project.root / "events/weights.child").exists())
        before = (project.root / "params.yaml").read_bytes()
        code, said = finish(flow(project, server, "--plan", "--set", "train.steps=7"))
        assert code == 0, said
        assert (project.root / "params.yaml").read_bytes() == before, "a plan writes nothing"
        refused = f"is already running in {project.root}, in process {first.pid} ("
        for second in (("count",), ("count", "--set", "train.steps=7")):
            code, said = finish(flow(project, server, *second))
            assert code == 2, said
            assert refused in said
            assert "wait for it, stop it, or use another clone" in said
        for module, arguments in (("tasks.pipeline", ["count"]), ("cli.main", ["params", "train.steps=7"])):
            done = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                cwd=project.root, env=server.env(), capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 2, done.stdout + done.stderr
            assert refused in done.stderr
        assert (project.root / "params.yaml").read_bytes() == before
    finally:
        first.kill()
        first.communicate()
    expect(lambda: not processes_in(project.root), 10)
    code, said = finish(flow(project, server, "count", "--set", "train.steps=7"))
    assert code == 0, said
    assert "steps: 7" in (project.root / "params.yaml").read_text()


@pytest.mark.slow
def test_a_forced_stage_whose_push_fails_is_made_once_and_its_push_tried_again(
    project: Project, server: Server
) -> None:
    remote = project.root.parent / "remote"
    remote.write_text("not a folder")
    project.dvc("remote", "add", "--default", "store", str(remote))
    run = flow(project, server, "weights", "--force", "--push")
    assert run.stdout is not None
    heard = next((line for line in run.stdout if "weights: DVC remote: made, but not pushed" in line), None)
    assert heard, "the push did not fail"
    remote.unlink()
    code, said = finish(run)
    assert code == 0, said
    assert "1 made" in said
    assert len(project.events("weights")) == 1, "only the push is tried again"
    assert list(remote.rglob("*")), "nothing was pushed"


@pytest.mark.slow
def test_what_was_only_pulled_is_not_called_made(project: Project, server: Server) -> None:
    project.dvc("remote", "add", "--default", "store", str(project.root.parent / "remote"))
    code, said = finish(flow(project, server, "weights", "--push"))
    assert code == 0, said
    assert "1 made" in said
    shutil.rmtree(project.root / ".dvc/cache")
    (project.root / "out/weights.json").unlink()
    code, said = finish(flow(project, server, "weights", "--pull"))
    assert code == 0, said
    assert "1 pulled from the DVC remote" in said
    assert len(project.events("weights")) == 1


def configurable(project: Project) -> None:
    """Gives the project the conf/ and params.yaml of the real one, so that `--set` can be used, beside its own runs."""
    root = Path(__file__).resolve().parents[2]
    shutil.copytree(root / "conf", project.root / "conf")
    shutil.copy(root / "params.yaml", project.root / "params.yaml")
    graph = project.root / "dvc.yaml"
    graph.write_text("vars: [{tiny_runs: [a, b, c]}]" + graph.read_text().replace("${runs}", "${tiny_runs}"))
    git(project.root, "add", "-A")
    git(project.root, "commit", "-qm", "Parameters that can be set")


@pytest.mark.slow
def test_pools_are_refused_a_dirty_work_tree_and_deployments_that_do_not_exist(
    project: Project, server: Server
) -> None:
    project.dvc("remote", "add", "--default", "store", str(project.root.parent / "remote"))
    git(project.root, "commit", "-qam", "A remote")
    code, said = finish(flow(project, server, "--dispatch", "pools"))
    assert code == 1
    assert "there is no deployment stage/api, stage/cpu, stage/gpu, stage/net on the server" in said
    (project.root / "work.py").open("a").write("# changed\n")
    code, said = finish(flow(project, server, "--dispatch", "pools"))
    assert code == 1
    assert "has changes in work.py; commit or stash them" in said
    assert not project.events()


def test_one_machine_needs_no_server_set_up_by_hand(project: Project) -> None:
    """`python -m flows.pipeline` and nothing else: it starts a temporary server and stops it again."""
    run = subprocess.run(
        [sys.executable, "-m", "flows.pipeline", "count"],
        cwd=project.root,
        env=environment(HOME="/nonexistent"),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 made" in run.stdout
    assert "\r" not in run.stdout + run.stderr, "no progress bars without a terminal"
    assert not processes_in(project.root)


@pytest.mark.slow
def test_without_a_server_a_run_that_was_killed_is_called_crashed(project: Project) -> None:
    at_once = "import flows.runs, flows.app; flows.runs.START_SECONDS = 0.0; flows.app.main(['status'])"
    env = environment(HOME="/nonexistent")

    def status() -> str:
        return subprocess.run(
            [sys.executable, "-c", at_once], cwd=project.root, env=env, capture_output=True, text=True, check=True
        ).stdout

    project.order("fetch", "hang")
    run = subprocess.Popen([sys.executable, "-m", "flows", "run", "fetch"], cwd=project.root, env=env)
    expect(lambda: project.events("fetch"), 120)
    assert "  Running  " in status()
    run.kill()
    run.wait()
    expect(lambda: not processes_in(project.root), 8)
    assert "  Crashed  " in status()
