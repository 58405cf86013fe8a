"""One call per request, a bounded number at once, each answer kept as it arrives.

Retries are made here and not by the client, because every attempt is counted against the budget and noted in the store.
A `Retry-After` holds up all workers, because the server's limit is for the key, not for one call. SIGTERM and Ctrl-C let
the calls under way finish, which takes at most `timeout_s`, so a stop costs nothing. After SIGKILL those calls, at most
`concurrency`, are recorded as lost.
"""

import asyncio
import hashlib
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import openai
from tqdm import tqdm

from gist_core.scoring.judge.answer import (
    REDIRECTS,
    completion_body,
    is_passing,
    redirected,
    refused_account,
    stored_answer,
)
from gist_core.scoring.judge.budget import Budget
from gist_core.scoring.judge.request import JudgeRequest
from gist_core.scoring.judge.settings import OpenAISettings, without_key
from gist_core.scoring.judge.store import BILLED, LOST, LOST_ERROR, CallStore

_FIRST_WAIT_S = 1.0
_LONGEST_BACKOFF_S = 60.0
_POLL_S = 0.05  # between checks whether a call under way has left room in the budget or been answered
_HOPELESS_AFTER = 5  # after this many calls without an answer, the rest are not made


class _NotACompletion(Exception):
    """The server answered 200 with something that is not a chat completion."""


def answer_live(
    requests: Sequence[JudgeRequest],
    settings: OpenAISettings,
    store: CallStore,
    budget: Budget,
    *,
    api_key: str,
    answered_before: bool,
) -> dict[str, str]:
    """Asks for every request and keeps the answers in the store.

    answered_before: whether this judge has ever answered one of these requests. If so, a refusal concerns a single
    request; if not, the first few refusals mean that it would refuse them all.

    Returns:
        What went wrong, by key, for the requests that got no answer in `max_attempts`. They are asked again next time.

    Raises:
        ValueError, ConnectionError: see `judge_with_openai`.
    """
    return asyncio.run(_Live(requests, settings, store, budget, api_key, answered_before).run())


