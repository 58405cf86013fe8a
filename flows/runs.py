"""Looking at flow runs, and cancelling one, through Prefect's API."""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterSubFlowRuns,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import get_current_settings
from prefect.states import Cancelling, Crashed

from flows.settings import DATABASE, own_database
from tasks.only_run import is_running

OURS = FlowFilter(name=FlowFilterName(any_=["pipeline", "nightly"]))
NOT_FINAL = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
START_SECONDS = 60.0  # for a run to take the lock of its clone


def give_up_killed_runs(root: Path) -> None:
    """Calls those runs crashed that were killed, if neither server nor database are the user's. (A server of theirs sees it from
    the lack of heartbeats, by prefect.yaml.) What is recorded are then the runs of the clone at `root`, where one runs at a time:
    while none does, those that have not ended were killed.
    """
    if get_current_settings().api.url is not None or os.environ.get(DATABASE) != own_database(root):
        return
    with get_client(sync_client=True) as client:
        if is_running(root):
            return
        for run in client.read_flow_runs(
            flow_filter=OURS, flow_run_filter=_in_state(StateType.RUNNING, StateType.CANCELLING)
        ):
            if run.start_time and datetime.now(UTC) - run.start_time > timedelta(seconds=START_SECONDS):
                client.set_flow_run_state(run.id, Crashed(message="its process was killed"), force=True)


def describe_runs(limit: int) -> list[str]:
    """One line for each of the latest runs: id, state, name, start, seconds, and its stages by state."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=OURS,
            flow_run_filter=FlowRunFilter(expected_start_time=_due()),
            limit=limit,
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        )
        return [_describe(client, run) for run in runs] or ["no runs yet"]


def _in_state(*kinds: StateType) -> FlowRunFilter:
    return FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[*kinds])), expected_start_time=_due()
    )


def _due() -> FlowRunFilterExpectedStartTime:
    """Leaves out future nights: a schedule makes many of them in advance."""
    return FlowRunFilterExpectedStartTime.model_validate({"before_": datetime.now(UTC)})


def _describe(client: SyncPrefectClient, run: FlowRun) -> str:
    # What a stage was sent out as is no second stage: Prefect has a task run for each flow run that this one started.
    stages = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
        task_run_filter=TaskRunFilter(subflow_runs=TaskRunFilterSubFlowRuns(exists_=False)),
    )
    counts = Counter(stage.state_name or "?" for stage in stages)
    started = f"{run.start_time:%Y-%m-%d %H:%M:%S}Z" if run.start_time else "not started"
    return (
        f"{str(run.id)[:8]}  {run.state_name:<10}  {run.name}  {started}  {run.total_run_time.total_seconds():.0f} s  "
        + ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    )


def cancel_run(which: str) -> str:
    """Asks Prefect to cancel the run with this id (or its first characters) or name.

    Raises:
        ValueError: no unfinished run, or more than one, matches `which`.
    """
    with get_client(sync_client=True) as client:
        active = client.read_flow_runs(flow_filter=OURS, flow_run_filter=_in_state(*NOT_FINAL))
        found = [run for run in active if str(run.id).startswith(which.lower()) or run.name == which]
        if len(found) != 1:
            names = ", ".join(f"{str(run.id)[:8]} ({run.name})" for run in found or active) or "none"
            raise ValueError(f"{len(found)} unfinished runs match {which!r}; unfinished runs: {names}")
        client.set_flow_run_state(found[0].id, Cancelling(message="cancelled with `gist flow cancel`"))
        return f"{str(found[0].id)[:8]} ({found[0].name}) is being cancelled"
