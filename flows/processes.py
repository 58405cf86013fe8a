"""A command in its own process group: its output line by line, a time-out, and an end for the whole group."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from flows.guard import Guard, kill_all

POLL_SECONDS = 0.1
GRACE_SECONDS = 5.0  # between TERM and KILL: time to close files, not to finish work
TAIL_LINES = 200

_guard = Guard()


@dataclass(frozen=True)
class Outcome:
    """How a command ended. `returncode` is negative for a signal; `tail` its last lines (stdout and stderr)."""

    ended: Literal["by itself", "timed out", "cancelled"]
    returncode: int
    tail: tuple[str, ...]
    seconds: float


def run_in_group(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    on_line: Callable[[str], None] = lambda line: None,
    on_tick: Callable[[], None] = lambda: None,
    timeout_s: float | None = None,
    cancelled: threading.Event | None = None,
) -> Outcome:
    """Runs `command` and waits for it. When it returns, nothing that the command started is alive any more.

    on_line: called in this thread with each line of output; on_tick: about ten times a second.
    cancelled: setting it stops the command.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,
    )
    ended: Literal["by itself", "timed out", "cancelled"] = "by itself"
    lines: deque[str] = deque()
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(iter(process.stdout),), daemon=True)

    def deliver() -> None:
        while lines:
            line = lines.popleft().rstrip()
            tail.append(line)
            on_line(line)

    with _guard.watching(process.pid):
        reader.start()
        try:
            while process.poll() is None:
                if cancelled is not None and cancelled.is_set():
                    ended = "cancelled"
                    break
                if timeout_s is not None and time.monotonic() - started > timeout_s:
                    ended = "timed out"
                    break
                deliver()
                on_tick()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
        finally:
            stop_group(process)
            reader.join(timeout=2.0)
            deliver()
    return Outcome(ended, process.returncode, tuple(tail), time.monotonic() - started)


def stop_group(process: "subprocess.Popen[str]") -> None:
    """Ends a process, its descendants and its process group: TERM first, KILL after a grace period."""
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        descendants = psutil.Process(process.pid).children(recursive=True)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        for descendant in descendants:  # those in sessions of their own, too
            with contextlib.suppress(psutil.Error):
                descendant.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        psutil.wait_procs(descendants, timeout=GRACE_SECONDS)
    for descendant in descendants:
        with contextlib.suppress(psutil.Error):
            descendant.kill()
    kill_all(process.pid, group=True)
    process.wait()


def guard_children(name: str) -> None:
    """Has those children of this process whose command contains `name` killed when this process ends."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if name in " ".join(child.cmdline()):
                _guard.watch_process(child.pid)
