"""Judging through OpenAI's batch endpoint: all requests in one file, answered within 24 hours at half the price.

A batch outlives the process that submitted it. Before it is made, it is noted in the store under a name of our own, which
it carries as metadata. If its id is lost on the way, it is found on the server by that name, and not submitted twice.
"""

import hashlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from gist_core.scoring.judge.answer import completion_body, stored_answer
from gist_core.scoring.judge.batch_endpoint import BatchEndpoint, BatchState, Gone
from gist_core.scoring.judge.budget import Budget
from gist_core.scoring.judge.request import JudgeRequest
from gist_core.scoring.judge.settings import OpenAISettings
from gist_core.scoring.judge.store import LOST, CallStore

BYTES_PER_BATCH = 190_000_000  # OpenAI takes files of up to 200 MB
CONFIRMED_WITHIN_S = 300.0  # a batch that is not listed by then was never made
_PLANNED = "planned "  # our own names begin so: the id in the store of a batch that is not known to have been made
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
            return _answer_all(endpoint, requests, settings, store, budget, api_key)
    except ConnectionError as error:
        raise ConnectionError(f"{error}; what has been submitted is kept, the same command goes on with it") from None


def _answer_all(
    endpoint: BatchEndpoint,
    requests: Sequence[JudgeRequest],
    settings: OpenAISettings,
    store: CallStore,
    budget: Callable[[], Budget],
    api_key: str,
) -> dict[str, str]:
    failures: dict[str, str] = {}
    asked: set[str] = set()  # each is asked once in this run, whatever becomes of its batch
    keys = [request.key for request in requests]
    while True:
        with store.submitting():
            _find_planned(endpoint, keys, settings, store, api_key)
        for batch in store.open_batches(keys):
            failed, left = _collect(endpoint, batch, settings, store)
            failures |= failed | {key: why for key, why in left.items() if key in asked}
        with store.submitting():
            if store.open_batches(keys):
                continue  # another process has just submitted some of them
            remaining = [
                request
                for request in requests
                if store.answer(request.key) is None and request.key not in failures and request.key not in asked
            ]
            if not remaining:
                return failures
            asked |= _submit(endpoint, remaining, settings, store, budget(), api_key)


def _find_planned(
    endpoint: BatchEndpoint, keys: Sequence[str], settings: OpenAISettings, store: CallStore, api_key: str
) -> None:
    """Gives planned batches that the server has their ids, and forgets those that it has not got by now."""
    announced = False
    while planned := [batch for batch in store.open_batches(keys) if batch.startswith(_PLANNED)]:
        made = endpoint.ids_by_name()
        for batch in planned:
            if batch in made:
                store.rename_batch(batch, made[batch])
            elif not _is_name_of(batch, api_key):
                if settings.lost_calls == "fail":
                    raise ValueError(
                        "these calls may be in a batch that was submitted with another key than OPENAI_API_KEY has now, and this "
                        "one's account does not list it; run the same command with that key, or give the batch up with "
                        "judge.lost_calls=ask_again, which may pay for its calls once more"
                    )
                store.close_batch(batch, LOST)
            elif not 0 <= store.age_s(batch) < CONFIRMED_WITHIN_S:  # below 0 if the clock was set back
                store.forget_batch(batch)
            else:
                if not announced:
                    announced = True
                    print(
                        f"judge: a batch was submitted {store.age_s(batch):.0f} s ago and is not listed yet; if it is not by "
                        f"{CONFIRMED_WITHIN_S:.0f} s, it was never made",
                        file=sys.stderr,
                    )
                time.sleep(settings.poll_s)


def _new_name(api_key: str) -> str:
    salt = uuid.uuid4().hex
    return f"{_PLANNED}{salt} {_mark(salt, api_key)}"


def _is_name_of(name: str, api_key: str) -> bool:
    """Whether the batch of this name was submitted with the key. Names without a mark are of an older version."""
    salt, _, mark = name.removeprefix(_PLANNED).partition(" ")
    return not mark or mark == _mark(salt, api_key)


def _mark(salt: str, api_key: str) -> str:
    return hashlib.sha256(f"{salt} {api_key}".encode()).hexdigest()[:8]


