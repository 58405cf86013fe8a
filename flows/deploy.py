"""prefect.yaml put on the server: work pools, limits, deployments. Running it again changes only what changed there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound


def deploy(root: Path) -> list[str]:
    """Makes the pools, limits and deployments of prefect.yaml; returns one line for each.

    Raises:
        ValueError: prefect.yaml is missing or wrong, or Prefect refuses a deployment.
    """
    file = root / "prefect.yaml"
    if not file.is_file():
        raise ValueError(f"{file} does not exist; run this from the project's root")
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    definitions = content.get("definitions", {})
    said = [_make_pool(root, name, spec) for name, spec in definitions.get("pools", {}).items()]
    with get_client(sync_client=True) as client:
        for tag, limit in definitions.get("limits", {}).items():
            client.create_concurrency_limit(tag=tag, concurrency_limit=limit)
            said.append(f"limit    {tag}: {limit} at a time")
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    # The clone is the worker's to name: set here, it would be written into the deployments.
    env = {key: value for key, value in os.environ.items() if key != "GIST_CLONE"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"prefect deploy refused {file}: {(done.stdout + done.stderr).strip()[-2000:]}")
    for deployment in content["deployments"]:
        crons = ", ".join(schedule.get("cron", "interval") for schedule in deployment.get("schedules", []))
        said.append(
            f"deployed {deployment['name']} on {deployment['work_pool']['name']}" + (f" at {crons}" if crons else "")
        )
    return said


def _make_pool(root: Path, name: str, spec: dict[str, Any]) -> str:
    template = spec.get("base_job_template")
    job_template = json.loads((root / template).read_text(encoding="utf-8")) if template else None
    more = {"base_job_template": job_template} if job_template else {}
    limit = spec.get("concurrency_limit")
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(name)
            client.update_work_pool(
                name,
                WorkPoolUpdate(concurrency_limit=limit, **more),
            )
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=name, type=spec["type"], concurrency_limit=limit, **more))
    return f"pool     {name}: {spec['type']}, {limit or 'no limit'}"
