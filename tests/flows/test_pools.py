"""Deployments from prefect.yaml on a real server, with real process workers in clones of their own."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from flows.lockfile import read_entries
from tests.flows.conftest import Server
from tests.flows.project import STAGES, Project, make_project
from tests.flows.test_pipeline import GPU, expect, overlaps, processes_in
from tests.running import git

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Site:
    """A project whose commit is in two clones, with a DVC remote in a third folder, and the workers started there."""

    project: Project
    clones: tuple[Path, Path]
    server: Server
    events: Path
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def command(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "flows", *arguments],
            cwd=self.project.root,
            env=self.server.env(EVENTS=str(self.events), PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30"),
            capture_output=True,
            text=True,
            timeout=600,
            check=check,
        )

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "flows", *arguments],
            cwd=self.project.root,
            env=self.server.env(EVENTS=str(self.events), PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def worker(self, clone: Path, *pools: str) -> "subprocess.Popen[bytes]":
        with (clone.parent / f"worker-{'-'.join(pools)}-{len(self.workers)}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "flows", "worker", *pools, "--root", str(clone)],
                cwd=clone,
                env=self.server.env(
                    EVENTS=str(self.events), PREFECT_WORKER_QUERY_SECONDS="2", PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30"
                ),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.workers.append(process)
        return process

    def order(self, stage: str, order: str) -> None:
        """Tells a stage what to do, wherever it runs."""
        for folder in self.folders:
            Project(folder).order(stage, order)

    def relax(self, stage: str) -> None:
        for folder in self.folders:
            (folder / "orders" / stage).unlink(missing_ok=True)

    def deployment_run(self, *arguments: str) -> "subprocess.Popen[str]":
        """`prefect deployment run ... --watch`."""
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", "deployment", "run", *arguments, "--watch"],
            cwd=self.project.root,
            env=self.server.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.project.root, *self.clones)

    def processes(self) -> list[psutil.Process]:
        """What is alive of the stages: DVC, and their own processes."""
        found = []
        for process in (process for folder in self.folders for process in processes_in(folder)):
            with contextlib.suppress(psutil.Error):  # it has ended since
                if re.search(r"work\.py|-m dvc|time\.sleep", " ".join(process.cmdline())):
                    found.append(process)
        return found

    def hold_no_lock(self) -> None:
        """Fails if DVC's lock or the place in a clone is still taken."""
        for folder in self.folders:
            Project(folder).dvc("status")  # takes the lock, and fails where it would have to wait
            place = folder / ".work/dispatch/users.lock"
            if place.exists():
                with place.open("a") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def logs(self) -> str:
        return "\n".join(file.read_text()[-6000:] for file in self.clones[0].parent.glob("worker-*.log"))

    def statuses(self) -> list[str]:
        """The states of the runs of the pipeline and of nights, the latest first."""
        return re.findall(r"^\w{8}  (\w+)", self.command("status", "--limit", "50").stdout, re.MULTILINE)

    def ran(self, stage: str | None = None) -> list[dict[str, object]]:
        return self.project.events(stage, self.events)

    def end(self) -> None:
        for worker in self.workers:
            for process in [*psutil.Process(worker.pid).children(recursive=True)] if worker.poll() is None else []:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        for folder in self.folders:
            for process in processes_in(folder):
                process.kill()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """With a server of its own: deployments, schedules and runs of one test are not another's."""
    project = make_project(tmp_path / "project")
    for package in ("flows", "tasks", "gist_core"):
        shutil.copytree(ROOT / package, project.root / package, ignore=shutil.ignore_patterns("__pycache__"))
    deployments = (ROOT / "prefect.yaml").read_text()
    assert "lost_after_s: 600" in deployments
    (project.root / "prefect.yaml").write_text(deployments.replace("lost_after_s: 600", "lost_after_s: 120"))
    project.dvc("remote", "add", "--default", "store", str(tmp_path / "remote"))
    with (project.root / ".gitignore").open("a") as file:
        file.write("__pycache__/\n")
    git(project.root, "add", "-A")
    git(project.root, "commit", "-q", "-m", "With flows and a remote")
    clones = (tmp_path / "clone-1", tmp_path / "clone-2")
    for clone in clones:
        git(tmp_path, "clone", "-q", str(project.root), str(clone))
    (tmp_path / "server").mkdir()
    made = Site(project, clones, Server(tmp_path / "server"), tmp_path / "events")
    try:
        made.server.start()
        yield made
    finally:
        made.end()
        made.server.stop()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_stage_dispatched_to_a_worker_in_another_clone_comes_back_by_hash(site: Site) -> None:
    site.command("deploy")
    site.worker(site.clones[0], "cpu")
    ended = site.command("run", "split", "--dispatch", "pools", check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr + site.logs()
    assert {event["cwd"] for event in site.ran()} == {str(site.clones[0])}
    assert [event["stage"] for event in site.ran()] == ["fetch", "split"]
    lock = site.project.lock()
    shutil.rmtree(site.project.root / ".dvc/cache")
    shutil.rmtree(site.project.root / "out")
    (site.project.root / "dvc.lock").unlink()
    site.project.dvc("repro", "split")
    assert site.project.lock() == lock


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("started", ["by hand", "by schedule"])
def test_two_pools_in_two_clones_make_what_dvc_repro_makes(site: Site, started: str) -> None:
    for stage in GPU:
        site.order(stage, "sleep 6")
    site.order("count", "meet check@a")
    site.order("check@a", "meet count")
    # Limits of the flow wider than the pool's: it is the pool that keeps the gpu stages apart.
    limits = '{"gpu": 3, "cpu": 3}'
    if started == "by schedule":
        file = site.project.root / "prefect.yaml"
        entry = "entrypoint: flows/flow.py:pipeline"
        more = f"parameters: {{dispatch: pools, limits: {limits}}}\n    schedules: [{{cron: '* * * * *'}}]"
        file.write_text(file.read_text().replace(entry, f"{entry}\n    {more}"))
        git(site.project.root, "commit", "-qam", "Every minute")
    site.command("deploy")
    site.worker(site.clones[0], "cpu", "api")
    site.worker(site.clones[1], "gpu")
    site.worker(site.project.root, "pipelines")
    if started == "by hand":
        run = site.deployment_run("pipeline/pipeline", "--param", "dispatch=pools", "--param", f"limits={limits}")
        said, _ = run.communicate(timeout=500)
        assert run.returncode == 0, said + site.logs()
    else:
        expect(lambda: site.statuses().count("Completed"), 500)
    site.end()
    events = site.ran()
    assert len(events) == STAGES
    gpu = [event for event in events if event["stage"] in GPU]
    assert {event["cwd"] for event in gpu} == {str(site.clones[1])}
    assert {event["cwd"] for event in events if event not in gpu} == {str(site.clones[0])}
    assert not overlaps(gpu)
    assert overlaps([event for event in events if event not in gpu]), "cpu stages should run at the same time"
    for path in ("out/model/a.json", "out/check/c.json", "judge.json", "report.html"):
        assert (site.project.root / path).is_file(), f"{path} did not arrive"
    lock = site.project.lock()

    shutil.rmtree(site.project.root / ".dvc/cache")
    shutil.rmtree(site.project.root / "out")
    shutil.rmtree(site.project.root / "orders")
    for path in ("dvc.lock", "judge.json", "report.html"):
        (site.project.root / path).unlink()
    site.project.dvc("repro")
    assert site.project.lock() == lock


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", ["flow cancelled", "worker terminated", "worker killed", "stage killed"])
def test_after_a_fault_nothing_is_left_and_nothing_finished_is_done_twice(site: Site, fault: str) -> None:
    """The fault comes while `train@a` hangs on its worker and what it needs is finished."""
    site.order("train@a", "hang")
    site.command("deploy")
    site.worker(site.clones[0], "cpu")
    worker = site.worker(site.clones[1], "gpu")
    run = site.start("run", "train@a", "--dispatch", "pools")
    expect(lambda: (site.events / "train@a.child").exists(), 600)
    if fault == "flow cancelled":
        running = re.search(r"^(\w{8})  Running", site.command("status").stdout, re.MULTILINE)
        assert running
        site.command("cancel", running[1])
    elif fault == "worker terminated":
        worker.send_signal(signal.SIGTERM)
    elif fault == "worker killed":  # the whole of it, as when its machine goes down
        killed = psutil.Process(worker.pid).children(recursive=True)
        for process in [*killed, psutil.Process(worker.pid)]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        # To plain DVC a zombie is alive, and the first process of a machine may take its time to collect it.
        expect(lambda: not any(psutil.pid_exists(process.pid) for process in killed), 60)
    else:
        site.relax("train@a")
        psutil.Process(int(site.ran("train@a")[0]["pid"])).kill()  # type: ignore[call-overload]
    if fault != "stage killed":
        expect(lambda: not site.processes(), 60)
        site.hold_no_lock()
        site.relax("train@a")
    if fault.startswith("worker"):
        worker.wait(240)  # its runs have 90 s, and then it has
        assert run.poll() is None, "a lost worker is waited for"
        site.worker(site.clones[1], "gpu")
    said, _ = run.communicate(timeout=600)
    assert run.returncode == (1 if fault == "flow cancelled" else 0), said + site.logs()
    assert ("no heartbeat for" in said) == (fault == "worker killed"), "one that is told to end tells the server"
    expect(lambda: not site.processes(), 60)
    site.hold_no_lock()

    again = site.command("run", "train@a", "--dispatch", "pools", check=False)
    assert again.returncode == 0, again.stdout + again.stderr + site.logs()
    assert [len(site.ran(stage)) for stage in ("fetch", "weights", "split", "train@a")] == [1, 1, 1, 2]
    lock = read_entries(site.project.root / "dvc.lock")
    (site.project.root / "dvc.lock").unlink()
    site.project.dvc("repro", "train@a", "--force", "--no-run-cache")
    assert read_entries(site.project.root / "dvc.lock") == lock


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_a_killed_run_had_sent_out_is_waited_for_and_not_sent_out_again(site: Site) -> None:
    site.order("train@a", "meet nobody")
    site.command("deploy")
    site.worker(site.clones[0], "cpu")
    site.worker(site.clones[1], "gpu")
    run = site.start("run", "train@a", "--dispatch", "pools")
    expect(lambda: bool(site.ran("train@a")), 600)
    run.kill()
    run.communicate()
    again = site.start("run", "train@a", "--dispatch", "pools")
    assert again.stdout is not None
    assert any("train@a: another run sent it out as" in line for line in again.stdout)
    (site.events / "nobody.0.json").write_text("{}")
    said, _ = again.communicate(timeout=600)
    assert again.returncode == 0, said + site.logs()
    (trained,) = site.ran("train@a")
    assert "end" in trained, "it was not stopped either"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("has_begun", [True, False], ids=["running", "queued"])
def test_of_two_runs_that_wait_for_a_stage_one_may_be_cancelled(site: Site, tmp_path: Path, has_begun: bool) -> None:
    git(tmp_path, "clone", "-q", str(site.project.root), "other")
    site.order("train@a", "hang")
    site.command("deploy")
    site.worker(site.clones[0], "cpu")
    if has_begun:
        site.worker(site.clones[1], "gpu")
    one = site.start("run", "train@a", "--dispatch", "pools")
    sent = (site.events / "train@a.child").exists if has_begun else lambda: site.ran("weights") and site.ran("split")
    expect(sent, 600)
    (running,) = re.findall(r"^(\w{8})  Running", site.command("status").stdout, re.MULTILINE)
    other = site.start("run", "train@a", "--dispatch", "pools", "--root", str(tmp_path / "other"))
    assert other.stdout is not None
    assert any("train@a: another run sent it out as" in line for line in other.stdout)
    site.relax("train@a")
    site.command("cancel", running)
    one.communicate(timeout=600)
    assert one.returncode == 1
    if not has_begun:
        site.worker(site.clones[1], "gpu")
    said, _ = other.communicate(timeout=600)
    assert other.returncode == 0, said + site.logs()
    assert ["end" in run for run in site.ran("train@a")] == [False] * has_begun + [True]


SEND = """
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Cancelled
import flows.dispatch
from flows.dispatch import _send, run_deployment

look, met = SyncPrefectClient.read_flow_runs, Barrier(4)
order = {"stage": "split", "commit": "x", "timeout_s": 1.0}

def look_together(*args, **kwargs):  # none has sent anything when all of them look
    found = look(*args, **kwargs)
    met.wait(60)
    return found

@task
def send(more):
    return str(_send("stage/cpu", "split", order | more).id)

@flow
def race():
    SyncPrefectClient.read_flow_runs = look_together
    sent = {future.result() for future in [send.submit({"timeout_s": float(number)}) for number in range(4)]}
    SyncPrefectClient.read_flow_runs = look
    (first,) = sent
    assert send({}) == first, "it is under way"
    assert send({"commit": "y"}) != first, "another order"
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(first, Cancelled(), force=True)
    ahead = datetime.now(UTC) + timedelta(minutes=2)  # on the machine that sends this one
    flows.dispatch.run_deployment = partial(run_deployment, scheduled_time=ahead)
    second = send({})
    assert second != first, "it has ended"
    flows.dispatch.run_deployment = run_deployment
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(second, Cancelled(), force=True)
    third = send({})
    assert third not in (first, second)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(third, Cancelled(), force=True)
    assert send({}) not in (first, second, third), "the latest is the one that was made last"

race()
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_of_runs_that_send_out_a_stage_in_the_same_moment_all_wait_for_one(site: Site) -> None:
    site.command("deploy")
    sent = subprocess.run([sys.executable, "-c", SEND], cwd=ROOT, env=site.server.env(), capture_output=True, text=True)
    assert sent.returncode == 0, sent.stdout + sent.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_dispatched_stage_that_fails_once_is_tried_again_and_one_that_hangs_is_stopped(site: Site) -> None:
    site.order("fetch", "fail once")
    site.order("weights", "hang")
    site.command("deploy")
    site.worker(site.clones[0], "cpu")
    arguments = ("run", "split", "weights", "--dispatch", "pools", "--timeout", "weights=8")
    ended = site.command(*arguments, check=False)
    assert ended.returncode == 1
    assert "weights: timed out: stopped after its limit of 8 s" in ended.stderr, ended.stdout + ended.stderr
    assert [len(site.ran(stage)) for stage in ("fetch", "split", "weights")] == [2, 1, 1]
    expect(lambda: not site.processes(), 10)
    site.hold_no_lock()
    site.relax("weights")
    ended = site.command(*arguments, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr + site.logs()
    assert [len(site.ran(stage)) for stage in ("fetch", "split", "weights")] == [2, 1, 2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_flow_run_that_was_taken_and_never_started_is_given_up(site: Site) -> None:
    """As a worker leaves it that is killed between the two: it has sent no heartbeat yet."""
    site.command("deploy")
    with httpx.Client(base_url=site.server.url, timeout=60) as client:
        deployment = client.get("/deployments/name/stage/cpu").json()["id"]
        asked = {"parameters": {"stage": "split", "commit": "x"}}
        run = client.post(f"/deployments/{deployment}/create_flow_run", json=asked).json()["id"]
        taken = client.post(f"/flow_runs/{run}/set_state", json={"state": {"type": "PENDING"}}).json()
        assert taken["status"] == "ACCEPT"
        expect(lambda: client.get(f"/flow_runs/{run}").json()["state"]["type"] == "CRASHED", 400)
        assert client.get(f"/flow_runs/{run}").json()["state"]["message"] == "no heartbeat for 120 s"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_in_the_background_of_a_script_ends_when_it_is_told_to(site: Site) -> None:
    """A shell without a terminal has such a process ignore SIGINT, by which Prefect's workers end."""
    site.command("deploy")
    command = f"trap '' INT; exec {sys.executable} -m flows worker cpu gpu"
    worker = subprocess.Popen(["bash", "-c", command], cwd=site.clones[0], env=site.server.env())
    try:
        expect(lambda: len(psutil.Process(worker.pid).children(recursive=True)) >= 2, 60)
        time.sleep(20)  # both workers have asked for work
        begun = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        worker.wait(300)
        assert time.monotonic() - begun < 60, "two graces of 90 s each"
    finally:
        worker.kill()
        worker.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=lambda end: end.name)
