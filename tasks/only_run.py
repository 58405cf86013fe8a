"""One run of the pipeline at a time in one clone, whoever starts it: `make pipeline`, `gist flow run`, a worker, a schedule.

Two runs share params.yaml, which one of them may write while a stage of the other is about to read it, and the limits of
the resources ("one stage on the GPU") count within a run only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks import paths
from tasks.locks import held


@contextmanager
def only_run(root: Path) -> Iterator[None]:
    """Holds `.work/pipeline.lock` of the clone at `root`.

    Raises:
        ValueError: the pipeline runs here already, in the process that is named; or `.work` cannot be written.
    """
    where = str(root.resolve()).replace("{", "{{").replace("}", "}}")
    busy = f"the pipeline is already running in {where}, in process {{}}; wait for it, stop it, or use another clone"
    with held(root / paths.WORK, "pipeline", busy):
        yield
