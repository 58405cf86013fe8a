"""Runs the whole graph in a fresh clone at a pinned or moving revision, and keeps the results on a branch or as an
experiment.

    prefect deployment run nightly/nightly        or by its schedule in prefect.yaml

The clone shares the project's DVC cache, so what has not changed is not made again.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from prefect import Flow, flow, get_run_logger
from prefect.blocks.core import Block
from prefect.blocks.notifications import NotificationBlock
from prefect.client.schemas.objects import FlowRun
from prefect.states import State

from flows.clone import generated_files, git, without_passwords
from flows.flow import pipeline
from flows.graph import read_graph
from flows.parameters import Limits
from tasks import paths
from tasks.locks import held, is_held

Results = Literal["none", "branch", "experiment"]
REVISION = "main"
STAMP = re.compile(r"\d{8}-\d{6}")  # the name of a night, and of its clone
CLONES = paths.WORK / "nightly"
LOCKS = paths.WORK / "nights"  # one for each night; it is held from the clone to the push
# Hooks and signatures are for what a person commits.
PLAIN = ("core.hooksPath=/dev/null", "commit.gpgSign=false", "push.gpgSign=false")


def tell(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect's hook for a failed or crashed night: notifies through the block that the run's parameter `notify` names. A
    worker calls it; if a night is lost together with its worker, the server notifies instead (flows/deploy.py)."""
    block = flow_run.parameters.get("notify")
    revision = flow_run.parameters.get("revision", REVISION)  # Prefect's record has only the parameters that were given
    if block is not None:
        notify: Any = _notifier(block).notify  # synchronous, because `tell` is no coroutine
        notify(str(state.message), f"The nightly run of {revision} failed")


@flow(name="nightly", flow_run_name="nightly {revision}", persist_result=False, on_failure=[tell], on_crashed=[tell])
def nightly(
    revision: str = REVISION,
    repository: str | None = None,
    targets: list[str] = [],  # noqa: B006 (Prefect shows defaults in its form; they are never changed)
    overrides: list[str] = [],  # noqa: B006
    limits: Limits = Limits(),  # noqa: B008
    results: Results = "branch",
    notify: str | None = None,
    keep: int = 2,
    root: str = ".",
) -> State[Any]:
    """Clone, run, keep the results.

    revision: a commit (pinned) or a branch (moving). repository: what to clone; by default the project at `root`.
    results: commit lock, parameters, metrics and report to the branch nightly/TIME of the repository, save them as a DVC
    experiment there, or neither. notify: the Prefect notification block to tell of a failure, e.g. "slack-webhook/team".
    keep: how many clones of earlier nights stay in .work/nightly.

    Raises:
        ValueError: the block, repository or revision does not exist, the branch cannot be made, or git or DVC refuses the
            results. Prefect then calls the run failed.
    """
    if notify is not None:
        _notifier(notify)  # a wrong name is found before the night, not when there is something to tell
    home = Path(root).resolve()
    source = repository or str(home)
    if results == "branch":
        _require_branches(home, source)
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with held(home / LOCKS, stamp, f"the night {stamp} is already running in process {{}}"):
        clone = fresh_clone(home, source, revision, stamp)
        remove_old_clones(home, stamp, keep)
        commit = git(clone, "rev-parse", "HEAD")
        get_run_logger().info("%s of %s is %s, in %s", revision, without_passwords(source), commit[:10], clone)
        state: State[Any] = pipeline(
            targets=targets, overrides=overrides, limits=limits, root=str(clone), return_state=True
        )
        if state.is_completed():
            keep_results(clone, results, targets, stamp, state.message or "")
    # A new state, because the state of the pipeline's own run would lose its message here.
    return State(type=state.type, name=state.name, message=f"{commit[:10]}: {state.message}")


