"""Pictures of Prefect's own pages for docs/prefect.md, from a server on which a night runs:

python -m tests.flows.pictures http://127.0.0.1:4200 docs/images
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.sorting import FlowRunSort

from tests.human_eval.browser import chromium

PATIENCE_SECONDS = 60
SETTLE_SECONDS = 4  # for the drawing of graphs to end


def latest(flow: str) -> str:
    """The id of the latest run of a flow."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )
    if not runs:
        raise ValueError(f"no run of the flow {flow} on this server")
    return str(runs[0].id)


def take(browser: Any, url: str, expect: str, target: Path) -> None:
    """A picture of a page once it shows the text `expect`."""
    browser.get(url)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while expect not in browser.execute_script("return document.body.innerText"):
        if time.monotonic() > deadline:
            raise ValueError(f"{url} does not show {expect!r}")
        time.sleep(0.2)
    time.sleep(SETTLE_SECONDS)
    browser.save_screenshot(str(target))


def main() -> None:
    server, folder = sys.argv[1].rstrip("/"), Path(sys.argv[2])
    pages = {
        "prefect_deployments.png": ("/deployments", "nightly"),
        "prefect_night.png": (f"/runs/flow-run/{latest('pipeline')}", "train@gist-1"),
        "prefect_artifact.png": ("/artifacts/key/alpaca-plus", "alpaca_plus"),
    }
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile), size=(1280, 900)) as browser:
        for name, (path, expect) in pages.items():
            take(browser, server + path, expect, folder / name)


if __name__ == "__main__":
    main()
