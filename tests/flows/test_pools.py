"""Deployments from prefect.yaml on a real server, with real process workers in clones of their own."""

import contextlib
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

import psutil
import pytest

from tests.flows.conftest import Server
from tests.flows.project import STAGES, Project, git, make_project
from tests.flows.test_pipeline import GPU, overlaps, processes_in, wait_until

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
            env=self.server.env(EVENTS=str(self.events)),
            capture_output=True,
            text=True,
            timeout=280,
            check=check,
        )

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "flows", *arguments],
            cwd=self.project.root,
            env=self.server.env(EVENTS=str(self.events)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def worker(self, pool: str, clone: Path) -> "subprocess.Popen[bytes]":
        with (clone.parent / f"worker-{pool}-{len(self.workers)}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "flows", "worker", pool, "--root", str(clone)],
                cwd=clone,
                env=self.server.env(EVENTS=str(self.events), PREFECT_WORKER_QUERY_SECONDS="2"),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.workers.append(process)
        return process

    def logs(self) -> str:
        return "\n".join(file.read_text()[-6000:] for file in self.clones[0].parent.glob("worker-*.log"))

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
        for folder in (self.project.root, *self.clones):
            for process in processes_in(folder):
                process.kill()


@pytest.fixture
def site(tmp_path: Path, server: Server) -> Iterator[Site]:
    project = make_project(tmp_path / "project")
    for package in ("flows", "tasks", "gist_core"):
        shutil.copytree(ROOT / package, project.root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "prefect.yaml", project.root / "prefect.yaml")
    project.dvc("remote", "add", "--default", "store", str(tmp_path / "remote"))
    with (project.root / ".gitignore").open("a") as file:
        file.write("__pycache__/\n")
    git(project.root, "add", "-A")
    git(project.root, "commit", "-q", "-m", "With flows and a remote")
    clones = (tmp_path / "clone-1", tmp_path / "clone-2")
    for clone in clones:
        git(tmp_path, "clone", "-q", str(project.root), str(clone))
    made = Site(project, clones, server, tmp_path / "events")
    try:
        yield made
    finally:
        made.end()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stage_dispatched_to_a_worker_in_another_clone_comes_back_by_hash(site: Site) -> None:
    site.command("deploy")
    site.worker("cpu", site.clones[0])
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
@pytest.mark.timeout(600)
def test_two_pools_in_two_clones_make_what_dvc_repro_makes(site: Site) -> None:
    for stage in (*GPU, "check@a", "check@b", "check@c", "count"):
        for folder in (site.project.root, *site.clones):
            Project(folder).order(stage, "sleep 4")
    site.command("deploy")
    site.worker("cpu", site.clones[0])
    site.worker("gpu", site.clones[1])
    # Limits of the flow wider than the pool's: it is the pool that keeps the gpu stages apart.
    ended = site.command("run", "--dispatch", "pools", "--limit", "gpu=3", "--limit", "cpu=3", check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr + site.logs()
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
    again = site.command("run", "--dispatch", "pools")
    assert f"{STAGES} up to date" in again.stdout
    assert len(site.ran()) == STAGES

    shutil.rmtree(site.project.root / ".dvc/cache")
    shutil.rmtree(site.project.root / "out")
    shutil.rmtree(site.project.root / "orders")
    for path in ("dvc.lock", "judge.json", "report.html"):
        (site.project.root / path).unlink()
    site.project.dvc("repro")
    assert site.project.lock() == lock


def test_a_dirty_work_tree_and_a_missing_deployment_are_refused(site: Site) -> None:
    (site.project.root / "work.py").open("a").write("# changed\n")
    ended = site.command("run", "--dispatch", "pools", check=False)
    assert ended.returncode != 0
    assert "has changes in work.py; commit or stash them" in ended.stderr
    assert not site.ran()


def hanging(site: Site, stage: str) -> None:
    for folder in (site.project.root, *site.clones):
        Project(folder).order(stage, "hang")


def relaxed(site: Site, stage: str) -> None:
    for folder in (site.project.root, *site.clones):
        (folder / "orders" / stage).unlink(missing_ok=True)


def no_stage_is_left(site: Site) -> bool:
    return not any(
        "work.py" in " ".join(process.cmdline()) or "dvc" in " ".join(process.cmdline()[:4])
        for folder in (site.project.root, *site.clones)
        for process in processes_in(folder)
        if psutil.pid_exists(process.pid)
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", ["flow cancelled", "worker terminated", "worker killed", "stage killed"])
def test_after_a_fault_nothing_is_left_and_the_next_run_completes(site: Site, fault: str) -> None:
    """The fault comes while `weights` hangs on the worker and `fetch` is finished."""
    hanging(site, "weights")
    site.command("deploy")
    worker = site.worker("cpu", site.clones[0])
    run = site.start("run", "weights", "split", "--dispatch", "pools")
    wait_until(lambda: (site.events / "weights.child").exists() and site.ran("split"), 240)
    if fault == "flow cancelled":
        running = re.search(r"^(\w{8})  Running", site.command("status").stdout, re.MULTILINE)
        assert running
        site.command("cancel", running[1])
    elif fault == "worker terminated":
        os.killpg(worker.pid, signal.SIGTERM)
    elif fault == "worker killed":  # the whole of it, as when its machine goes down
        for process in [*psutil.Process(worker.pid).children(recursive=True), psutil.Process(worker.pid)]:
            with contextlib.suppress(psutil.Error):
                process.kill()
    else:
        relaxed(site, "weights")
        psutil.Process(int(site.ran("weights")[0]["pid"])).kill()  # type: ignore[call-overload]
        assert run.wait(240) == 0, run.stdout and run.stdout.read()  # tried again on the worker
        assert len(site.ran("weights")) == 2
    wait_until(lambda: no_stage_is_left(site), 60)
    if run.poll() is None:
        site.command("cancel", re.search(r"^(\w{8})", site.command("status").stdout)[1], check=False)  # type: ignore[index]
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(60)
        run.kill()
    run.communicate()
    relaxed(site, "weights")
    if worker.poll() is None and fault.startswith("worker"):
        worker.wait(60)
    if fault.startswith("worker"):
        site.worker("cpu", site.clones[0])
    ended = site.command("run", "weights", "split", "--dispatch", "pools", check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr + site.logs()
    assert len(site.ran("fetch")) == 1, "what was finished is not done again"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_server_may_go_away_and_come_back_during_a_stage(site: Site) -> None:
    for folder in (site.project.root, *site.clones):
        Project(folder).order("weights", "sleep 15")
    site.command("deploy")
    site.worker("cpu", site.clones[0])
    run = site.start("run", "weights", "--dispatch", "pools")
    try:
        wait_until(lambda: site.ran("weights"), 240)
        site.server.stop()
        time.sleep(5)
        site.server.start()
        said, _ = run.communicate(timeout=200)
        assert run.returncode == 0, said + site.logs()
        assert len(site.ran("weights")) == 1
    finally:
        run.kill()
        run.wait()
        if site.server.process is None:
            site.server.start()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_unreachable_remote_fails_with_a_message_and_the_next_run_completes(site: Site) -> None:
    remote = site.project.root.parent / "remote"
    remote.write_text("not a folder")
    site.command("deploy")
    site.worker("cpu", site.clones[0])
    ended = site.command("run", "weights", "--dispatch", "pools", check=False)
    assert ended.returncode == 1
    assert "remote" in ended.stderr, ended.stdout + ended.stderr
    made = len(site.ran("weights"))
    remote.unlink()
    ended = site.command("run", "weights", "--dispatch", "pools", check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr + site.logs()
    assert len(site.ran("weights")) == made == 1, "made once, although it could not be pushed at first"
