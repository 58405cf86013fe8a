"""Judging by a language model behind an endpoint that speaks OpenAI's protocol: which calls are needed, what the
answers in the store say, and what the missing ones would cost. The calls themselves: live.py and batch.py."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gist_core.scoring.judge.budget import Budget
from gist_core.scoring.judge.pair import Order, Pair, Protocol, orders
from gist_core.scoring.judge.prices import estimated_tokens
from gist_core.scoring.judge.reply import parse_completion
from gist_core.scoring.judge.request import JudgeRequest, make_request, prompt
from gist_core.scoring.judge.settings import OpenAISettings, usable_key
from gist_core.scoring.judge.store import LOST_ERROR, CallStore
from gist_core.scoring.judge.verdict import Call, Judge, Verdict, identical_verdict, verdict_of

EXPECTED_OUTPUT_TOKENS = 80  # one or two sentences and the choice


@dataclass(frozen=True)
class Estimate:
    """What judging would take. input_tokens, output_tokens and cost_usd are estimates for the calls still to be made;
    spent_usd is what the answers in the store are known to have cost.

    calls_lost: not answered, and not to be asked again. calls_under_way: in a batch that has not been collected.
    """

    rows: int
    identical_rows: int
    calls: int
    calls_in_store: int
    calls_lost: int
    calls_under_way: int
    calls_to_make: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    spent_usd: float


def judge_identity(settings: OpenAISettings) -> Judge:
    """The judge as its verdicts state it."""
    where = settings.base_url or "OpenAI"
    return Judge("openai", settings.model, True, f"Language model {settings.model} at {where}", prompt()[1])


def judge_with_openai(
    pairs: Mapping[str, Sequence[Pair]],
    protocol: Protocol,
    seed: int,
    settings: OpenAISettings,
    store: CallStore,
    *,
    api_key: str | None,
) -> dict[str, list[Verdict]]:
    """Verdicts by split. Makes the calls that the store has no answers to; each answer is kept as it arrives.

    Raises:
        ValueError: no key, a wrong key, model or address, a budget reached, or calls in a batch that has not been
            collected. Also if no call at all was answered: verdicts that say nothing would be cached as a result.
        ConnectionError: the server is down, or asks to wait too long.

    What has arrived is kept, and the same command goes on from there.
    """
    requests = all_requests(pairs, protocol, seed, settings)
    missing, lost = _unanswered(requests, settings, store)
    failures = {request.key: LOST_ERROR for request in lost}
    if lost:
        print(f"judge: {len(lost)} call(s) fail: {LOST_ERROR}", file=sys.stderr)
    if missing:
        api_key = usable_key(api_key or "")
        if not api_key:
            raise ValueError(
                f"{len(missing)} judge calls are to be made and OPENAI_API_KEY is not set; set it (a local server "
                "takes any value), or judge without a language model with judge=reference_rule"
            )
        budget = partial(_budget, requests, settings, store)
        if settings.mode == "batch":
            from gist_core.scoring.judge.batch import answer_in_batch

            failures |= answer_in_batch(missing, settings, store, budget, api_key=api_key)
        else:
            from gist_core.scoring.judge.live import answer_live

            if batches := store.open_batches(request.key for request in missing):
                raise ValueError(
                    f"some of these calls are in the batch {', '.join(batches)}, which has not been collected, and live "
                    "calls would be paid for as well; collect it with judge.mode=batch (a cancelled one hands over "
                    "what it finished)"
                )

            answered_before = len(missing) + len(lost) < len(requests)
            failures |= answer_live(
                missing, settings, store, budget(), api_key=api_key, answered_before=answered_before
            )
    _check_answered(requests, settings, store, failures)
    return {
        split: [_verdict(pair, protocol, seed, settings, store, failures) for pair in rows]
        for split, rows in pairs.items()
    }


def _budget(requests: Sequence[JudgeRequest], settings: OpenAISettings, store: CallStore) -> Budget:
    """The limits, with all that has been spent on these requests so far."""
    calls, dollars = store.spent(request.key for request in requests)
    budget = Budget(
        settings.budget_calls, settings.budget_usd, settings.prices, settings.max_output_tokens, calls, dollars
    )
    for request in requests:
        budget.charge_unpriced(request, store.times_unpriced(request.key))
    return budget


def _check_answered(
    requests: Sequence[JudgeRequest], settings: OpenAISettings, store: CallStore, failures: Mapping[str, str]
) -> None:
    """Raises ValueError if every call failed. If only some failed, prints how to ask for them again."""
    errors = [failures.get(request.key, "no answer") for request in requests if store.answer(request.key) is None]
    if errors and len(errors) == len(requests):
        raise ValueError(
            f"none of the {len(requests)} judge calls to {settings.base_url or 'OpenAI'} for the model "
            f"{settings.model!r} was answered, so there is no verdict; the first: {errors[0]}. Check that the "
            "server runs and that judge.base_url and judge.model are right, and run the same command again"
        )
    if failed := [error for error in errors if error != LOST_ERROR]:
        print(
            f"judge: {len(failed)} of {len(requests)} calls have no answer, the first: {failed[0]}; "
            "`dvc repro --single-item --force judge@RUN` asks for them again",
            file=sys.stderr,
        )


def all_requests(
    pairs: Mapping[str, Sequence[Pair]], protocol: Protocol, seed: int, settings: OpenAISettings
) -> list[JudgeRequest]:
    """The requests of all pairs whose answers differ, each once: two rows with the same texts share an answer."""
    requests = (
        request for rows in pairs.values() for pair in rows for _, request in _asked(pair, protocol, seed, settings)
    )
    return list({request.key: request for request in requests}.values())


def _unanswered(
    requests: Sequence[JudgeRequest], settings: OpenAISettings, store: CallStore
) -> tuple[list[JudgeRequest], list[JudgeRequest]]:
    """The requests without an answer: those to ask, and those that were lost and are not to be asked again."""
    store.note_lost()
    missing = [request for request in requests if store.answer(request.key) is None]
    if settings.lost_calls == "ask_again":
        return missing, []
    lost = [request for request in missing if store.is_lost(request.key)]
    gone = {request.key for request in lost}
    return [request for request in missing if request.key not in gone], lost


def estimate(
    pairs: Mapping[str, Sequence[Pair]], protocol: Protocol, seed: int, settings: OpenAISettings, store: CallStore
) -> Estimate:
    """What judging would take, without making a call."""
    requests = all_requests(pairs, protocol, seed, settings)
    unanswered, lost = _unanswered(requests, settings, store)
    missing = [request for request in unanswered if not store.open_batches([request.key])]
    rows = [pair for split in pairs.values() for pair in split]
    input_tokens = sum(estimated_tokens(request.prompt_text) for request in missing)
    output_tokens = EXPECTED_OUTPUT_TOKENS * len(missing)
    return Estimate(
        rows=len(rows),
        identical_rows=sum(pair.identical for pair in rows),
        calls=len(requests),
        calls_in_store=len(requests) - len(unanswered) - len(lost),
        calls_lost=len(lost),
        calls_under_way=len(unanswered) - len(missing),
        calls_to_make=len(missing),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=settings.prices.cost_usd(input_tokens, output_tokens) if settings.prices else None,
        spent_usd=store.spent(request.key for request in requests)[1],
    )


def _asked(pair: Pair, protocol: Protocol, seed: int, settings: OpenAISettings) -> list[tuple[Order, JudgeRequest]]:
    if pair.identical:
        return []
    return [(order, make_request(pair, order, protocol, settings)) for order in orders(pair, protocol, seed)]


def _verdict(
    pair: Pair,
    protocol: Protocol,
    seed: int,
    settings: OpenAISettings,
    store: CallStore,
    failures: Mapping[str, str],
) -> Verdict:
    if pair.identical:
        return identical_verdict(pair)
    calls = []
    for order, request in _asked(pair, protocol, seed, settings):
        answer, times_billed = store.answer(request.key), store.times_billed(request.key)
        if answer is None:
            error = failures.get(request.key, "no answer")
            calls.append(Call(order, "failed", key=request.key, error=error, times_billed=times_billed))
            continue
        reply = parse_completion(answer.body)
        content = answer.body["choices"][0]["message"].get("content")
        calls.append(
            Call(
                order,
                reply.status,
                reply.choice,
                reply.reason,
                key=request.key,
                raw=content if content is None or isinstance(content, str) else json.dumps(content),
                model=answer.model,
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                cost_usd=answer.cost_usd,
                latency_ms=answer.latency_ms,
                answered_at=answer.answered_at,
                times_billed=times_billed,
            )
        )
    return verdict_of(pair, calls)
