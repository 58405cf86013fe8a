"""A stage dies with the command that started it.

DVC leaves a stage's process running when `dvc repro` itself is killed; a second repro would then start a second writer.
So each stage watches its ancestors up to `dvc` (there may be a shell in between) and ends its process tree when one is
gone: at once or, if paid calls are under way, after TERM and some time to finish."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

POLL_SECONDS = 0.5
DVC_MARK = "DVC_STAGE"  # set by DVC in the environment of each stage

_time_to_end_s = 0.0


@contextmanager
def told_by_term(seconds: float) -> Iterator[None]:
    """Within the block, the loss of an ancestor is signalled by TERM; the process is killed only if the block has not ended
    `seconds` later."""
    global _time_to_end_s
    _time_to_end_s = seconds
    try:
        yield
    finally:
        _time_to_end_s = 0.0


def die_with_parent() -> None:
    """Starts a daemon thread that kills this process and its descendants once an ancestor up to DVC has ended.

    A stage takes a moment to get here; if DVC was killed in the meantime, this process ends at once.
    """
    watched = _ancestors_up_to_dvc()
    if watched is None and DVC_MARK in os.environ:
        _end_process_tree()
    # Started by hand, without DVC: it ends with the process that started it.
    threading.Thread(
        target=_watch, args=(watched or psutil.Process().parents()[:1],), daemon=True, name="die-with-parent"
    ).start()


def is_dvc(command: Sequence[str]) -> bool:
    """Whether a command line is DVC's: `dvc ...`, `python .../bin/dvc ...` or `python -m dvc ...`."""
    return any(Path(word).stem == "dvc" for word in command[:4])


def _ancestors_up_to_dvc() -> list[psutil.Process] | None:
    ancestors = psutil.Process().parents()
    for depth, process in enumerate(ancestors):
        with contextlib.suppress(psutil.Error):
            if is_dvc(process.cmdline()):
                return ancestors[: depth + 1]
    return None


def _watch(ancestors: list[psutil.Process]) -> None:
    while all(_alive(process) for process in ancestors):
        time.sleep(POLL_SECONDS)
    if _time_to_end_s:
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + _time_to_end_s
        while _time_to_end_s and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        time.sleep(POLL_SECONDS)  # for its last message
    _end_process_tree()


def _alive(process: psutil.Process) -> bool:
    # A zombie has ended too: its parent has merely not collected it yet. `is_running` compares start times, so a
    # reused process id is not mistaken for the ancestor.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two questions
        return False


def _end_process_tree() -> None:
    # Children of torchrun have sessions of their own, so the tree is killed, not the process group. Twice, because one of
    # them may have started another while the first list was made.
    for _ in range(2):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    os.kill(os.getpid(), signal.SIGKILL)
