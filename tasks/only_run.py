"""One run of the pipeline at a time in one clone, whoever starts it: `make pipeline`, `gist flow run`, a worker, a schedule.

Two runs share params.yaml, which one of them may write while a stage of the other is about to read it, and the limits of
the resources ("one stage on the GPU") count within a run only.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tasks import paths
from tasks.stage import describe_holder

WAIT_SECONDS = 3.0  # for a run that was told to stop just now


@contextmanager
def only_run(root: Path) -> Iterator[None]:
    """Holds `.work/pipeline.lock` of the clone at `root`. The kernel ends the lock of a process with it, however it ends.

    Raises:
        ValueError: the pipeline runs here already, in the process that is named; or `.work` cannot be written.
    """
    holder_file = root / paths.WORK / "pipeline.pid"
    lock = FileLock(root / paths.WORK / "pipeline.lock")
    try:
        holder_file.parent.mkdir(exist_ok=True)
        lock.acquire(timeout=WAIT_SECONDS)
    except Timeout:
        raise ValueError(
            f"the pipeline is already running in {root.resolve()}, in process {describe_holder(holder_file)}; "
            "wait for it, stop it, or use another clone"
        ) from None
    except OSError as error:
        raise ValueError(f"cannot write {error.filename}: {error.strerror}") from None
    try:
        holder_file.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        holder_file.unlink(missing_ok=True)
        lock.release()
