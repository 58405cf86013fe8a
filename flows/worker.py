"""One stage as a flow run of its own, on a worker of the pool of its resource, in the worker's clone.

It checks out the commit, pulls the inputs from the DVC remote, runs the stage as the pipeline does on one machine,
pushes the outs, and hands back the stage's entry of dvc.lock as an artifact.
"""

import json
import threading
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, Failed, State

from flows.clone import hand_over, prepared, receive
from flows.failures import StageFailed, explain
from flows.graph import read_graph
from flows.lockfile import lock_entry
from flows.processes import run_in_group
from flows.stages import StageResult, StageRun, dvc_command, stage_environment, stage_task

HANDED_BACK = "Handed back"  # description of the artifact that the dispatcher looks for


@flow(name="stage", flow_run_name="{stage}", persist_result=False)
def run_stage(
    stage: str,
    commit: str,
    params: str | None = None,
    entries: dict[str, Any] = {},  # noqa: B006 (Prefect shows defaults in its form; they are never changed)
    force: bool = False,
    timeout_s: float | None = None,
    root: str = ".",
) -> State[Any]:
    """Run one stage here. Started by the pipeline with `dispatch=pools`, not by hand.

    commit: what to check out. params: the text of params.yaml. entries: dvc.lock of the stage and its upstream stages.
    """
    here = Path(root).resolve()
    cancelled = threading.Event()
    results: dict[str, StageResult] = {}
    get_run_logger().info("%s at %s in %s", stage, commit[:10], here)
    try:
        with prepared(here, commit, params):
            stages = read_graph(here).stages
            node = stages[stage]
            receive(here, stages, stage, entries)
            _pull(here, [name for name in node.upstream if name in entries], cancelled)
            run = StageRun(here, force=force, pull=True, push=True, timeout_s=timeout_s)
            future = stage_task(node, cancelled, results).submit(run)
            future.wait()
            if not future.state.is_completed():
                failure = future.result(raise_on_failure=False)
                return Failed(message=str(failure) if isinstance(failure, StageFailed) else str(future.state.message))
            entry = lock_entry(here, stage)
            hand_over(here, node, entry)
            handed = {"how": results[stage].how, "seconds": results[stage].seconds, "entry": entry}
            create_markdown_artifact(json.dumps(handed), description=HANDED_BACK)
            return Completed(message=future.state.message)
    finally:
        cancelled.set()


def _pull(root: Path, stages: list[str], cancelled: threading.Event) -> None:
    """Brings the outs of the upstream stages to what their lock entries say. Raises ValueError with DVC's message."""
    if not stages:
        return
    command = dvc_command("pull", "--force", *stages)
    outcome = run_in_group(command, cwd=root, env=stage_environment(), cancelled=cancelled)
    if outcome.returncode != 0:
        raise ValueError(
            f"the inputs ({', '.join(stages)}) cannot be pulled from the DVC remote: {explain(outcome.tail)}"
        )
