"""Locks that say who holds them."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

# A process that was just told to stop, or lost its parent (tasks/parent.py), needs a moment to end. A restart waits for it
# instead of being refused.
WAIT_SECONDS = 3.0


@contextmanager
def held(folder: Path, name: str, busy: str) -> Iterator[None]:
    """Holds `folder/name.lock`. The kernel releases the lock when the process ends, however it ends.

    busy: the message if another process holds it, with {} for that process.

    Raises:
        ValueError: it is held by another process, or the folder cannot be written.
    """
    holder_file = folder / f"{name}.pid"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        lock.acquire(timeout=WAIT_SECONDS)
        holder_file.write_text(str(os.getpid()), encoding="utf-8")
    except Timeout:
        raise ValueError(busy.replace("{}", _describe(holder_file))) from None
    except OSError as error:
        raise ValueError(f"{name} cannot run: {error.filename} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        holder_file.unlink(missing_ok=True)
        lock.release()


def is_held(folder: Path, name: str) -> bool:
    """Whether a process holds `folder/name.lock`."""
    try:
        with FileLock(folder / f"{name}.lock", timeout=0):
            return False
    except Timeout:
        return True


def _describe(holder_file: Path) -> str:
    """The id, command and start time of the process that holds the lock, if they can be found out."""
    try:
        process = psutil.Process(int(holder_file.read_text(encoding="utf-8")))
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(process.create_time()))
        return f"{process.pid} ({' '.join(process.cmdline())}, started {started})"
    except (OSError, ValueError, psutil.Error):
        return "that has not yet named itself"
