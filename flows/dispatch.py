"""The pipeline over many machines: each stage becomes a flow run of the deployment of its resource ("stage/gpu"), and a
worker of that deployment's pool takes it. Only commit, parameters and lock entries travel through Prefect; data goes
through the DVC remote."""

import json
import math
import subprocess
import threading
import time
from typing import Any

from httpx import TransportError
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import OrchestrationResult
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType, TaskRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Cancelling, Completed, State

from flows.clone import fetch_file, require_clean, uncached
from flows.failures import BACKOFF_SECONDS, FailureKind, StageFailed, explain, retries_left
from flows.lockfile import lock_entry, put_entries
from flows.parameters import Plan
from flows.stages import UP_TO_DATE, StageResult, dvc_command, stage_environment
from flows.worker import HANDED_BACK
from gist_core.lineage.hashing import sha256_of_json

POLL_SECONDS = 2.0
UNDER_WAY = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING)
CANCEL_SECONDS = 60.0  # for a worker to end what it runs; a lost one never answers
WITHDRAWN = "a run of the pipeline that waited for this was cancelled"


class PoolSubmit:
    """Submits stages to the work pools, for flows/flow.py's `run_plan`.

    Raises (on construction):
        ValueError: the work tree is dirty, or a deployment that the plan needs does not exist.
    """

    def __init__(self, plan: Plan, cancelled: threading.Event, results: dict[str, StageResult]) -> None:
        self._plan = plan
        self._cancelled = cancelled
        self._results = results
        self._commit = require_clean(plan.root, plan.whole.stages, "dispatch to pools")
        params = plan.root / "params.yaml"
        self._params = plan.params or (params.read_text(encoding="utf-8") if params.is_file() else None)
        self._lock = threading.Lock()
        _require_deployments({stage.resource for stage in plan.graph.stages.values()})

    def __call__(self, name: str, upstream: list[PrefectFuture[Any]]) -> PrefectFuture[Any]:
        stage = self._plan.graph.stages[name]

        def again(_task: Any, task_run: TaskRun, state: State[Any]) -> bool:
            # The worker itself retries a stage as its failure allows; only a lost worker is retried here.
            failure = state.data
            if not isinstance(failure, StageFailed) or self._cancelled.is_set():
                return False
            return failure.kind is FailureKind.KILLED and retries_left(failure.kind, stage.resource, task_run.run_count)

        @task(
            name=name,
            task_run_name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=1,
            retry_delay_seconds=BACKOFF_SECONDS[0],
            retry_condition_fn=again,
        )
        def dispatch_stage() -> State[Any]:
            return self._dispatch(name)

        submit: Any = dispatch_stage.submit
        return submit(wait_for=upstream)

    def _dispatch(self, name: str) -> State[Any]:
        stage = self._plan.graph.stages[name]
        with self._lock:
            entries = {one: lock_entry(self._plan.root, one) for one in (*stage.upstream, name)}
        parameters = {
            "stage": name,
            "commit": self._commit,
            "params": self._params,
            "entries": {one: entry for one, entry in entries.items() if entry},
            "force": self._plan.parameters.force,
            "timeout_s": self._plan.timeouts_s[name],
        }
        while True:
            run = self._wait(_send(f"stage/{stage.resource}", name, parameters))
            if self._cancelled.is_set() or not _was_withdrawn(run):
                break
            get_run_logger().info("%s: another run that waited for it was cancelled, and it too; sent out again", name)
        state = run.state
        if state is None or not state.is_completed():
            raise StageFailed(name, *_failure(name, state))
        handed = _handed_back(run)
        with self._lock:
            put_entries(self._plan.root, {name: handed["entry"]})
        result = StageResult(name, handed["how"], handed["seconds"])
        self._results[name] = result
        return Completed(name="UpToDate" if result.how == UP_TO_DATE else "Completed", message=f"{name}: {result.how}")

    def _wait(self, run: FlowRun) -> FlowRun:
        """Follows a flow run to its end, and cancels it when this run is cancelled. Waits for a server that is away."""
        logger = get_run_logger()
        give_up = math.inf
        with get_client(sync_client=True) as client:
            while time.monotonic() < give_up:
                try:
                    run = client.read_flow_run(run.id)
                    if self._cancelled.is_set() and give_up == math.inf:
                        _withdraw(client, run)
                        give_up = time.monotonic() + CANCEL_SECONDS
                except (OSError, TransportError, PrefectHTTPStatusError) as error:
                    logger.warning("the Prefect server does not answer (%s); asking again", error)
                if run.state is not None and run.state.is_final():
                    break
                time.sleep(POLL_SECONDS)
        return run

    def bring_home(self) -> None:
        """Fetches the outs of the finished stages, so that this work tree is what `dvc repro` would leave.

        Raises:
            ValueError: DVC cannot pull them.
        """
        done = [name for name in self._plan.graph.stages if name in self._results]
        if not done:
            return
        for name in done:
            for path, md5 in uncached(self._plan.graph.stages[name], lock_entry(self._plan.root, name)):
                fetch_file(self._plan.root, path, md5)
        pulled = subprocess.run(
            dvc_command("pull", *done),
            cwd=self._plan.root,
            env=stage_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if pulled.returncode != 0:
            raise ValueError(f"the results cannot be pulled: {explain((pulled.stdout + pulled.stderr).splitlines())}")


def _send(deployment: str, name: str, parameters: dict[str, Any]) -> FlowRun:
    """The flow run that does this: one still under way that another run of the pipeline (perhaps dead by now) sent out, or
    else a new one. Two at the same time would train, or pay, twice."""
    # Flow runs for the same work share a tag, and the idempotency key names the latest of them: if two senders come at the
    # same moment, the server makes only one flow run.
    alike = f"alike:{sha256_of_json(parameters | {'timeout_s': None})[:32]}"
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[alike])))
    latest = max(found, key=lambda run: str(run.created), default=None)  # by the server's clock
    if latest is not None and latest.state_type in UNDER_WAY:
        get_run_logger().info("%s: another run sent it out as %s; that is waited for", name, latest.id)
        return latest
    sent = run_deployment(
        deployment,
        parameters=parameters,
        timeout=0,
        flow_run_name=name,
        tags=[alike],
        idempotency_key=f"{alike} after {latest.id if latest else 'none'}",
    )
    assert isinstance(sent, FlowRun)
    return sent


