"""The pipeline as one Prefect flow over DVC's graph.

DVC owns the graph and the caching. The flow gives each stage a place, a limit, retries, a time-out and a record. Stages
that do not depend on each other run at the same time, a stage that is up to date is skipped, and one that fails stops
only the stages that need it."""

import queue
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from httpx import TransportError
from prefect import flow, get_run_logger, runtime
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed, State
from pydantic import PositiveFloat

from flows.dispatch import PoolSubmit
from flows.failures import StageFailed
from flows.lockfile import put_in_order, read_entries
from flows.parameters import Dispatch, Limits, PipelineParameters, Plan, make_plan
from flows.scheduler import Scheduler
from flows.stages import StageResult, StageRun, stage_task
from tasks.mend import mend
from tasks.only_run import only_run

CANCEL_POLL_SECONDS = 3.0

Submit = Callable[[str, list[PrefectFuture[Any]]], PrefectFuture[Any]]


def _flow_run_name() -> str:
    given = runtime.flow_run.parameters
    what = ", ".join([*given.get("targets", []), *given.get("runs", [])]) or "all stages"
    changes = " ".join(given.get("overrides", []))
    return f"{what} [{changes}]" if changes else what


@flow(name="pipeline", flow_run_name=_flow_run_name, persist_result=False, retries=0)
def pipeline(
    targets: list[str] = [],  # noqa: B006 (Prefect shows defaults in its form; they are never changed)
    runs: list[str] = [],  # noqa: B006
    overrides: list[str] = [],  # noqa: B006
    force: bool = False,
    pull: bool = False,
    push: bool = False,
    limits: Limits = Limits(),  # noqa: B008
    timeouts_s: dict[str, PositiveFloat] = {},  # noqa: B006
    dispatch: Dispatch = "here",
    root: str = ".",
) -> State[Any]:
    """Run the stages of the project at `root`; see PipelineParameters for what each parameter means."""
    parameters = PipelineParameters.checked(
        targets=targets, runs=runs, overrides=overrides, force=force, pull=pull, push=push, limits=limits,
        timeouts_s=timeouts_s, dispatch=dispatch,
    )  # fmt: skip
    here = Path(root).resolve()
    with only_run(here):
        mend(here)
        return _run(make_plan(here, parameters))


def _run(plan: Plan) -> State[Any]:
    cancelled = threading.Event()
    results: dict[str, StageResult] = {}
    pools = PoolSubmit(plan, cancelled, results) if plan.parameters.dispatch == "pools" else None
    plan.put_params()  # not before the pools had their chance to refuse
    get_run_logger().info("%d stages: %s", len(plan.graph.stages), ", ".join(plan.graph.stages))
    state = run_plan(plan, pools or _submit_here(plan, cancelled, results), cancelled, results)
    if pools is None or state.is_cancelled():
        return state
    try:
        pools.bring_home()
    except ValueError as error:
        return Failed(message=f"{state.message}\n{error}")
    return state


def _submit_here(plan: Plan, cancelled: threading.Event, results: dict[str, StageResult]) -> Submit:
    asked = plan.parameters

    def submit(name: str, upstream: list[PrefectFuture[Any]]) -> PrefectFuture[Any]:
        run = StageRun(plan.root, force=asked.force, pull=asked.pull, push=asked.push, timeout_s=plan.timeouts_s[name])
        return stage_task(plan.graph.stages[name], cancelled, results).submit(run, wait_for=upstream)

    return submit


def run_plan(plan: Plan, submit: Submit, cancelled: threading.Event, results: dict[str, StageResult]) -> State[Any]:
    """Submits each stage as soon as it may start, and waits for all of them. However this ends, `cancelled` is set."""
    scheduler = Scheduler(plan.graph, plan.parameters.limits)
    futures: dict[str, PrefectFuture[Any]] = {}
    ended: queue.Queue[str] = queue.Queue()
    failures: dict[str, str] = {}
    before = list(read_entries(plan.root / "dvc.lock"))
    try:
        while not scheduler.done:
            for name in scheduler.startable():
                futures[name] = submit(name, [futures[up] for up in plan.graph.stages[name].upstream])
                futures[name].add_done_callback(lambda _, name=name: ended.put(name))  # type: ignore[misc]
            try:
                name = ended.get(timeout=CANCEL_POLL_SECONDS)
            except queue.Empty:
                if _cancel_asked():
                    cancelled.set()
                    return Cancelled(message=f"cancelled; finished before: {', '.join(results) or 'nothing'}")
                continue
            futures[name].wait()  # it has ended; this takes its state from here, not from the server, which lags behind
            state = futures[name].state
            if not state.is_completed():
                failures[name] = _reason(futures[name], state)
            scheduler.ended(name, well=state.is_completed())
    finally:
        cancelled.set()
    put_in_order(plan.root, plan.graph.stages, before)
    return _final_state(results, failures, scheduler.given_up)


def _reason(future: PrefectFuture[Any], state: State[Any]) -> str:
    failure = future.result(raise_on_failure=False)
    return str(failure) if isinstance(failure, StageFailed) else f"{state.name}: {state.message}"


def _final_state(results: dict[str, StageResult], failures: dict[str, str], given_up: dict[str, str]) -> State[Any]:
    counts = Counter(result.how for result in results.values())
    summary = ", ".join(f"{count} {how}" for how, count in counts.items()) or "nothing made"
    if not failures:
        return Completed(message=summary)
    lines = [*failures.values(), *(f"{name}: not started, it needs {cause}" for name, cause in given_up.items())]
    return Failed(message=f"{summary}; {len(failures)} failed\n" + "\n".join(lines))


def _cancel_asked() -> bool:
    """Whether somebody asked Prefect to cancel this flow run. Works without a worker, too."""
    run_id = runtime.flow_run.id
    if not run_id:
        return False
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(run_id)).state
    except (ObjectNotFound, PrefectHTTPStatusError, TransportError, OSError) as error:
        # The server is away for a moment, or has lost its database: the stages go on, and it is asked again later.
        get_run_logger().debug("the Prefect server did not answer: %s", error)
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())
