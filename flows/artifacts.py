"""What a person sees of a stage in Prefect: a summary, its files and hashes, its progress, the report."""

import contextvars
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from httpx import TransportError
from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from flows.graph import StageNode
from flows.lockfile import lock_entry
from gist_core.lineage.numbers import leaves
from tasks import paths

MAX_METRICS = 20
PROGRESS_SECONDS = 2.0


def artifact_key(stage: str) -> str:
    """A key in the form that Prefect requires: lower case, digits, dashes. "train@gist-1" becomes "train-gist-1"."""
    return re.sub(r"[^a-z0-9]+", "-", stage.lower()).strip("-")


def key_metrics(root: Path, stage: StageNode) -> dict[str, float]:
    """The first MAX_METRICS numbers in the stage's JSON metrics, by dotted name, and before them every cost (`*cost_usd`).
    Numbers in lists are left out."""
    numbers: dict[str, float] = {}
    for path in stage.metrics:
        if (root / path).is_file() and path.endswith(".json"):
            found = leaves(json.loads((root / path).read_text(encoding="utf-8")))
            named = {keys: value for keys, value in found if not any(isinstance(key, int) for key in keys)}
            numbers |= {".".join(map(str, keys)): float(value) for keys, value in named.items()}
    costs = {name: value for name, value in numbers.items() if name.endswith("cost_usd")}
    return {**costs, **dict(list(numbers.items())[:MAX_METRICS])}


def publish_stage(root: Path, stage: StageNode, how: str, seconds: float) -> None:
    """Writes the stage's Markdown and table artifacts, and a link to every HTML page among its outs."""
    entry = lock_entry(root, stage.name)
    key = artifact_key(stage.name)
    create_markdown_artifact(
        stage_markdown(root, stage, entry, how, seconds), key=key, description=f"Stage {stage.name}"
    )
    create_table_artifact(stage_table(entry), key=f"{key}-files", description=f"What {stage.name} read and made")
    for path in stage.outs:
        page = root / path
        if page.suffix == ".html" and page.is_file():
            create_link_artifact(
                page.resolve().as_uri(), link_text=path, key=artifact_key(path), description=f"From {stage.name}"
            )


def stage_markdown(root: Path, stage: StageNode, entry: dict[str, Any], how: str, seconds: float) -> str:
    """The summary of a stage as Markdown."""
    lines = [f"# {stage.name}", "", f"**{how}** in {seconds:.1f} s, resource `{stage.resource}`", ""]
    if entry.get("cmd"):
        lines += [f"Command: `{entry['cmd']}`", ""]
    metrics = key_metrics(root, stage)
    if metrics:
        lines += [
            "| metric | value |",
            "|---|---|",
            *(f"| {name} | {value:g} |" for name, value in metrics.items()),
            "",
        ]
    if entry.get("params"):
        lines += ["Parameters:", "```yaml", yaml.safe_dump(entry["params"], sort_keys=False).strip(), "```"]
    return "\n".join(lines)


def stage_table(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per dependency and out that dvc.lock records."""
    return [
        {"kind": kind, "path": item["path"], "md5": item.get("md5"), "bytes": item.get("size")}
        for kind, group in (("out", "outs"), ("dependency", "deps"))
        for item in entry.get(group, [])
    ]


@contextmanager
def only_shown() -> Iterator[None]:
    """For what people only look at: a server that does not answer, or has lost its database, must not end a stage."""
    try:
        yield
    except (OSError, TransportError, PrefectHTTPStatusError, ObjectNotFound) as error:
        get_run_logger().debug("not shown, as the Prefect server did not answer: %s", error)


@contextmanager
def progress_shown(root: Path, stage: str) -> Iterator[None]:
    """Keeps a progress artifact up to date during the block. It has its own thread because a server that is away is retried
    for minutes, and the stage must still be stopped at its time-out."""
    over = threading.Event()
    look = _progress(root, stage)

    def follow() -> None:
        while not over.wait(PROGRESS_SECONDS):
            with only_shown():
                look()

    threading.Thread(target=contextvars.copy_context().run, args=(follow,), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _progress(root: Path, stage: str) -> Callable[[], None]:
    """A function to call repeatedly while the stage runs. It updates a progress artifact from `.work/progress/STAGE.json`
    ({"done": int, "total": int}), which the stage may write. Without that file there is no artifact."""
    source = root / paths.WORK / "progress" / f"{stage}.json"
    started = time.time()
    artifact: Any = None
    shown = -1.0

    def look() -> None:
        nonlocal artifact, shown
        try:
            if source.stat().st_mtime < started:
                return
            state = json.loads(source.read_text(encoding="utf-8"))
            percent = 100.0 * state["done"] / state["total"]
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            return  # missing, or just being written
        if percent == shown:
            return
        shown = percent
        if artifact is None:
            artifact = create_progress_artifact(
                percent, key=f"{artifact_key(stage)}-progress", description=f"Progress of {stage}"
            )
        else:
            update_progress_artifact(artifact, progress=percent)

    return look
