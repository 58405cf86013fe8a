"""Runs a command in its own process group, with its output line by line, a time-out, and an end for the whole group."""

import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal, NoReturn

import psutil

from flows.guard import Guard, kill_all

POLL_SECONDS = 0.1
GRACE_SECONDS = 5.0  # between TERM and KILL, unless a stage says otherwise: time to close files, not to finish work
TAIL_LINES = 200
CALL_VARIABLE = "GIST_FLOW_CALL"  # set in the environment of everything that a command starts; identifies it

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
    timeout_s: float | None = None,
    cancelled: threading.Event | None = None,
    grace_s: float = GRACE_SECONDS,
) -> Outcome:
    """Runs `command` and waits for it. When it returns, nothing that the command started is alive any more.

    on_line: called in this thread with each line of output. cancelled: setting it stops the command.
    grace_s: seconds between TERM and KILL for what has to be stopped.
    """
    started = time.monotonic()
    ended: Literal["by itself", "timed out", "cancelled"] = "by itself"
    lines: deque[str] = deque()
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def deliver() -> None:
        while lines:
            line = lines.popleft().rstrip()
            tail.append(line)
            on_line(line)

    with group_of(
        command, cwd=cwd, env=env, grace_s=grace_s, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=lines.extend, args=(iter(process.stdout),), daemon=True)
        reader.start()
        while process.poll() is None:
            if cancelled is not None and cancelled.is_set():
                ended = "cancelled"
                break
            if timeout_s is not None and time.monotonic() - started > timeout_s:
                ended = "timed out"
                break
            deliver()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
    reader.join(timeout=2.0)
    if not reader.is_alive():  # else something outlived the group, and holds the pipe
        process.stdout.close()
    deliver()
    return Outcome(ended, process.returncode, tuple(tail), time.monotonic() - started)


@contextmanager
def group_of(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    grace_s: float = GRACE_SECONDS,
    stdout: int | None = None,
    stderr: int | None = None,
) -> "Iterator[subprocess.Popen[str]]":
    """A command in a process group of its own. When the block ends, and when this process is killed, all of it ends."""
    call = uuid.uuid4().hex
    _guard.start()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**env, CALL_VARIABLE: call},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        errors="replace",
        process_group=0,
    )
    with _guard.watching(process.pid):
        try:
            yield process
        finally:
            stop_group(process, grace_s)
            _kill_orphans(call)


def stop_group(process: "subprocess.Popen[str]", grace_s: float = GRACE_SECONDS) -> None:
    """Ends a process, its descendants and its process group: TERM first, KILL after a grace period."""
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        descendants = psutil.Process(process.pid).children(recursive=True)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses if all in the group have ended
            os.killpg(process.pid, signal.SIGTERM)
        for descendant in descendants:  # those in sessions of their own, too
            with contextlib.suppress(psutil.Error):
                descendant.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        psutil.wait_procs(descendants, timeout=grace_s)
    for descendant in descendants:
        with contextlib.suppress(psutil.Error):
            descendant.kill()
    kill_all(process.pid, group=True)
    process.wait()


def _kill_orphans(call: str) -> None:
    """Kills what a command started in other process groups and whose parent is gone: the workers of a launcher that was
    killed, say. They are found by their environment."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(CALL_VARIABLE) == call:
                process.kill()


def guard_children(name: str) -> None:
    """Has those children of this process whose command contains `name` killed when this process ends."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if name in " ".join(child.cmdline()):
                _guard.watch_process(child.pid)


def exit_terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    """A handler of TERM that ends this process by an exception, so that everything that is cleaned up at exit is."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(143)
