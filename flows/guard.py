"""A small process that outlives the flow only to clean up after it.

A flow starts each stage in a process group of its own, so that it can stop it whole. But when the flow itself is killed
(SIGKILL, out of memory), nothing is left to stop those groups. So the flow holds the write end of a pipe to this
guard and tells it what it started; the kernel closes the pipe however the flow ends, and the guard then kills what is
still registered. It runs in a session of its own: Ctrl-C in the terminal does not reach it.

    python flows/guard.py < commands      one a line: `+group N`, `-group N`, `+process N`, `-process N`
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def kill_all(pid: int, *, group: bool) -> None:
    """Kills a process, all its descendants (those in groups of their own too) and, if asked, its process group."""
    victims: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(pid)
        victims = [leader, *leader.children(recursive=True)]
    for victim in victims:
        with contextlib.suppress(psutil.Error):
            victim.kill()
    if group:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


class Guard:
    """The flow's end of the pipe. The guard process starts when it is first needed and ends with this process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Starts the guard before there is anything to watch: a process not yet registered would outlive a killed flow."""
        with self._lock:
            self._running()

    @contextmanager
    def watching(self, pid: int) -> Iterator[None]:
        """Has the process group `pid` killed if this process ends before the block does."""
        self._tell(f"+group {pid}")
        try:
            yield
        finally:
            self._tell(f"-group {pid}")

    def watch_process(self, pid: int) -> None:
        """Has one process and its descendants killed when this process ends."""
        self._tell(f"+process {pid}")

    def _tell(self, line: str) -> None:
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            process.stdin.write(line + "\n")
            process.stdin.flush()

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, text=True, start_new_session=True
            )
        return self._process


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends with the flow, not by a signal meant for the flow
    watched: set[tuple[str, int]] = set()
    for line in sys.stdin:
        kind, pid = line[1:].split()
        if line.startswith("+"):
            watched.add((kind, int(pid)))
        else:
            watched.discard((kind, int(pid)))
    for kind, number in watched:
        kill_all(number, group=kind == "group")


if __name__ == "__main__":
    main()
