"""OpenAI's batch endpoint: all requests in one file, answered within 24 hours at half the price.

A batch outlives the process that submitted it. Before it is made, it is noted in the store under a name of our own, which
it carries as metadata. If its id is lost on the way, it is found on the server by that name, and not submitted twice.
"""

import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import openai
from tqdm import tqdm

from gist_core.scoring.judge.answer import REDIRECTS, completion_body, is_passing, redirected, stored_answer
from gist_core.scoring.judge.budget import Budget
from gist_core.scoring.judge.request import JudgeRequest
from gist_core.scoring.judge.settings import OpenAISettings, without_key
from gist_core.scoring.judge.store import LOST, CallStore

REQUESTS_PER_BATCH = 50_000  # OpenAI's limit
_METADATA_KEY = "gist_submission"
_PLANNED = "planned "  # our own names begin so: the id in the store of a batch that is not known to have been made
_UNDER_WAY = ("validating", "in_progress", "finalizing", "cancelling")


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
        ValueError: a budget would be exceeded (that batch is not submitted then), the server refuses the batch, or the
            file of its answers is broken.
        ConnectionError: the server does not answer now.
    """
    where = settings.base_url or "OpenAI"
    kept = "what has been submitted is kept, the same command goes on with it"
    try:
        with openai.OpenAI(
            api_key=api_key,
            base_url=settings.endpoint,
            timeout=settings.timeout_s,
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        ) as client:
            return _answer_all(client, requests, settings, store, budget)
    except openai.APIStatusError as error:
        said = f"HTTP {error.status_code}: {without_key(error.message, api_key):.300}"
        if error.status_code in REDIRECTS:
            raise ValueError(f"{where} {redirected(error)}") from None
        if is_passing(error):
            raise ConnectionError(f"{where} does not answer now ({said}); {kept}") from None
        raise ValueError(
            f"{where} refuses the batch ({said}); {kept}. A server without batches needs judge.mode=live"
        ) from None
    except openai.APIConnectionError as error:
        raise ConnectionError(f"{where} cannot be reached ({error}); {kept}") from None


def _answer_all(
    client: openai.OpenAI,
    requests: Sequence[JudgeRequest],
    settings: OpenAISettings,
    store: CallStore,
    budget: Callable[[], Budget],
) -> dict[str, str]:
    failures: dict[str, str] = {}
    asked: set[str] = set()  # each is asked once in this run, whatever becomes of its batch
    keys = [request.key for request in requests]
    while True:
        with store.submitting():
            _find_planned(client, keys, store)
        for batch in store.open_batches(keys):
            failed, left = _collect(client, batch, settings, store)
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
            part = remaining[:REQUESTS_PER_BATCH]
            _submit(client, part, store, budget())
            asked |= {request.key for request in part}


def _find_planned(client: openai.OpenAI, keys: Sequence[str], store: CallStore) -> None:
    """Gives planned batches that the server has their ids, and forgets the others."""
    planned = [batch for batch in store.open_batches(keys) if batch.startswith(_PLANNED)]
    if planned:
        made = {(batch.metadata or {}).get(_METADATA_KEY): batch.id for batch in client.batches.list()}
        for batch in planned:
            if batch in made:
                store.rename_batch(batch, made[batch])
            else:
                store.forget_batch(batch)


def _submit(client: openai.OpenAI, requests: Sequence[JudgeRequest], store: CallStore, budget: Budget) -> None:
    keys = [request.key for request in requests]
    name = _PLANNED + uuid.uuid4().hex
    for number, request in enumerate(requests):
        budget.reserve(number, request)
    lines = [
        json.dumps({"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": request.body})
        for request in requests
    ]
    file = client.files.create(file=("judge.jsonl", "\n".join(lines).encode()), purpose="batch")
    store.note_batch(name, keys)
    # If the client tried again, the batch could be made and billed twice.
    batch = client.with_options(max_retries=0).batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={_METADATA_KEY: name},
    )
    store.rename_batch(name, batch.id)


def _collect(
    client: openai.OpenAI, batch_id: str, settings: OpenAISettings, store: CallStore
) -> tuple[dict[str, str], dict[str, str]]:
    """Waits for a batch and keeps its answers. Returns what went wrong, by key: for the requests whose failure the server
    states, and for those of which it says nothing."""
    with tqdm(desc=f"judge, {batch_id}", unit="call", disable=None) as progress:
        while True:
            batch = client.batches.retrieve(batch_id)
            if batch.request_counts is not None:
                progress.total = batch.request_counts.total
                progress.update(batch.request_counts.completed + batch.request_counts.failed - progress.n)
            if batch.status not in _UNDER_WAY:
                break
            time.sleep(settings.poll_s)
    failures: dict[str, str] = {}
    broken = False
    # An expired or cancelled batch still hands over, and bills, what it finished.
    for file_id in (batch.output_file_id, batch.error_file_id):
        if file_id is None:
            continue
        for record in _records(client.files.content(file_id).text, f"{file_id} of batch {batch_id}", settings):
            if record is None:
                broken = True
            elif error := _keep(record, batch_id, settings, store):
                failures[record["custom_id"]] = f"batch {batch_id}: {error}"
    said = "; ".join(error.message or "" for error in (batch.errors.data or [])) if batch.errors else ""
    ended = f"batch {batch_id} ended as {batch.status} {said}".rstrip()
    if batch.status != "completed":
        print(f"judge: {ended}", file=sys.stderr)
    why = f"batch {batch_id}: its line of the answers is broken" if broken else ended
    return failures, dict.fromkeys(store.close_batch(batch_id, LOST if broken else batch.status), why)


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
