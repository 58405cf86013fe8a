"""The machines of a hostfile: here this one, under two names. `ssh` and `pdsh` are stand-ins (machines/), all else is real."""

import json
import os
import sys
from pathlib import Path

import psutil
import pytest
import torch

from gist_core.training.engine import launch_command
from tasks.train_worker import run_job
from tests.training.jobs import finish, job, kill_at_step, losses, weights, write_base_and_rows

MACHINES = Path(__file__).parent / "machines"


@pytest.fixture
def hostfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PATH", f"{MACHINES}:{os.environ['PATH']}")
    hosts = tmp_path / "hosts"
    hosts.write_text("node1 slots=1  # the first\n\nnode2 slots=1\n", encoding="utf-8")
    return str(hosts)


def workers_in(work_dir: str) -> list[psutil.Process]:
    return [
        process for process in psutil.process_iter(["cmdline"]) if work_dir in " ".join(process.info["cmdline"] or [])
    ]


@pytest.mark.parametrize("stage", [2, *(pytest.param(stage, marks=pytest.mark.slow) for stage in (1, 3))])
def test_machines_of_a_hostfile_train_what_one_process_does(tmp_path: Path, hostfile: str, stage: int) -> None:
    write_base_and_rows(tmp_path)
    alone, spread = job(tmp_path, "alone"), job(tmp_path, "spread", engine={"zero_stage": stage, "hostfile": hostfile})
    run_job(alone)
    assert "node2: " in finish(spread)
    assert losses(spread) == pytest.approx(losses(alone), abs=1e-5)
    assert json.loads((Path(spread.work_dir) / "summary.json").read_text(encoding="utf-8"))["processes"] == 2
    ours, theirs = weights(spread), weights(alone)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in theirs)


@pytest.mark.slow
def test_what_runs_on_other_machines_ends_with_the_command_that_started_it_and_is_resumed(
    tmp_path: Path, hostfile: str
) -> None:
    write_base_and_rows(tmp_path)
    engine = {"zero_stage": 2, "hostfile": hostfile}
    whole, killed = (job(tmp_path, name, engine=engine, steps=60, save_every=20) for name in ("whole", "killed"))
    finish(whole)
    kill_at_step(killed, 30)  # the launcher here and pdsh: what they started is in other sessions, as on other machines
    workers = workers_in(killed.work_dir)
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    assert not Path(killed.output).exists()
    assert "resuming from" in finish(killed)
    ours, theirs = weights(killed), weights(whole)
    assert all(float((ours[name] - theirs[name]).abs().max()) < 1e-6 for name in theirs)


def test_machines_that_cannot_be_reached_from_here_are_refused(
    tmp_path: Path, hostfile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"--hostfile={hostfile}" in launch_command("x", [], processes=1, hostfile=hostfile)
    with monkeypatch.context() as there:
        for name in ("my clone", "anna's", "a&b", "50%new"):
            (tmp_path / name).mkdir()
            there.chdir(tmp_path / name)
            with pytest.raises(ValueError, match=rf"cannot pass .*{name}.* on to other machines"):
                launch_command("x", [], processes=1, hostfile=hostfile)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with pytest.raises(ValueError, match=r"with pdsh over ssh, and pdsh and ssh is not installed here"):
        launch_command("x", [], processes=1, hostfile=hostfile)