def _submit(
    endpoint: BatchEndpoint,
    requests: Sequence[JudgeRequest],
    settings: OpenAISettings,
    store: CallStore,
    budget: Budget,
    api_key: str,
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
    file_id, name = endpoint.upload(b"".join(lines.values())), _new_name(api_key)
    store.note_batch(name, lines)
    try:
        batch_id = endpoint.create(file_id, name)
    except ValueError:
        store.forget_batch(name)
        raise
    store.rename_batch(name, batch_id)
    return {*lines}


def _collect(
    endpoint: BatchEndpoint, batch_id: str, settings: OpenAISettings, store: CallStore
) -> tuple[dict[str, str], dict[str, str]]:
    """Waits for a batch and keeps its answers. Returns what went wrong, by key: for the requests whose failure the server
    states, and for those that it did not come to or of which it says nothing."""
    try:
        state = _when_ended(endpoint, batch_id, settings)
        # An expired or cancelled batch still hands over, and bills, what it finished.
        files = {file_id: endpoint.text(file_id) for file_id in state.files}
    except Gone as error:
        gone = f"batch {batch_id}, or a file of its answers, is not on the server ({error})"
        if settings.lost_calls == "fail":
            raise ValueError(
                f"{gone}: it was deleted, or is of another account than the key in OPENAI_API_KEY. judge.lost_calls=ask_again "
                "gives it up and pays for its calls once more"
            ) from None
        print(f"judge: {gone}; its calls are asked again", file=sys.stderr)
        return {}, dict.fromkeys(store.close_batch(batch_id, LOST), gone)
    failures: dict[str, str] = {}
    not_executed: list[str] = []
    read: set[str] = set()
    broken = 0
    for file_id, text in files.items():
        for record in _records(text, f"{file_id} of batch {batch_id}", settings):
            if record is None:
                broken += 1
                continue
            read.add(record["custom_id"])
            if not record.get("response") and _code(record.get("error")) in _NOT_EXECUTED:
                not_executed.append(record["custom_id"])
            elif wrong := _keep(record, batch_id, settings, store):
                failures[record["custom_id"]] = f"batch {batch_id}: {wrong}"
    ended = f"batch {batch_id} ended as {state.status} {state.errors}".rstrip()
    if state.status != "completed":
        print(f"judge: {ended}", file=sys.stderr)
    for key in not_executed:
        store.end_call_of_batch(batch_id, key, state.status)
    missing = store.calls_of_batch(batch_id)
    lost = broken or state.status == "completed" or (state.done is not None and len(read) + broken < state.done)
    if missing and lost and not broken:
        ended += f", and its files have no line for {len(missing)} of its requests"
        if settings.lost_calls == "fail":
            raise ValueError(
                f"{ended}; the lines that they have are kept. The same command fetches the files again; if it stays so, "
                "judge.lost_calls=ask_again gives these requests up and pays for them once more"
            )
        print(f"judge: {ended}; they are asked again", file=sys.stderr)
    why = f"batch {batch_id}: its line of the answers is broken" if broken else ended
    return failures, dict.fromkeys([*not_executed, *store.close_batch(batch_id, LOST if lost else state.status)], why)


def _when_ended(endpoint: BatchEndpoint, batch_id: str, settings: OpenAISettings) -> BatchState:
    """The state of a batch after it has ended. Raises Gone."""
    with tqdm(desc=f"judge, {batch_id}", unit="call", disable=None) as progress:
        while True:
            state = endpoint.state(batch_id)
            progress.total = state.total
            progress.update((state.done or 0) - progress.n)
            if state.has_ended:
                return state
            time.sleep(settings.poll_s)


def _keep(record: dict[str, Any], batch_id: str, settings: OpenAISettings, store: CallStore) -> str | None:
    """Keeps one line of a batch's files. Returns what is wrong with it, or None."""
    key, response = record["custom_id"], record.get("response")
    if not isinstance(response, dict):
        response = {}
    if record.get("error") or response.get("status_code") != 200:
        store.end_call_of_batch(batch_id, key, str(response.get("status_code")))
        return f"HTTP {response.get('status_code')}: {json.dumps(record.get('error') or response.get('body')):.300}"
    body = completion_body(json.dumps(response.get("body")))
    if body is not None:
        store.keep(stored_answer(key, body, settings.prices, latency_ms=None))
    store.end_call_of_batch(batch_id, key, "200")
    return None if body is not None else "the answer is no chat completion"


def _code(error: object) -> object:
    return error.get("code") if isinstance(error, dict) else None


def _records(text: str, where: str, settings: OpenAISettings) -> Iterator[dict[str, Any] | None]:
    """The lines of a batch's file, None for a broken one. They come one by one, so the whole lines before a broken one
    can be kept.

    Raises:
        ValueError: a line is broken, and `lost_calls` says not to ask again.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and isinstance(record.get("custom_id"), str):
            yield record
            continue
        broken = f"line {number} of the file {where} is broken or cut off ({line[:60]!r})"
        if settings.lost_calls == "fail":
            raise ValueError(
                f"{broken}; the lines before it are kept. The same command fetches the file again; if it stays so, "
                "judge.lost_calls=ask_again gives such lines up and pays for their questions once more"
            )
        print(f"judge: {broken}; its question is asked again", file=sys.stderr)
        yield None
