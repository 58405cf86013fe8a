"""A stage dies with the command that started it.

DVC leaves a stage's process running when `dvc repro` itself is killed; a second repro would then start a second writer.
So each stage watches its ancestors up to `dvc` (there may be a shell between) and ends its process tree when one is gone."""

import os
import signal
import threading
import time

import psutil

POLL_SECONDS = 1.0


def die_with_parent() -> None:
    """Starts a daemon thread that kills this process and its children once an ancestor up to DVC has ended."""
    watched = _ancestors_up_to_dvc()
    if not watched:
        return
    threading.Thread(target=_watch, args=(watched,), daemon=True, name="die-with-parent").start()


def _ancestors_up_to_dvc() -> list[psutil.Process]:
    ancestors = psutil.Process().parents()
    for depth, process in enumerate(ancestors):
        try:
            command = " ".join(process.cmdline()[:3])
        except psutil.Error:
            continue
        if "dvc" in command:
            return ancestors[: depth + 1]
    return ancestors[:1]


def _watch(ancestors: list[psutil.Process]) -> None:
    # A zombie has ended too: its parent has merely not collected it yet. `is_running` compares start times, so a
    # reused process id is not mistaken for the ancestor.
    while all(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in ancestors):
        time.sleep(POLL_SECONDS)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os.kill(os.getpid(), signal.SIGKILL)
