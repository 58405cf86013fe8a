"""The run log: what varies from one execution of a stage to the next without changing its result.

One JSON line per finished execution in this clone, or in a copy of it (an experiment, a night): times, host, process,
Prefect run. No stage depends on it, DVC does not track it and git ignores it; a clone without one is complete. Lines are
chained (each holds the SHA-256 of the line before), and are appended under a lock in the order in which stages finish, so
an edited line and a clock that was set back both show."""

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from gist_core.lineage.rowids import json_object

FOLDER = Path("data/statements/runs")
LOG = FOLDER / "log.jsonl"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CLOCK_TOLERANCE_S = 5.0


@dataclass(frozen=True)
class Stopwatch:
    """A wall clock reading and, beside it, one of a clock that cannot be set."""

    wall: float
    steady: float

    @classmethod
    def start(cls) -> "Stopwatch":
        return cls(time.time(), _steady())

    def read(self) -> dict[str, Any]:
        """Start and end by the wall clock (UTC, ISO 8601), duration by the steady clock (seconds).

        boot, booted: which boot of the machine this was, and when that was if the wall clock is right. Setting the
        clock moves it.
        """
        wall, steady = time.time(), _steady()
        return {
            "started": _iso(self.wall),
            "finished": _iso(wall),
            "duration_s": round(steady - self.steady, 3),
            "boot": BOOT_ID.read_text(encoding="utf-8").strip() if BOOT_ID.exists() else None,
            "booted": _iso(wall - steady),
        }


def append_run(root: Path, record: dict[str, Any]) -> None:
    """Adds a line to the log of this clone. record: stage, statement (SHA-256), times, host, and whatever else
    varies."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    with FileLock(folder / "log.lock"):
        lines = _lines(root)
        previous = hashlib.sha256(lines[-1]).hexdigest() if lines else None
        whole = not lines or (root / LOG).read_bytes().endswith(b"\n")  # no kill has cut off the last line
        with (root / LOG).open("a", encoding="utf-8") as file:
            file.write(("" if whole else "\n") + json.dumps({**record, "previous": previous}, sort_keys=True) + "\n")


def runs_of(root: Path, statement_sha256: str) -> list[dict[str, Any]]:
    """The executions in this clone that wrote the statement with this digest, oldest first."""
    records = (json_object(line) for line in _lines(root))
    return [record for record in records if record and record.get("statement") == statement_sha256]


def run_times(root: Path, statement_sha256: str) -> tuple[str, str] | None:
    """Start and end (ISO 8601) of the last execution in this clone that wrote a statement; None if its record has no
    times, or there is none."""
    for record in runs_of(root, statement_sha256)[-1:]:
        times = (str(record.get("started")), str(record.get("finished")))
        with suppress(ValueError):
            if all(map(datetime.fromisoformat, times)):
                return times
    return None


def log_problems(root: Path, commit_times: dict[str, float]) -> list[tuple[str, str]]:
    """(stage, problem) for each line that cannot be true: a broken chain, or a clock that was set back.

    commit_times: seconds since the epoch by commit, for the commits known here. A stage cannot run before its commit
    was made (the committer's clock may be another machine's: five minutes are allowed).

    Raises:
        OSError: the log cannot be read.
    """
    problems: list[tuple[str, str]] = []
    previous_digest: str | None = None
    clocks = _Clocks(commit_times)
    for number, line in enumerate(_lines(root), 1):
        if (record := json_object(line)) is None:
            problems.append(("", f"line {number} is not a record of a run"))
        else:
            stage = str(record.get("stage"))
            if record.get("previous") != previous_digest:
                problems.append(
                    (stage, f"line {number} does not follow the line before it: one of them was edited or removed")
                )
            problems += [(stage, f"line {number}: {problem}") for problem in clocks.problems(record)]
        previous_digest = hashlib.sha256(line).hexdigest()
    return problems


class _Clocks:
    """What the lines so far say about the clock of each host. A clock that was set forward, or a machine that stood still,
    raises no alarm, because only a clock that was set back makes a later execution look earlier."""

    def __init__(self, commit_times: dict[str, float]) -> None:
        self.commit_times = commit_times
        self.latest: dict[str, tuple[float, str]] = {}
        self.booted: dict[str, float] = {}

    def problems(self, record: dict[str, Any]) -> list[str]:
        try:
            started, finished = (datetime.fromisoformat(record[key]).timestamp() for key in ("started", "finished"))
            duration, host, boot = float(record["duration_s"]), str(record["host"]), str(record.get("boot") or "")
            booted = datetime.fromisoformat(record["booted"]).timestamp() if boot else 0.0
        except (KeyError, TypeError, ValueError, OverflowError):
            return ["it has no readable times"]
        found = []
        if finished - started < duration - CLOCK_TOLERANCE_S - 0.01 * duration:
            shown = f"{finished - started:.0f} s by it, {duration:.0f} s passed"
            found.append(f"the clock was set back during the run: {shown}")
        if boot and booted < self.booted.get(boot, booted) - CLOCK_TOLERANCE_S:
            back = self.booted[boot] - booted
            found.append(f"the clock was set back by {back:.0f} s since the line before of this machine")
        before, stage = self.latest.get(host, (finished, ""))
        if finished < before - CLOCK_TOLERANCE_S:
            found.append(
                f"it finished at {record['finished']}, {stage} before it at {_iso(before)}: the clock was set back"
            )
        made = self.commit_times.get(str(record.get("commit")))
        if made is not None and started < made - 300:
            found.append(f"it started at {record['started']}, before its commit ({_iso(made)}): the clock was set back")
        if started > time.time() + 300:
            found.append(f"it started at {record['started']}, which is still to come: the clock was set back since")
        if boot:
            self.booted[boot] = booted
        if finished >= before:
            self.latest[host] = (finished, str(record.get("stage")))
        return found


def _lines(root: Path) -> list[bytes]:
    path = root / LOG
    return path.read_bytes().splitlines() if path.exists() else []


def _steady() -> float:
    """Seconds by a clock that nobody can set and that goes on while the machine sleeps (where there is one)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
