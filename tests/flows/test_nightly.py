"""The nightly flow: a fresh clone at a revision, results kept on a branch or as an experiment, a word when it fails."""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from flows.nightly import LOCKS, fresh_clone, remove_old_clones
from tasks.locks import held
from tests.flows.conftest import Server
from tests.flows.project import STAGES, Project
from tests.flows.test_pipeline import expect
from tests.flows.test_pools import Site, site  # noqa: F401 (a fixture)
from tests.running import git


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[str]]]:
    """A web address that collects what is posted to it."""
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listener = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listener.server_port}/", received
    listener.shutdown()
    listener.server_close()


NIGHTLY = """
import json, sys
from flows.nightly import nightly
state = nightly(**json.loads(sys.argv[1]), return_state=True)
print(state.name, state.message)
sys.exit(0 if state.is_completed() else 1)
"""


def run_nightly(
    project: Project, server: Server, variables: Mapping[str, str] = {}, **parameters: object
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", NIGHTLY, json.dumps({"root": str(project.root), **parameters})],
        cwd=project.root,
        env=server.env(EVENTS=str(project.root / "events"), GIT_AUTHOR_NAME="t", GIT_AUTHOR_EMAIL="t@example.org",
                       GIT_COMMITTER_NAME="t", GIT_COMMITTER_EMAIL="t@example.org") | variables,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_night_runs_a_pinned_or_moving_revision_on_a_fresh_clone_and_keeps_its_results(
    project: Project, server: Server
) -> None:
    pinned = git(project.root, "rev-parse", "HEAD")
    with (project.root / "work.py").open("a") as file:
        file.write("# a later commit\n")
    git(project.root, "commit", "-qam", "A later commit")
    (project.root / "work.py").open("a").write("sys.exit('the work tree is not what a night runs')\n")
    first = run_nightly(project, server, revision=pinned, results="branch", keep=1)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"{STAGES} made" in first.stdout
    branch = git(project.root, "branch", "--list", "nightly/*", "--format=%(refname:short)")
    assert git(project.root, "rev-parse", f"{branch}^") == pinned
    kept = git(project.root, "show", "--name-only", "--format=", branch).split()
    assert kept == ["dvc.lock", "judge.json", "report.html"]

    again = run_nightly(project, server, revision=pinned, results="none", keep=1)
    # DVC's run cache has no stage whose only out is `cache: false` and no metric: the report alone is made again.
    assert f"{STAGES - 1} restored from the run cache, 1 made" in again.stdout, again.stdout + again.stderr
    assert len(project.events("report")) == 2
    moving = run_nightly(project, server, revision="main", results="experiment", keep=1)
    assert moving.returncode == 0, moving.stdout + moving.stderr
    assert len(project.events("fetch")) == 2, "another work.py, another run"
    experiment = git(project.root, "for-each-ref", "refs/exps", "--format=%(refname)")
    kept = git(project.root, "show", "--name-only", "--format=", experiment).split()
    assert {"dvc.lock", "judge.json", "report.html"} <= set(kept)
    assert len(list((project.root / ".work/nightly").iterdir())) <= 2


@pytest.mark.slow
def test_part_of_the_graph_is_kept_as_an_experiment_whatever_git_is_told_for_people(
    project: Project, server: Server, tmp_path: Path
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "prepare-commit-msg", "post-checkout", "pre-push"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    (tmp_path / ".gitconfig").write_text(
        f"[core]\nhooksPath = {hooks}\n[commit]\ngpgSign = true\n[push]\ngpgSign = true\n[clone]\ndefaultRemoteName = up\n"
    )
    variables = {"GIT_CONFIG_GLOBAL": str(tmp_path / ".gitconfig")}
    part = run_nightly(project, server, variables, targets=["fetch"], results="experiment")
    assert part.returncode == 0, part.stdout + part.stderr
    assert git(project.root, "for-each-ref", "refs/exps")
    branch = run_nightly(project, server, variables, targets=["fetch"], results="branch")
    assert branch.returncode == 0, branch.stdout + branch.stderr
    assert git(project.root, "branch", "--list", "nightly/*")


def test_a_clone_in_which_a_night_goes_on_is_not_removed(tmp_path: Path) -> None:
    clones = tmp_path / ".work/nightly"
    for name in (
        "20260101-020000",
        "20260102-020000",
        "20260103-020000",
        "20260104-020000",
        "0, mine",
        "20260105-020000",
    ):
        (clones / name).mkdir(parents=True)
    with held(tmp_path / LOCKS, "20260103-020000", "busy"):
        remove_old_clones(tmp_path, "20260104-020000", keep=1)
    there = {clone.name for clone in clones.iterdir()}
    assert there == {"20260102-020000", "20260103-020000", "20260104-020000", "0, mine", "20260105-020000"}
    remove_old_clones(tmp_path, "20260104-020000", keep=0)
    assert {clone.name for clone in clones.iterdir()} == {"20260104-020000", "0, mine", "20260105-020000"}
    assert not list((tmp_path / LOCKS).iterdir())


def test_a_branch_of_what_was_fetched_is_not_taken_for_one_of_the_repository(project: Project) -> None:
    with pytest.raises(ValueError, match=r"give revision 'main' and the address"):
        fresh_clone(project.root, str(project.root), "origin/main", "20260101-020000")


def test_a_branch_in_the_way_of_the_results_is_found_before_the_night(project: Project, server: Server) -> None:
    git(project.root, "branch", "nightly")
    ended = run_nightly(project, server, targets=["fetch"])
    assert ended.returncode == 1
    assert "has a branch named nightly" in ended.stdout, ended.stdout + ended.stderr
    assert "git branch -m nightly OTHER" in ended.stdout
    assert not project.events()
    assert not (project.root / ".work/nightly").exists()


def make_block(server: Server, url: str) -> None:
    """The notification block "custom-webhook/team", which posts to `url`."""
    code = f"""
from prefect.blocks.notifications import CustomWebhookNotificationBlock as Hook
said = {{"text": "{{{{subject}}}}: {{{{body}}}}"}}
Hook(name="team", url={url!r}, json_data=said, allow_private_urls=True).save("team")
"""
    subprocess.run([sys.executable, "-c", code], env=server.env(), check=True, capture_output=True)


@pytest.mark.slow
def test_a_failed_night_tells_the_block_it_was_given(
    project: Project, server: Server, inbox: tuple[str, list[str]]
) -> None:
    url, received = inbox
    make_block(server, url)
    wrong = run_nightly(project, server, notify="custom-webhook/nobody")
    assert wrong.returncode == 1
    assert "nobody" in wrong.stdout
    assert not (project.root / ".work/nightly").exists(), "a wrong block is found before the night"

    ended = run_nightly(project, server, revision="no-such-branch", notify="custom-webhook/team")
    assert ended.returncode == 1
    assert len(received) == 1, ended.stdout + ended.stderr
    assert "The nightly run of no-such-branch failed" in received[0]
    assert "no branch, tag or commit 'no-such-branch'" in received[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_deployed_night_that_fails_or_is_lost_with_its_worker_is_told(
    site: Site,  # noqa: F811
    inbox: tuple[str, list[str]],
) -> None:
    """Of a deployment that names nothing but the block: the revision is the flow's default."""
    url, received = inbox
    root = site.project.root
    (root / ".gitignore").write_text((root / ".gitignore").read_text().replace("orders/\n", ""))
    site.project.order("weights", "hang")
    file = root / "prefect.yaml"
    given = "parameters: {revision: main, results: branch}"
    assert given in file.read_text()
    file.write_text(file.read_text().replace(given, "parameters: {notify: custom-webhook/team}"))
    git(root, "add", "-A")
    git(root, "commit", "-qm", "A night that hangs")
    refused = site.command("deploy", check=False)
    assert refused.returncode == 2
    assert "nightly: notify: there is no block custom-webhook/team on the server" in refused.stderr
    make_block(site.server, url)
    site.command("deploy")
    worker = site.worker(root, "pipelines")
    failed = site.deployment_run("nightly/nightly", "--param", 'targets=["nope"]')
    assert failed.wait(250) == 1
    expect(lambda: received, 60)
    assert "The nightly run of main failed: " in received[0]

    lost = site.deployment_run("nightly/nightly", "--param", 'targets=["weights"]')
    try:
        expect(lambda: (site.events / "weights.child").exists(), 250)
        for process in [*psutil.Process(worker.pid).children(recursive=True), psutil.Process(worker.pid)]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        expect(lambda: len(received) > 1, 300)
        assert "The run nightly main was lost: no heartbeat for 120 s" in received[1]
        assert lost.wait(60) == 1
        assert len(received) == 2, received
    finally:
        lost.kill()
        lost.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_schedule_fires_and_two_runs_of_a_deployment_do_not_overlap(site: Site) -> None:  # noqa: F811
    """prefect.yaml as it stands, but every minute instead of every night; then two runs by hand at once, of a deployment
    that drops the second and of one that makes it wait."""
    file = site.project.root / "prefect.yaml"
    file.write_text(file.read_text().replace('cron: "0 2 * * *"', 'cron: "* * * * *"'))
    git(site.project.root, "commit", "-qam", "Every minute")
    said = site.command("deploy").stdout
    assert "deployed nightly on pipelines at * * * * *" in said
    site.worker(site.project.root, "pipelines")
    expect(lambda: len(site.ran()) == STAGES, 280)
    expect(lambda: "Completed" in site.statuses(), 100)
    pause = [sys.executable, "-m", "prefect", "deployment", "schedule", "clear", "-y", "nightly/nightly"]
    subprocess.run(pause, env=site.server.env(), cwd=site.project.root, check=True, capture_output=True)

    expect(lambda: not {"Running", "Pending", "Scheduled", "Late"} & set(site.statuses()), 100)

    before = site.statuses().count("Cancelled")
    nights = [site.deployment_run("nightly/nightly") for _ in range(2)]
    assert sorted(night.wait(250) for night in nights) == [0, 1], "one at a time; the next is dropped"
    assert site.statuses().count("Cancelled") == before + 1

    shutil.rmtree(site.events)
    site.project.order("weights", "sleep 8")
    arguments = ("pipeline/pipeline", "--param", 'targets=["weights"]', "--param", "force=true")
    runs = [site.deployment_run(*arguments) for _ in range(2)]
    assert [run.wait(250) for run in runs] == [0, 0]
    first, second = site.ran("weights")
    assert first["end"] <= second["start"], "one at a time; the next waits"  # type: ignore[operator]
