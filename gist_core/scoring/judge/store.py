"""Every answer of a judge, kept the moment it arrives (SQLite, write-ahead log).

The key of an answer is the hash of the request and of where it was sent, so it is found again under any parameters that
ask the same, and never under those that ask something else. Raw answers are kept, not what was parsed from them.
`attempts` is the journal of calls: a row is committed before its call is sent. So a call that was under way when its
process was killed is afterwards known to be lost: it may have been billed, and its answer is gone.
"""

import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

# The outcome of a call whose process ended before the answer came, or of one in a batch whose answer cannot be had any more.
LOST = "lost"
LOST_ERROR = (
    "lost: the process was killed while this call was under way, or its answer in a batch cannot be had any more, so it may have "
    "been billed; judge.lost_calls=ask_again asks it once more"
)
BILLED = ("200", LOST, "time-out", "connection")  # outcomes after which a call has been billed, or may have been
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, body TEXT NOT NULL, model TEXT, prompt_tokens INTEGER, completion_tokens INTEGER,
    cost_usd REAL, latency_ms REAL, answered_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, owner TEXT, begun_at TEXT NOT NULL, outcome TEXT
);
CREATE INDEX IF NOT EXISTS attempts_by_key ON attempts (key);
CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY, submitted_at TEXT NOT NULL, collected_at TEXT
);
CREATE TABLE IF NOT EXISTS batch_requests (batch TEXT NOT NULL, key TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS batch_requests_by_key ON batch_requests (key);
"""


@dataclass(frozen=True)
class StoredAnswer:
    """body: the chat completion as the server sent it. cost_usd: at the prices of that day; None if unknown."""

    key: str
    body: dict[str, Any]
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    latency_ms: float | None
    answered_at: str


class CallStore:
    """The file of answers. A context manager; several processes may have it open at once.

    Raises:
        ValueError: on opening and in every method: the file is not a store, is damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
            # If two processes switch a new file to the write-ahead log, SQLite refuses one at once, whatever the timeout.
            with self._lock_of("open"):
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from None
        # This lock is held while the store is open, so others can tell a call under way from a lost one, even after SIGKILL.
        self._owner = uuid.uuid4().hex
        self._alive = self._lock_of(self._owner)
        self._alive.acquire()

    def __enter__(self) -> "CallStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        Path(self._alive.lock_file).unlink(missing_ok=True)
        self._alive.release()

    def answer(self, key: str) -> StoredAnswer | None:
        """The answer to a request, if there is one."""
        for row in self._query("SELECT * FROM answers WHERE key = ?", (key,)):
            try:
                return StoredAnswer(row[0], json.loads(row[1]), *row[2:])
            except (ValueError, TypeError, RecursionError) as error:
                raise self._unusable(error) from None
        return None

    def keep(self, answer: StoredAnswer) -> None:
        """Keeps an answer, unless there already is one to the same request."""
        values = tuple((vars(answer) | {"body": json.dumps(answer.body)}).values())
        self._query("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def begin_attempt(self, key: str) -> int | None:
        """Notes that a call is about to be sent. Returns its id, or None if the same call is under way or answered."""
        taken = """SELECT 1 FROM attempts WHERE key = ?1 AND outcome IS NULL
                   UNION ALL SELECT 1 FROM answers WHERE key = ?1"""
        with self._transaction():
            if self._query(taken, (key,)):
                return None
            query = "INSERT INTO attempts (key, owner, begun_at) VALUES (?, ?, ?) RETURNING id"
            return int(self._query(query, (key, self._owner, now()))[0][0])

    def end_attempt(self, attempt: int, outcome: str) -> None:
        """Notes how the call ended: "200", another HTTP status, "time-out", "connection" (it broke), "not connected" or
        `LOST`; for a call in a batch, perhaps how the batch ended."""
        self._query("UPDATE attempts SET outcome = ? WHERE id = ?", (outcome, attempt))

    def note_lost(self) -> None:
        """Ends the calls that were under way in processes that have ended: "200" if the answer was kept, else `LOST`."""
        for (owner,) in self._query("SELECT DISTINCT owner FROM attempts WHERE outcome IS NULL"):
            lock = self._lock_of(owner)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue  # that process is alive
            query = """UPDATE attempts SET outcome = CASE WHEN key IN (SELECT key FROM answers) THEN '200' ELSE ? END
                       WHERE owner IS ? AND outcome IS NULL"""
            self._query(query, (LOST, owner))
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def outcomes(self, key: str) -> list[str | None]:
        """How each call for a request ended, first to last; None for one under way."""
        query = "SELECT outcome FROM attempts WHERE key = ? ORDER BY id"
        return [outcome for (outcome,) in self._query(query, (key,))]

    def is_lost(self, key: str) -> bool:
        """Whether the last call for a request was lost."""
        return self.outcomes(key)[-1:] == [LOST]

    def times_billed(self, key: str) -> int:
        """The most calls that can have been billed for a request: those answered, and those whose fate is unknown."""
        return sum(outcome in BILLED for outcome in self.outcomes(key))

    def times_unpriced(self, key: str) -> int:
        """How many of the calls that can have been billed for a request have no known price."""
        answer = self.answer(key)
        return self.times_billed(key) - (answer is not None and answer.cost_usd is not None)

    def forget_attempt(self, attempt: int) -> None:
        """Removes a call that was not made after all."""
        self._query("DELETE FROM attempts WHERE id = ?", (attempt,))

    def spent(self, keys: Iterable[str]) -> tuple[int, float]:
        """The number of calls ever begun for these requests, and the dollars that their answers are known to have cost."""
        calls, dollars = 0, 0.0
        for key in set(keys):
            calls += self._query("SELECT COUNT(*) FROM attempts WHERE key = ?", (key,))[0][0]
            dollars += sum(cost or 0.0 for (cost,) in self._query("SELECT cost_usd FROM answers WHERE key = ?", (key,)))
        return calls, dollars

    def open_batches(self, keys: Iterable[str]) -> list[str]:
        """The batches that hold any of these requests and have not been collected, oldest first."""
        query = """SELECT id, submitted_at FROM batches JOIN batch_requests ON batch = id
                   WHERE key = ? AND collected_at IS NULL"""
        found = {row for key in keys for row in self._query(query, (key,))}
        return [batch for batch, _ in sorted(found, key=lambda row: row[1])]

    def age_s(self, batch: str) -> float:
        """Seconds since a batch was noted."""
        noted_at = self._query("SELECT submitted_at FROM batches WHERE id = ?", (batch,))[0][0]
        return (datetime.now(UTC) - datetime.fromisoformat(noted_at)).total_seconds()

    def calls_of_batch(self, batch: str) -> list[str]:
        """The keys of a batch's calls of which nothing is known yet."""
        return [key for (key,) in self._query("SELECT key FROM attempts WHERE outcome = ?", (f"batch {batch}",))]

    def rename_batch(self, batch: str, to: str) -> None:
        """Gives a batch, which was noted before it was made, its real id."""
        with self._transaction():
            self._query("UPDATE batches SET id = ? WHERE id = ?", (to, batch))
            self._query("UPDATE batch_requests SET batch = ? WHERE batch = ?", (to, batch))
            self._query("UPDATE attempts SET outcome = ? WHERE outcome = ?", (f"batch {to}", f"batch {batch}"))

    def forget_batch(self, batch: str) -> None:
        """Removes a batch that was not made after all, and its calls."""
        with self._transaction():
            self._query("DELETE FROM batches WHERE id = ?", (batch,))
            self._query("DELETE FROM batch_requests WHERE batch = ?", (batch,))
            self._query("DELETE FROM attempts WHERE outcome = ?", (f"batch {batch}",))

    def note_batch(self, batch: str, keys: Iterable[str]) -> None:
        """Notes a batch, and each of its requests as a call."""
        time = now()
        with self._transaction():
            self._query("INSERT INTO batches VALUES (?, ?, NULL)", (batch, time))
            for key in keys:
                self._query("INSERT INTO batch_requests VALUES (?, ?)", (batch, key))
                self._query(
                    "INSERT INTO attempts (key, begun_at, outcome) VALUES (?, ?, ?)", (key, time, f"batch {batch}")
                )

    def end_call_of_batch(self, batch: str, key: str, outcome: str) -> None:
        """Notes how a call in a batch ended, as `end_attempt` does."""
        query = "UPDATE attempts SET outcome = ? WHERE key = ? AND outcome = ?"
        self._query(query, (outcome, key, f"batch {batch}"))

    def close_batch(self, batch: str, outcome: str) -> list[str]:
        """Notes that a batch's answers have been kept, and how its other calls ended. Returns the keys of those calls."""
        with self._transaction():
            query = "UPDATE attempts SET outcome = ? WHERE outcome = ? RETURNING key"
            others = [key for (key,) in self._query(query, (outcome, f"batch {batch}"))]
            self._query("UPDATE batches SET collected_at = ? WHERE id = ?", (now(), batch))
        return others

    def submitting(self) -> FileLock:
        """A lock to hold while a batch is put together and submitted: two processes would submit the same requests."""
        return FileLock(f"{self._path}.batch.lock")

    def _lock_of(self, owner: str) -> FileLock:
        return FileLock(f"{self._path}.{owner}.lock")

    def _query(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows at once, because SQLite finds a damaged page only when it reads it."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> ValueError:
        return ValueError(
            f"the store of judge answers {self._path} cannot be read or written ({error}); if it is damaged, move it "
            "away: the answers in it will be asked for again"
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._query("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # SQLite has ended it by itself after some errors, such as a full disk
                self._query("ROLLBACK")
            raise
        self._query("COMMIT")


def now() -> str:
    """UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