def _withdraw(client: SyncPrefectClient, run: FlowRun) -> None:
    """Has a flow run cancelled, with a message by which `_was_withdrawn` knows it."""
    answer: OrchestrationResult[Any] = client.set_flow_run_state(run.id, Cancelling(message=WITHDRAWN))
    # Where no worker has taken it, there is nothing to end, and Prefect cancels it at once, without the message.
    if answer.state is not None and answer.state.is_cancelled():
        client.set_flow_run_state(run.id, Cancelled(message=WITHDRAWN), force=True)


def _was_withdrawn(run: FlowRun) -> bool:
    """Whether a run of the pipeline had this flow run cancelled. What somebody cancels by hand is not sent out again."""
    if run.state is None or not run.state.is_cancelled():
        return False
    with get_client(sync_client=True) as client:
        return any(state.message == WITHDRAWN for state in client.read_flow_run_states(run.id))


def _failure(name: str, state: State[Any] | None) -> tuple[FailureKind, str]:
    message = str(state.message if state is not None else "no state")
    if state is not None and (state.is_crashed() or state.is_cancelled() or state.is_cancelling()):
        kind = FailureKind.KILLED if state.is_crashed() else FailureKind.CANCELLED
        return kind, f"its flow run {state.name}: {message}"
    told = message.removeprefix(f"{name}: ")
    for kind in FailureKind:
        if told.startswith(f"{kind}: "):
            # A stage that was killed twice on its worker is not sent out a third time.
            return (FailureKind.ERROR if kind is FailureKind.KILLED else kind), told.removeprefix(f"{kind}: ")
    return FailureKind.ERROR, message


def _handed_back(run: FlowRun) -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        )
    handed = [artifact for artifact in found if artifact.description == HANDED_BACK]
    if not handed:
        raise RuntimeError(f"the flow run {run.name} ({run.id}) completed without handing back its lock entry")
    return dict(json.loads(str(handed[-1].data)))


def _require_deployments(resources: set[str]) -> None:
    missing = []
    with get_client(sync_client=True) as client:
        for resource in sorted(resources):
            try:
                client.read_deployment_by_name(f"stage/{resource}")
            except ObjectNotFound:
                missing.append(f"stage/{resource}")
    if missing:
        raise ValueError(f"there is no deployment {', '.join(missing)} on the server; `gist flow deploy` makes them")
