"""Judging through OpenAI's batch endpoint: all requests in one file, answered within 24 hours at half the price.

A batch outlives the process that submitted it. Before it is made, it is noted in the store under a name of our own, which
it carries as metadata. If its id is lost on the way, it is found on the server by that name, and not submitted twice.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from gist_core.scoring.judge.answer import completion_body, stored_answer
from gist_core.scoring.judge.batch_endpoint import PLANNED, UNDER_WAY, BatchEndpoint, BatchState, Gone
from gist_core.scoring.judge.budget import Budget
from gist_core.scoring.judge.request import JudgeRequest
from gist_core.scoring.judge.settings import OpenAISettings
from gist_core.scoring.judge.store import LOST, CallStore

BYTES_PER_BATCH = 190_000_000  # OpenAI takes files of up to 200 MB
CONFIRMED_WITHIN_S = 300.0  # after the call that was to make it: a batch that is not listed by then was never made
_NOT_EXECUTED = ("batch_expired", "batch_cancelled")  # codes of requests that a batch did not come to, or bill


def answer_in_batch(
    requests: Sequence[JudgeRequest],
    settings: OpenAISettings,
    store: CallStore,
    budget: Callable[[], Budget],
    *,
    api_key: str,
) -> dict[str, str]:
    """Submits what no open batch holds, waits, and keeps the answers in the store.

    budget: gives what may still be spent, from the state of the store at the time of the call.

    Returns:
        What went wrong, by key, for the requests that got no answer. They are asked again next time.

    Raises:
        ValueError: a budget would be exceeded (that batch is not submitted then), the server refuses the batch or no longer
            has it, or its files are broken or incomplete.
        ConnectionError: the server does not answer now.
    """
    try:
        with BatchEndpoint(settings, api_key) as endpoint:
            return _answer_all(endpoint, requests, settings, store, budget)
    except ConnectionError as error:
        raise ConnectionError(f"{error}; what has been submitted is kept, the same command goes on with it") from None


def _answer_all(
    endpoint: BatchEndpoint,
    requests: Sequence[JudgeRequest],
    settings: OpenAISettings,
    store: CallStore,
    budget: Callable[[], Budget],
) -> dict[str, str]:
    failures: dict[str, str] = {}
    asked: set[str] = set()  # each is asked once in this run, whatever becomes of its batch
    refused: str | None = None  # why a batch failed as a whole
    keys = [request.key for request in requests]
    while True:
        with store.submitting():
            _find_planned(endpoint, keys, settings, store)
        for batch in store.open_batches(keys):
            if batch.startswith(PLANNED):  # another process is just making it
                continue
            collected = _collect(endpoint, batch, settings, store)
            failures |= collected.failures | {key: collected.why for key in collected.left if key in asked}
            if collected.has_failed and not asked.isdisjoint(collected.left):
                refused = collected.why
        with store.submitting():
            if store.open_batches(keys):
                continue  # another process has just submitted some of them
            remaining = [
                request
                for request in requests
                if store.answer(request.key) is None and request.key not in failures and request.key not in asked
            ]
            if refused is not None:  # a further part would fare the same
                return failures | {request.key: refused for request in remaining}
            if not remaining:
                return failures
            asked |= _submit(endpoint, remaining, settings, store, budget())


def _find_planned(endpoint: BatchEndpoint, keys: Sequence[str], settings: OpenAISettings, store: CallStore) -> None:
    """Gives planned batches that the server has their ids, and forgets those that it has not got by now."""
    started, announced = time.monotonic(), False
    limit_s = settings.timeout_s + CONFIRMED_WITHIN_S
    while planned := [batch for batch in store.open_batches(keys) if batch.startswith(PLANNED)]:
        made = endpoint.ids_by_name()
        for batch in planned:
            age_s = store.age_s(batch)
            if age_s < 0:  # the clock was set back
                age_s = time.monotonic() - started
            if batch in made:
                store.rename_batch(batch, made[batch])
            elif not endpoint.may_have_made(batch):
                if settings.lost_calls == "fail":
                    raise ValueError(
                        "these calls may be in a batch that was submitted with another key, organisation or project than the "
                        "environment has now, and with these it is not listed; run the same command with those, or give it "
                        "up with judge.lost_calls=ask_again, which may pay for its calls once more"
                    )
                store.close_batch(batch, LOST)
            elif age_s >= limit_s:
                store.forget_batch(batch)
            else:
                if not announced:
                    announced = True
                    print(
                        f"judge: a batch was submitted {age_s:.0f} s ago and is not listed yet; it is taken as never made if it "
                        f"is not after {limit_s:.0f} s",
                        file=sys.stderr,
                    )
                time.sleep(settings.poll_s)


def _submit(
    endpoint: BatchEndpoint,
    requests: Sequence[JudgeRequest],
    settings: OpenAISettings,
    store: CallStore,
    budget: Budget,
) -> set[str]:
    """Submits as many of the requests as one batch takes. Returns their keys."""
    lines: dict[str, bytes] = {}
    size = 0
    for request in requests[: settings.requests_per_batch]:
        call = {"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": request.body}
        line = json.dumps(call).encode() + b"\n"
        size += len(line)
        if lines and size > BYTES_PER_BATCH:
            break
        budget.reserve(len(lines), request)
        lines[request.key] = line
    file_id, name = endpoint.upload(b"".join(lines.values())), endpoint.new_name()
    store.note_batch(name, lines)
    try:
        batch_id = endpoint.create(file_id, name)
    except ValueError:
        store.forget_batch(name)
        raise
    store.rename_batch(name, batch_id)
    return {*lines}


@dataclass
class _Collected:
    """What became of a batch's requests that got no answer.

    failures: by key, what the server says of those that failed. left: keys of those that it did not come to, or of which it
    says nothing; `why`. has_failed: whether the batch failed as a whole.
    """

    failures: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    why: str = ""
    has_failed: bool = False


def _collect(endpoint: BatchEndpoint, batch_id: str, settings: OpenAISettings, store: CallStore) -> _Collected:
    """Waits for a batch and keeps its answers."""
    collected = _Collected()
    read: set[str] = set()
    broken = 0
    try:
        state = _when_ended(endpoint, batch_id, settings)
        # An expired or cancelled batch still hands over, and bills, what it finished.
        for file_id in state.files:
            for number, line in enumerate(_lines(endpoint, file_id, settings), start=1):
                record = _record(line)
                if record is None:
                    broken += 1
                    _tell_broken(line, f"line {number} of the file {file_id} of batch {batch_id}", settings)
                else:
                    read.add(record["custom_id"])
                    _keep(record, batch_id, settings, store, collected)
    except Gone as error:
        collected.why = f"batch {batch_id}, or a file of its answers, is not on the server ({error})"
        if settings.lost_calls == "fail":
            raise ValueError(
                f"{collected.why}: it was deleted, or is of another account than the key in OPENAI_API_KEY. "
                "judge.lost_calls=ask_again gives it up and pays once more for the calls of which nothing is known"
            ) from None
        print(f"judge: {collected.why}; its calls are asked again", file=sys.stderr)
        collected.left += store.close_batch(batch_id, LOST)
        return collected
    ended = f"batch {batch_id} ended as {state.status} {state.errors}".rstrip()
    if state.status != "completed":
        print(f"judge: {ended}", file=sys.stderr)
    collected.has_failed = state.status == "failed"
    for key in collected.left:
        store.end_call_of_batch(batch_id, key, state.status)
    missing = store.calls_of_batch(batch_id)
    lost = bool(broken) or state.status == "completed" or (state.done is not None and len(read) + broken < state.done)
    if missing and lost and not broken:
        ended += f", and its files have no line for {len(missing)} of its requests"
        if settings.lost_calls == "fail":
            raise ValueError(
                f"{ended}; the lines that they have are kept. The same command fetches the files again; if it stays so, "
                "judge.lost_calls=ask_again gives these requests up and pays for them once more"
            )
        print(f"judge: {ended}; they are asked again", file=sys.stderr)
    collected.why = f"batch {batch_id}: its line of the answers is broken" if broken else ended
    collected.left += store.close_batch(batch_id, LOST if lost else state.status)
    return collected


def _when_ended(endpoint: BatchEndpoint, batch_id: str, settings: OpenAISettings) -> BatchState:
    """The state of a batch after it has ended. Raises Gone."""
    unknown = ""
    with tqdm(desc=f"judge, {batch_id}", unit="call", disable=None) as progress:
        while True:
            state = endpoint.state(batch_id)
            progress.total = state.total
            progress.update((state.done or 0) - progress.n)
            if state.has_ended:
                return state
            if state.status not in (*UNDER_WAY, unknown):
                unknown = state.status
                print(f"judge: batch {batch_id} is {unknown!r}, which is no known status; waiting", file=sys.stderr)
            time.sleep(settings.poll_s)


def _lines(endpoint: BatchEndpoint, file_id: str, settings: OpenAISettings) -> list[str]:
    """The lines of a batch's file. It is fetched again for a while if none is readable: a page of a gateway in its place, or an
    empty body, must not pass for a file without answers."""
    for number in range(settings.max_attempts):
        if number:
            time.sleep(settings.poll_s)
        lines = [line for line in endpoint.text(file_id).split("\n") if line.strip()]
        if any(_record(line) is not None for line in lines):
            break
    return lines


def _record(line: str) -> dict[str, Any] | None:
    """A line of a batch's file; None if it is broken."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("custom_id"), str) else None