class _Live:
    def __init__(
        self,
        requests: Sequence[JudgeRequest],
        settings: OpenAISettings,
        store: CallStore,
        budget: Budget,
        api_key: str,
        answered_before: bool,
    ) -> None:
        self.queue = deque(requests)
        self.total = len(requests)
        self.settings, self.store, self.budget, self.api_key = settings, store, budget, api_key
        self.answered_before = answered_before
        self.failures: dict[str, str] = {}
        self.answered = 0
        self.unreached = 0  # calls in a row to which the server said nothing
        self.stop: str | None = None
        self.is_down = False
        self.stopping = asyncio.Event()
        self.not_before = 0.0  # monotonic time until which the server wants no call

    async def run(self) -> dict[str, str]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Only the main thread may do this; in another one a signal ends the process as usual.
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self._halt, f"stopped by {number.name}")
        settings = self.settings
        unusable: Exception | None = None
        async with openai.AsyncOpenAI(
            api_key=self.api_key,
            base_url=settings.endpoint,
            timeout=settings.timeout_s,
            max_retries=0,
            # The verdicts name this server as their judge, so no other may answer.
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        ) as client:
            with tqdm(total=self.total, desc="judge", unit="call", disable=None) as progress:
                try:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(min(settings.concurrency, self.total)):
                            group.create_task(self._work(client, progress))
                except* ValueError as errors:
                    unusable = errors.exceptions[0]  # from the store (disk or damage); one worker's error is enough
        if unusable is not None:
            raise unusable
        if self.stop is not None:
            left = self.total - self.answered  # those that failed are asked again by the next run
            kind = ConnectionError if self.is_down else ValueError
            raise kind(f"{self.stop} ({self.answered} calls answered, {left} to go)")
        return self.failures

    async def _work(self, client: openai.AsyncOpenAI, progress: "tqdm[Any]") -> None:
        while self.queue and self.stop is None:
            await self._ask(client, self.queue.popleft())
            progress.update()

    async def _ask(self, client: openai.AsyncOpenAI, request: JudgeRequest) -> None:
        error, reached, passing = "no attempt", True, False
        for number in range(self.settings.max_attempts):
            while self.stop is None and (held := self.not_before - time.monotonic()) > 0:
                await self._wait(held)  # meanwhile another call may be told to wait for longer
            while self.budget.must_wait(request) and self.stop is None:
                await self._wait(_POLL_S)
            if self.stop is not None:
                return None
            attempt = await self._begin(request.key)
            if attempt is None:
                return None
            try:
                self.budget.reserve(attempt, request)
            except ValueError as limit:
                self.store.forget_attempt(attempt)
                return self._halt(str(limit))
            cost, reached, passing, outcome = None, True, True, LOST
            try:
                cost = await self._call(client, request)
                outcome = "200"
                self.answered += 1
                self.unreached = 0
                return None
            except openai.APIStatusError as failed:
                outcome = str(failed.status_code)
                error = f"HTTP {failed.status_code}: {without_key(failed.message, self.api_key):.300}"
                if self._give_up(failed, request.key, error):
                    return None
                wait = _retry_after_s(failed)
                if wait is not None:
                    self._hold_all(wait)
            except (openai.APITimeoutError, TimeoutError):
                outcome, reached = "time-out", False
                error = f"no answer within {self.settings.timeout_s:g} s"
            except openai.APIConnectionError as failed:
                outcome = "not connected" if _was_never_connected(failed) else "connection"
                reached = False
                error = f"{failed} {failed.__cause__ or ''}".strip()
            except _NotACompletion as failed:
                outcome, error, passing = "200", str(failed), False
            finally:
                self.budget.settle(attempt, cost, billed=outcome in BILLED)
                self.store.end_attempt(attempt, outcome)
            # After a `Retry-After` too: a value of 0 would otherwise use up all attempts at once.
            if number + 1 < self.settings.max_attempts:
                await self._wait(_backoff_s(request.key, number))
        self._fail(
            request.key, f"{error} (after {self.settings.max_attempts} attempts)", reached=reached, passing=passing
        )
        return None

    async def _begin(self, key: str) -> int | None:
        """Notes the call as sent. None if it must not be sent: another process has sent the same one, or the run stops."""
        while self.stop is None:
            attempt = self.store.begin_attempt(key)
            if attempt is not None:
                return attempt
            if self.store.answer(key) is not None:
                self.answered += 1
                return None
            await self._wait(_POLL_S)
            self.store.note_lost()
            if self.settings.lost_calls == "fail" and self.store.is_lost(key):
                self.failures[key] = LOST_ERROR
                return None
        return None

    async def _call(self, client: openai.AsyncOpenAI, request: JudgeRequest) -> float | None:
        begun = time.perf_counter()
        # The raw response, because servers send things that no model class can hold.
        # The client's own time-out is for each read, so a server that sends a byte now and then would never reach it.
        async with asyncio.timeout(self.settings.timeout_s):
            response = await client.chat.completions.with_raw_response.create(
                **request.body, extra_headers={"Idempotency-Key": request.key}
            )
        latency_ms = 1000 * (time.perf_counter() - begun)
        text = response.content.decode(errors="replace")  # JSON is UTF-8 (RFC 8259), whatever a header says
        body = completion_body(text)
        if body is None:
            shown = without_key(text, self.api_key)[:200]
            raise _NotACompletion(f"the server answered 200 with something that is no chat completion: {shown!r}")
        answer = stored_answer(request.key, body, self.settings.prices, latency_ms=round(latency_ms, 1))
        self.store.keep(answer)
        return answer.cost_usd

    def _give_up(self, failed: openai.APIStatusError, key: str, error: str) -> bool:
        """Whether another attempt is pointless, for this request or for all."""
        where = self.settings.base_url or "OpenAI"
        if refusal := refused_account(failed, where, error):
            self._halt(refusal)
        elif failed.status_code == 404:
            self._halt(f"{where} does not know the model {self.settings.model!r} or the address is wrong: {error}")
        elif failed.status_code in REDIRECTS:
            self._halt(f"{where} {redirected(failed)}")
        elif is_passing(failed):
            return False
        else:
            self._fail(key, error, reached=True, passing=False)
        return True

    def _fail(self, key: str, error: str, *, reached: bool, passing: bool) -> None:
        """Notes a call that ended without an answer, and stops the run if the rest would end so too.

        reached: whether the server said anything to it. A server that has answered may still go down later.
        passing: whether it may answer the same call later.
        """
        self.failures[key] = error
        self.unreached = 0 if reached else self.unreached + 1
        where = self.settings.base_url or "OpenAI"
        if self.unreached >= _HOPELESS_AFTER:
            self.is_down |= self.stop is None
            self._halt(
                f"{where} has said nothing to {self.unreached} calls in a row, so it is taken to be down: {error}; "
                f"start the server that serves {self.settings.model!r}, correct judge.base_url or raise "
                f"judge.timeout_s = {self.settings.timeout_s:g}, and run the same command again"
            )
        elif not self.answered and not self.answered_before and len(self.failures) >= _HOPELESS_AFTER:
            self.is_down |= passing and self.stop is None
            remedy = (
                "run the same command again later; if nothing changes, look at judge.base_url, and take judge.protocol=paper "
                "for a server without JSON schemas"
                if passing
                else "a server without JSON schemas needs judge.protocol=paper"
            )
            self._halt(
                f"the first {len(self.failures)} calls were all refused by {where} or failed there, so the rest would "
                f"be too; {remedy}: {error}"
            )

    def _hold_all(self, wait_s: float) -> None:
        if wait_s > self.settings.max_wait_s:
            self.is_down |= self.stop is None
            self._halt(
                f"the server asks to wait {wait_s:g} s, longer than judge.max_wait_s = {self.settings.max_wait_s:g}; "
                "run the same command again later"
            )
        self.not_before = max(self.not_before, time.monotonic() + wait_s)

    def _halt(self, why: str) -> None:
        """Lets no further call begin; those under way finish."""
        self.stop = self.stop or why
        self.stopping.set()

    async def _wait(self, seconds: float) -> None:
        """Sleeps, but only until the run is to stop."""
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), seconds)


def _was_never_connected(failed: openai.APIConnectionError) -> bool:
    """Whether nothing was sent, so that nothing was billed: a closed port, an unknown host, a refused certificate.

    Told by the class's name: openai's HTTP client has been httpx and is httpx2, whose classes are not related.
    """
    return any(kind.__name__ == "ConnectError" for kind in type(failed.__cause__).__mro__)


def _backoff_s(key: str, number: int) -> float:
    """1, 2, 4, ... s, spread by the request's key over the upper half, so that calls do not come back in step."""
    spread = hashlib.sha256(f"{key} {number}".encode()).digest()[0] / 255
    return min(_FIRST_WAIT_S * 2**number, _LONGEST_BACKOFF_S) * (0.5 + 0.5 * spread)


def _retry_after_s(failed: openai.APIStatusError) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `Retry-After` as seconds or as a date (RFC 9110)."""
    headers = failed.response.headers
    with suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    value = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(ValueError, OverflowError):
        date = parsedate_to_datetime(value)  # has no zone if the header says -0000, which is UTC too
        return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
    return None