def fresh_clone(home: Path, source: str, revision: str, stamp: str) -> Path:
    """Clones `source` at `revision` into .work/nightly/STAMP, with the DVC cache and the local DVC settings of `home`.
    The stages keep there what outlives a clone: work in progress and the judge's answers (`project_of` in tasks/paths.py)."""
    clone = home / CLONES / stamp
    clone.parent.mkdir(parents=True, exist_ok=True)
    _git(home, "clone", "--quiet", "--origin", "origin", source, str(clone))
    _git(clone, "checkout", "--quiet", "--detach", _resolve(clone, revision))
    local = home / ".dvc/config.local"
    if local.is_file():
        shutil.copy(local, clone / ".dvc/config.local")
    _dvc(clone, "config", "--local", "cache.dir", _dvc(home, "cache", "dir"))
    (clone / paths.PROJECT).parent.mkdir()
    (clone / paths.PROJECT).write_text(str(home), encoding="utf-8")
    return clone


def _require_branches(home: Path, source: str) -> None:
    """Raises ValueError if `source` has a branch named nightly: git cannot make branches nightly/TIME beside it."""
    if git(home, "ls-remote", source, "refs/heads/nightly"):
        raise ValueError(
            f"{source} has a branch named nightly, beside which git cannot make the branches nightly/TIME for the results; "
            "rename it (git branch -m nightly OTHER), or set results to experiment or none"
        )


def _resolve(clone: Path, revision: str) -> str:
    if revision.startswith("origin/"):
        raise ValueError(
            f"revision is {revision!r}, but a night clones what is here or at `repository`, not what was fetched; give "
            f"revision {revision.removeprefix('origin/')!r} and the address of that repository"
        )
    for candidate in (f"origin/{revision}", revision):
        try:
            return git(clone, "rev-parse", "--verify", f"{candidate}^{{commit}}")
        except ValueError:
            continue
    raise ValueError(f"the repository has no branch, tag or commit {revision!r}")


def keep_results(clone: Path, results: Results, targets: Sequence[str], stamp: str, summary: str) -> None:
    """Commits what git keeps of the results, and pushes the branch or experiment to where the clone came from."""
    if results == "none":
        return
    graph = read_graph(clone)
    files = [path for path in sorted(generated_files(graph.stages)) if (clone / path).is_file()]
    if results == "experiment":
        name = f"nightly-{stamp}"
        with_files = [part for path in files for part in ("--include-untracked", path)]
        made = graph.select(targets).stages
        _dvc(clone, "exp", "save", "--name", name, "--message", summary, *with_files, *made)
        _dvc(clone, "exp", "push", "--no-cache", "origin", name)
        return
    branch = f"nightly/{stamp}"
    _git(clone, "checkout", "--quiet", "-b", branch)
    git(clone, "add", "--force", "--", *files)
    author = ("-c", "user.name=gist nightly", "-c", "user.email=nightly@localhost")
    _git(clone, *author, "commit", "--quiet", "--allow-empty", "-m", f"Nightly run {stamp}: {summary}")
    _git(clone, "push", "--quiet", "origin", branch)


def remove_old_clones(home: Path, stamp: str, keep: int) -> None:
    """Removes the clones of earlier nights but the latest `keep`. Those in which a night is under way stay and do not count."""
    earlier = sorted(old for old in (home / CLONES).iterdir() if STAMP.fullmatch(old.name) and old.name < stamp)
    ended = [old for old in earlier if not is_held(home / LOCKS, old.name)]
    for old in ended[: max(len(ended) - max(keep, 0), 0)]:
        shutil.rmtree(old, ignore_errors=True)
        for lock in (home / LOCKS).glob(f"{old.name}.*"):
            lock.unlink(missing_ok=True)


def _notifier(block: str) -> NotificationBlock:
    loaded = Block.load(block)
    if not isinstance(loaded, NotificationBlock):
        raise ValueError(f"notify: {block} is a {type(loaded).__name__}, not a notification block")
    return loaded


def _git(root: Path, *arguments: str) -> None:
    git(root, *(part for setting in PLAIN for part in ("-c", setting)), *arguments)


def _dvc(root: Path, *arguments: str) -> str:
    """Runs DVC in `root` and returns what it prints. Raises ValueError with DVC's own message."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ValueError(f"dvc {' '.join(arguments)} in {root} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()
