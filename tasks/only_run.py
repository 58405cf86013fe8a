"""One run of the pipeline at a time in one clone, whoever starts it (`make pipeline`, `gist flow run`, a schedule), and none
while a worker runs stages of other runs there.

Two runs would share params.yaml, which one of them may write while a stage of the other is about to read it; and the limits
of the resources ("one stage on the GPU") count only within one run.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks import paths
from tasks.locks import WAIT_SECONDS, held, is_held

# How a worker's stages share a clone (flows/clone.py): each holds USERS; STATE says which state they brought it to.
USERS, STATE = paths.WORK / "dispatch/users.lock", paths.WORK / "dispatch/state"


@contextmanager
def only_run(root: Path) -> Iterator[None]:
    """Holds `.work/pipeline.lock` of the clone at `root`.

    Raises:
        ValueError: the pipeline already runs here (the message names the process), a worker runs stages here, or `.work`
            cannot be written.
    """
    busy = f"the pipeline is already running in {root.resolve()}, in process {{}}; wait for it, stop it, or use another clone"
    with held(root / paths.WORK, "pipeline", busy):
        _wait_for_workers(root)
        try:
            yield
        finally:
            (root / STATE).unlink(missing_ok=True)  # what is here now is this run's; no worker may discard it


def is_running(root: Path) -> bool:
    """Whether a run of the pipeline is going on in the clone at `root`."""
    return is_held(root / paths.WORK, "pipeline")


def _wait_for_workers(root: Path) -> None:
    if not (root / USERS).is_file():
        return
    deadline = time.monotonic() + WAIT_SECONDS
    with (root / USERS).open("a") as users:
        while True:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ValueError(
                        f"a worker runs stages in {root.resolve()}; wait for them (`gist flow status`), stop the worker, or use "
                        "another clone"
                    ) from None
            time.sleep(0.1)
