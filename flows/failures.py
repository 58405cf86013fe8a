"""Why a stage failed, and whether trying again can help. A full GPU is not retried like an error 500."""

import re
from collections.abc import Sequence
from enum import StrEnum

MISTAKE_EXIT_CODE = 2
BACKOFF_SECONDS = (5.0, 20.0, 60.0)


class FailureKind(StrEnum):
    MISTAKE = "user's mistake"  # exit code 2: wrong parameters or files, which would fail again
    OUT_OF_MEMORY = "out of memory"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    BUSY = "busy"  # DVC: another process holds the stage's files
    REMOTE = "DVC remote"  # pull or push failed
    KILLED = "killed by a signal"  # preempted, or stopped by hand; work in progress is resumed
    ERROR = "error"


class StageFailed(Exception):
    """A stage, or the transfer of its artifacts, did not end well."""

    def __init__(self, stage: str, kind: FailureKind, message: str) -> None:
        super().__init__(f"{stage}: {kind}: {message}")
        self.stage = stage
        self.kind = kind
        self.message = message

    def __reduce__(self) -> tuple[type["StageFailed"], tuple[str, FailureKind, str]]:
        return type(self), (self.stage, self.kind, self.message)


_EXITED_WITH = re.compile(r"failed to run: .*, exited with (-?\d+)")
_OUT_OF_MEMORY = re.compile(r"\b(CUDA out of memory|OutOfMemoryError|MemoryError|Cannot allocate memory)\b")
_HELD = re.compile(r"is busy, it is being blocked by|is already running in process")  # said of living processes only
_BUSY = re.compile(_HELD.pattern + r"|Unable to acquire lock|Unable to read RWLock-file")
_REMOTE = re.compile(
    r"failed to (pull|push|fetch|transfer)|to the remote|from the remote|Checkout failed", re.IGNORECASE
)
_SIGNALS = {9, 15, 137, 143}


def classify(returncode: int, tail: Sequence[str]) -> FailureKind:
    """The kind of failure of `dvc repro`, from its exit status and the last lines of its output.

    DVC exits with 255 whatever happened; the stage's own status is in DVC's message "..., exited with N".
    """
    text = "\n".join(tail)
    statuses = _EXITED_WITH.findall(text)
    status = int(statuses[-1]) if statuses else returncode
    if _BUSY.search(text):
        return FailureKind.BUSY
    if statuses and status == MISTAKE_EXIT_CODE:
        return FailureKind.MISTAKE
    if _OUT_OF_MEMORY.search(text):
        return FailureKind.OUT_OF_MEMORY
    if abs(status) in _SIGNALS:
        return FailureKind.KILLED
    if not statuses and _REMOTE.search(text):
        return FailureKind.REMOTE
    return FailureKind.ERROR


def is_held(tail: Sequence[str]) -> bool:
    """Whether `dvc repro` failed because a living process uses the stage's files; it passes when that one ends."""
    return bool(_HELD.search("\n".join(tail)))


def retries_left(kind: FailureKind, resource: str, attempt: int) -> bool:
    """Whether to try again after attempt number `attempt` (from 1) ended with `kind`.

    Stages that talk to others (net, api) get one retry per pause of BACKOFF_SECONDS, and so do locks and remotes.
    A stage killed by a signal gets one. Mistakes, full memory, time-outs and errors of other stages get none.
    """
    if kind in (FailureKind.BUSY, FailureKind.REMOTE) or (kind is FailureKind.ERROR and resource in ("net", "api")):
        return attempt <= len(BACKOFF_SECONDS)
    return kind is FailureKind.KILLED and attempt <= 1


def explain(tail: Sequence[str]) -> str:
    """The last five lines of the output that are not blank, for an error message."""
    said = [line for line in tail if line.strip()][-5:]
    return " | ".join(said) or "no output"
