"""Puts prefect.yaml on the server: work pools, deployments, and what happens to lost runs.

Running it again changes only what has changed in prefect.yaml."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from tasks.params import told
from tasks.sections import Section

LOST_RUNS = "gist: lost flow runs"
FLOWS = ["stage", "pipeline", "nightly"]
SERVED = "here"  # the deployment of `gist flow serve`, which comes and goes with it
NO_HEARTBEAT = "no heartbeat for"  # the beginning of a lost run's state message


def deploy(root: Path) -> list[str]:
    """Makes the pools and deployments of prefect.yaml. Returns one line for each, and for each older one still there.

    Raises:
        ValueError: prefect.yaml is missing or wrong, or Prefect refuses a deployment.
    """
    file = root / "prefect.yaml"
    if not file.is_file():
        raise ValueError(f"{file} does not exist; run this from the project's root")
    content, definitions = _read(file)
    said = [_make_pool(root, name, pool) for name, pool in definitions.pools.items()]
    if definitions.lost_after_s is not None:
        said.append(_give_up_lost_runs(definitions.lost_after_s))
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    # Each worker names its own clone: a GIST_CLONE set here would be written into the deployments.
    env = {key: value for key, value in os.environ.items() if key != "GIST_CLONE"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"prefect deploy refused {file}: {(done.stdout + done.stderr).strip()[-2000:]}")
    for deployment in content["deployments"]:
        _tell_of_lost_runs(deployment["name"], (deployment.get("parameters") or {}).get("notify"))
        hours = _hours(str(schedule.get("cron") or "") for schedule in _schedules(deployment))
        said.append(f"deployed {deployment['name']} on {deployment['work_pool']['name']}{hours}")
    return [*said, *_settle_what_prefect_leaves(content["deployments"])]


class _Pool(Section):
    type: str
    concurrency_limit: NonNegativeInt | None = None
    base_job_template: str | None = None

    def job_template(self, root: Path) -> dict[str, Any]:
        """What makes a job, as Prefect takes it; empty for Prefect's own. Raises ValueError if the file cannot be read."""
        if self.base_job_template is None:
            return {}
        file = root / self.base_job_template
        try:
            return {"base_job_template": json.loads(file.read_text(encoding="utf-8"))}
        except (OSError, ValueError) as error:
            raise ValueError(f"the job template {file} cannot be read: {error}") from None


class _Definitions(Section):
    """What prefect.yaml has for us, under the key that Prefect leaves alone, beside whatever somebody keeps there."""

    model_config = ConfigDict(extra="ignore")
    pools: dict[str, _Pool] = Field(default_factory=dict)
    lost_after_s: PositiveInt | None = None


