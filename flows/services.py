"""Prefect's own processes that take runs from the server and run them in a clone: a worker for each pool, or `serve`.

They are started here, not by hand, so that everything they started ends with them, even if they are killed."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
from prefect.client.orchestration import get_client

from flows.deploy import SERVED
from flows.graph import unknown
from flows.processes import exit_terminated, group_of

GRACE_SECONDS = 90.0  # for stages to end (grace_s), and flow runs to tell the server that they were stopped


def run_workers(pools: Sequence[str], root: Path, limit: int | None) -> int:
    """Runs a Prefect process worker for each pool, as `_run` does. The stages of a worker that is told to end are sent out
    again.

    Raises:
        ValueError: a pool does not exist; Prefect would make an empty one and wait there for ever.
    """
    _require_pools(pools)
    options = ["--limit", str(limit)] if limit else []
    return _run([["worker", "start", "--pool", pool, "--type", "process", *options] for pool in pools], root)


def serve_pipeline(root: Path, cron: str | None) -> int:
    """Runs the pipeline in this work tree whenever the server is asked to, one run at a time, as `_run` does."""
    options = ["--cron", cron] if cron else []
    return _run([["flow", "serve", "flows/flow.py:pipeline", "--name", SERVED, "--limit", "1", *options]], root)


def _run(commands: Sequence[Sequence[str]], root: Path) -> int:
    """Runs commands of Prefect in the clone at `root` until one of them ends or this process is told to (Ctrl-C, TERM).
    All of them then end, with everything they started; Prefect is told if time allows. Returns the exit code of the one
    that ended."""
    env = dict(os.environ, GIST_CLONE=str(root))
    env["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [env.get("PYTHONPATH")])])
    signal.signal(signal.SIGTERM, exit_terminated)
    # A shell makes its background jobs ignore SIGINT, and these would inherit that; but SIGINT is what ends them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with ExitStack() as ends:
        processes = [
            ends.enter_context(
                group_of([sys.executable, "-m", "prefect", *command], cwd=root, env=env, grace_s=GRACE_SECONDS)
            )
            for command in commands
        ]
        try:
            while all(process.poll() is None for process in processes):
                time.sleep(1.0)
            return next(process.returncode for process in processes if process.returncode is not None)
        finally:
            _end_flow_runs([process.pid for process in processes if process.poll() is None])


def _end_flow_runs(services: Sequence[int]) -> None:
    """Ends the flow runs, which are children of Prefect's processes: each ends its stages and tells the server. A worker that
    is told to end kills them at once, and the server would learn of it by missing heartbeats only, minutes later."""
    told: set[psutil.Process] = set()
    deadline = time.monotonic() + GRACE_SECONDS
    while (runs := _children(services)) and time.monotonic() < deadline:
        for run in runs - told:  # a worker may take another one meanwhile
            with suppress(psutil.Error):
                run.terminate()
        told |= runs
        time.sleep(0.2)


def _children(services: Sequence[int]) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for pid in services:
        with suppress(psutil.Error):
            found.update(psutil.Process(pid).children())
    return found


def _require_pools(pools: Sequence[str]) -> None:
    with get_client(sync_client=True) as client:
        known = [pool.name for pool in client.read_work_pools()]
    if not known:
        raise ValueError("there are no work pools on the server; `gist flow deploy` makes those of prefect.yaml")
    problems = [unknown("work pool", pool, known) for pool in pools if pool not in known]
    if problems:
        raise ValueError("; ".join(problems))