def _keep(
    record: dict[str, Any], batch_id: str, settings: OpenAISettings, store: CallStore, collected: _Collected
) -> None:
    """Keeps the answer in a line of a batch's files, or notes why there is none."""
    key, response, error = record["custom_id"], record.get("response"), record.get("error")
    if not response and isinstance(error, dict) and error.get("code") in _NOT_EXECUTED:
        collected.left.append(key)
        return
    if not isinstance(response, dict):
        response = {}
    status = response.get("status_code")
    if error or status != 200:
        store.end_call_of_batch(batch_id, key, str(status))
        said = json.dumps(error or response.get("body"))
        collected.failures[key] = f"batch {batch_id}: HTTP {status}: {said:.300}"
        return
    body = completion_body(json.dumps(response.get("body")))
    if body is None:
        collected.failures[key] = f"batch {batch_id}: the answer is no chat completion"
    else:
        store.keep(stored_answer(key, body, settings.prices, latency_ms=None))
    store.end_call_of_batch(batch_id, key, "200")


def _tell_broken(line: str, where: str, settings: OpenAISettings) -> None:
    """Raises ValueError for a broken line if `lost_calls` says not to ask again; what stands before it has been kept."""
    broken = f"{where} is broken or cut off ({line[:60]!r})"
    if settings.lost_calls == "fail":
        raise ValueError(
            f"{broken}; the lines before it are kept. The same command fetches the file again; if it stays so, "
            "judge.lost_calls=ask_again gives such lines up and pays for their questions once more"
        )
    print(f"judge: {broken}; its question is asked again", file=sys.stderr)