def _read(file: Path) -> tuple[dict[str, Any], _Definitions]:
    """The content of prefect.yaml, and our definitions in it. Raises ValueError if it is not of the form that is needed;
    what only Prefect uses is left to Prefect."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content.get("deployments"), list):
            raise ValueError(f"{file} has no list of deployments")
        definitions = _Definitions.model_validate(content.get("definitions") or {})
        for pool in definitions.pools.values():
            pool.job_template(file.parent)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise ValueError(f"{file}: {'; '.join(f'definitions.{told(each)}' for each in error.errors())}") from None
    return content, definitions


def _settle_what_prefect_leaves(deployments: list[dict[str, Any]]) -> list[str]:
    """Removes the schedules of deployments that have none in prefect.yaml any more (`prefect deploy` leaves them as they
    were), and names the deployments of our flows that are not in it: they go on until somebody deletes them."""
    given: dict[str, list[Any]] = {SERVED: [SERVED]}
    for deployment in deployments:  # two flows may have deployments of the same name
        given.setdefault(deployment["name"], []).extend(_schedules(deployment))
    said = []
    with get_client(sync_client=True) as client:
        for there in client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=FLOWS))):
            name = f"{client.read_flow(there.flow_id).name}/{there.name}"
            if there.name not in given:
                hours = _hours(getattr(each.schedule, "cron", "") for each in there.schedules if each.active)
                said.append(
                    f"still on the server{hours}: {name}, not in prefect.yaml; prefect deployment delete {name}"
                )
            elif there.schedules and not given[there.name]:
                for each in there.schedules:
                    client.delete_deployment_schedule(there.id, each.id)
                said.append(f"removed  the schedule of {name}")
    return said


def _schedules(deployment: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(deployment.get("schedules") or []), *filter(None, [deployment.get("schedule")])]


def _hours(crons: Iterable[str]) -> str:
    """The times of a deployment, e.g. " at 0 2 * * *", or "" if it has none. An empty cron: a schedule of another kind."""
    hours = ", ".join(cron or "other times" for cron in crons)
    return f" at {hours}" if hours else ""


def _make_pool(root: Path, name: str, pool: _Pool) -> str:
    more = pool.job_template(root)
    limit = pool.concurrency_limit
    with get_client(sync_client=True) as client:
        try:
            there = client.read_work_pool(name).type
            if there != pool.type:
                raise ValueError(
                    f"the pool {name} is of type {there} on the server, which Prefect cannot change into {pool.type}; delete "
                    f"it first: prefect work-pool delete {name}"
                )
            client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit, **more))
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=name, type=pool.type, concurrency_limit=limit, **more))
    return f"pool     {name}: {pool.type}, {limit or 'no limit'}"


def _give_up_lost_runs(seconds: int) -> str:
    """The automation of Prefect's page on zombie flows: a run of our flows that stops sending heartbeats is called crashed,
    and so is one that a worker took and never started because the worker was killed."""
    states = ("Completed", "Failed", "Cancelled", "Crashed", "Scheduled", "AwaitingConcurrencySlot")
    automation = AutomationCore(
        name=LOST_RUNS,
        description=f"Runs whose machine was lost: no heartbeat for {seconds} s",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat", "prefect.flow-run.Pending"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in states)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": FLOWS}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        actions=[
            ChangeFlowRunState(name=None, state=StateType.CRASHED, force=False, message=f"{NO_HEARTBEAT} {seconds} s")
        ],
    )
    _put_automation(automation)
    return f"lost     runs without a heartbeat for {seconds} s are called crashed"


def _tell_of_lost_runs(deployment: str, block: str | None) -> None:
    """An automation that tells a notification block of each run of this deployment that was called crashed as above: the
    worker that would have told it is gone. Without a block, the automation of an earlier deploy is removed.

    Raises:
        ValueError: there is no such block.
    """
    name = f"gist: lost runs of {deployment}"
    if block is None:
        _remove_automation(name)
        return
    kind, _, block_name = block.partition("/")
    with get_client(sync_client=True) as client:
        try:
            document = client.read_block_document_by_name(block_name, kind)
        except ObjectNotFound:
            raise ValueError(f"{deployment}: notify: there is no block {block} on the server") from None
    _put_automation(
        AutomationCore(
            name=name,
            description=f"Tells {block} of runs of {deployment} whose worker or machine was lost",
            trigger=EventTrigger(
                expect={"prefect.flow-run.Crashed"},
                match=ResourceSpecification(
                    {"prefect.resource.id": "prefect.flow-run.*", "prefect.state-message": f"{NO_HEARTBEAT} *"}
                ),
                match_related=ResourceSpecification(
                    {"prefect.resource.role": "deployment", "prefect.resource.name": deployment}
                ),
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[
                SendNotification(
                    block_document_id=document.id,
                    subject="The run {{ flow_run.name }} was lost",
                    body="{{ flow_run.state.message }}; its worker or the whole machine is gone",
                )
            ],
        )
    )


def _put_automation(automation: AutomationCore) -> None:
    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(automation.name)
        if known:
            client.update_automation(known[0].id, automation)
        else:
            client.create_automation(automation)


def _remove_automation(name: str) -> None:
    with get_client(sync_client=True) as client:
        for known in client.read_automations_by_name(name):
            client.delete_automation(known.id)