def test_what_serve_runs_ends_with_it_however_that_ends(site: Site, end: signal.Signals) -> None:
    site.order("train@a", "hang")
    served = site.start("serve")
    assert served.stdout is not None
    assert any("Your flow 'pipeline' is being served" in line for line in served.stdout)
    run = site.deployment_run("pipeline/here", "--param", 'targets=["train@a"]')
    expect(lambda: (site.events / "train@a.child").exists(), 300)
    served.send_signal(end)
    expect(lambda: not site.processes(), 120)
    served.communicate(timeout=120)
    run.kill()
    run.communicate()
    site.relax("train@a")
    again = site.command("run", "train@a")
    assert "3 up to date, 1 made" in again.stdout + again.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_server_may_go_away_and_come_back_during_a_stage(site: Site) -> None:
    """Of a run of a deployment that runs one at a time: the next run is not kept out by the place of the first."""
    site.order("weights", "sleep 15")
    site.command("deploy")
    site.worker(site.clones[0], "cpu")
    site.worker(site.project.root, "pipelines")
    arguments = ("pipeline/pipeline", "--param", 'targets=["weights"]', "--param", "dispatch=pools")
    run = site.deployment_run(*arguments)
    try:
        expect(lambda: site.ran("weights"), 600)
        site.server.stop()
        time.sleep(5)
        site.server.start()
        run.communicate(timeout=400)
        expect(lambda: "Completed" in site.statuses(), 200)
        assert len(site.ran("weights")) == 1
        again = site.deployment_run(*arguments)
        said, _ = again.communicate(timeout=400)
        assert again.returncode == 0, said + site.logs()
        assert len(site.ran("weights")) == 1
        expect(lambda: not site.processes(), 10)
        site.hold_no_lock()
    finally:
        run.kill()
        run.wait()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_unreachable_remote_fails_with_a_message_and_the_next_run_completes(site: Site) -> None:
    remote = site.project.root.parent / "remote"
    remote.write_text("not a folder")
    site.command("deploy")
    site.worker(site.clones[0], "cpu")
    ended = site.command("run", "weights", "--force", "--dispatch", "pools", check=False)
    assert ended.returncode == 1
    assert "remote" in ended.stderr, ended.stdout + ended.stderr
    made = len(site.ran("weights"))
    expect(lambda: not site.processes(), 10)
    site.hold_no_lock()
    remote.unlink()
    ended = site.command("run", "weights", "--dispatch", "pools", check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr + site.logs()
    assert len(site.ran("weights")) == made == 1, "made once, although it could not be pushed at first"
