"""One stage as a Prefect task: `dvc repro --single-item STAGE` in its own process group.

Only DVC caches (hence NO_CACHE here): it skips what is up to date, and the task then says so."""

import os
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.runtime import flow_run, task_run
from prefect.states import Completed, State

from flows.artifacts import only_shown, progress_shown, publish_stage
from flows.failures import BACKOFF_SECONDS, FailureKind, StageFailed, classify, explain, is_held, retries_left
from flows.graph import StageNode
from flows.processes import Outcome, run_in_group
from tasks.mend import mend

HELD_POLL_SECONDS = 15.0
MADE, UP_TO_DATE = "made", "up to date"
RESTORED, PULLED = "restored from the run cache", "pulled from the DVC remote"
# Hints of DVC for a person who typed the command; among the lines of a dozen stages they are noise.
_HINT = re.compile(
    r"To track the changes with git|\s*git add |To enable auto staging|\s*dvc config core.autostage|Use `dvc push`"
    r"|(Generat|Updat)ing lock file"
)


@dataclass(frozen=True)
class StageRun:
    """What a stage's run needs to know besides the stage itself."""

    root: Path
    force: bool = False
    pull: bool = False
    push: bool = False
    timeout_s: float | None = None


@dataclass(frozen=True)
class StageResult:
    """How a stage ended well: `how` is one of the four words above."""

    name: str
    how: str
    seconds: float


def dvc_command(*arguments: str) -> list[str]:
    """A call of DVC that waits while another one holds the repository's lock for a moment."""
    return [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]


def stage_environment() -> dict[str, str]:
    """The stage's environment: this one, with the running interpreter first in PATH, so that the `python` of its
    command is the one that has the packages."""
    env = dict(os.environ, DVC_NO_ANALYTICS="1", PYTHONUNBUFFERED="1")
    # For the run log of the stage (tasks/stage.py): which flow run and task run started it.
    env |= {
        f"GIST_{kind.upper()}": str(run.id) for kind, run in (("flow_run", flow_run), ("task_run", task_run)) if run.id
    }
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    return env


def reproduce(stage: StageNode, run: StageRun, cancelled: threading.Event) -> StageResult:
    """Runs DVC for one stage, with its output in the log line by line.

    Raises:
        StageFailed: with the kind of failure; whatever it started has ended by then.
    """
    arguments = ["repro", "--single-item", stage.name]
    if run.force:
        arguments.append("--force")
    elif run.pull:  # for a forced stage DVC would fetch the whole run cache, and use none of it
        arguments.append("--pull")

    with progress_shown(run.root, stage.name):
        outcome = _call(arguments, stage, run, cancelled)
        # To check that a stage is up to date, DVC needs its outs exclusively; another stage may read them for hours.
        while outcome.ended == "by itself" and outcome.returncode and is_held(outcome.tail):
            get_run_logger().info("%s waits for the process that uses its files", stage.name)
            if cancelled.wait(HELD_POLL_SECONDS):
                raise StageFailed(stage.name, FailureKind.CANCELLED, "stopped while it waited for its files")
            outcome = _call(arguments, stage, run, cancelled)
    _raise_unless_ended_well(stage, outcome, run.timeout_s)
    return StageResult(stage.name, _how(outcome.tail), outcome.seconds)


def push_stage(stage: StageNode, run: StageRun, cancelled: threading.Event) -> None:
    """Sends what the stage made to the DVC remote. Raises StageFailed as `reproduce` does."""
    pushed = _call(["push", "--run-cache", stage.name], stage, run, cancelled)
    if pushed.ended == "by itself" and pushed.returncode != 0:
        raise StageFailed(stage.name, FailureKind.REMOTE, f"made, but not pushed: {explain(pushed.tail)}")
    _raise_unless_ended_well(stage, pushed, run.timeout_s)


def _say(line: str) -> None:
    if line.strip() and not _HINT.match(line):
        get_run_logger().info(line)


def _call(arguments: Sequence[str], stage: StageNode, run: StageRun, cancelled: threading.Event) -> Outcome:
    mend(run.root)
    return run_in_group(
        dvc_command(*arguments),
        cwd=run.root,
        env=stage_environment(),
        timeout_s=run.timeout_s,
        cancelled=cancelled,
        on_line=_say,
        grace_s=stage.grace_s,
    )


def _raise_unless_ended_well(stage: StageNode, outcome: Outcome, timeout_s: float | None) -> None:
    if outcome.ended == "cancelled":
        raise StageFailed(stage.name, FailureKind.CANCELLED, "stopped with everything it had started")
    if outcome.ended == "timed out":
        raise StageFailed(stage.name, FailureKind.TIMED_OUT, f"stopped after its limit of {timeout_s:g} s")
    if outcome.returncode != 0:
        kind = classify(outcome.returncode, outcome.tail)
        raise StageFailed(stage.name, kind, explain(outcome.tail))


def _how(tail: Sequence[str]) -> str:
    if any("didn't change, skipping" in line for line in tail):
        return UP_TO_DATE
    if any("is cached - skipping run, checking out outputs" in line for line in tail):
        return RESTORED
    if any(line.startswith("Pulling data for stage") for line in tail) and not any(
        line.startswith("Unable to pull data") for line in tail
    ):
        return PULLED
    return MADE


def stage_task(stage: StageNode, cancelled: threading.Event, results: dict[str, StageResult]) -> Any:
    """The Prefect task of one stage: named for it, tagged with its resource, retried by kind of failure.

    results: where a stage that ended well records how; Prefect keeps no results here, because DVC has them all.
    """

    made: StageResult | None = None

    def again(_task: Any, task_run: TaskRun, state: State[Any]) -> bool:
        failure = state.data
        if not isinstance(failure, StageFailed) or cancelled.is_set():
            return False
        return retries_left(failure.kind, stage.resource, task_run.run_count)

    @task(
        name=stage.name,
        task_run_name=stage.name,
        tags={stage.resource},
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(BACKOFF_SECONDS),
        retry_delay_seconds=list(BACKOFF_SECONDS),
        retry_condition_fn=again,
    )
    def run_stage(run: StageRun) -> State[Any]:
        nonlocal made
        # After a failed push only the push is tried again; otherwise a forced stage would be made anew each time.
        made = result = made or reproduce(stage, run, cancelled)
        if run.push:
            push_stage(stage, run, cancelled)
        results[stage.name] = result
        with only_shown():
            publish_stage(run.root, stage, result.how, result.seconds)
        if result.how == UP_TO_DATE:
            get_run_logger().info("%s is up to date: skipped", stage.name)
            return Completed(name="UpToDate", message=f"{stage.name} is up to date: skipped")
        return Completed(message=f"{stage.name}: {result.how} in {result.seconds:.1f} s")

    return run_stage
