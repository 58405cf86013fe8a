"""Judging against a real HTTP server: what goes wrong has a status of its own, and nothing is asked twice."""

import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest

from gist_core.scoring.judge.openai_judge import (
    all_requests,
    estimate,
    judge_identity,
    judge_with_openai,
)
from gist_core.scoring.judge.pair import Pair, Protocol
from gist_core.scoring.judge.settings import OpenAISettings
from gist_core.scoring.judge.store import CallStore
from gist_core.scoring.judge.summary import summarise_verdicts

from .judging import PRICES, judge, make_pairs
from .made_rows import AWKWARD
from .scripted_server import Action, Drip, Fail, Hang, Page, Reset, Say, ScriptedServer, choose, prefers_longer


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gist_core.scoring.judge.live._FIRST_WAIT_S", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "calls.sqlite"


def once(action: Action) -> Any:
    """The action on the first call of each pair, a good answer afterwards."""
    return lambda material, attempt: action if attempt == 1 else prefers_longer(material, attempt)


def test_every_verdict_keeps_the_raw_answer_the_model_tokens_price_latency_and_time(store: Path) -> None:
    with ScriptedServer() as server:
        verdict = judge(server, store, make_pairs(1), "strict", prices=PRICES)[0]
    assert [call.order for call in verdict.calls] == ["ab", "ba"]
    for call in verdict.calls:
        assert json.loads(call.raw or "")["choice"] == call.choice
        assert call.model == "judge-as-answered"
        assert (call.prompt_tokens, call.completion_tokens) == (200, 20)
        assert call.cost_usd == pytest.approx((200 * 1 + 20 * 10) / 1e6)
        assert call.latency_ms is not None
        assert call.latency_ms > 0
        assert (call.answered_at or "").endswith("+00:00")


def test_the_strict_protocol_sends_a_schema_and_the_papers_asks_once_at_temperature_0(store: Path) -> None:
    with ScriptedServer() as server:
        judge(server, store, make_pairs(3), "strict")
        assert len(server.bodies) == 6
        assert all(body["response_format"]["json_schema"]["strict"] is True for body in server.bodies)
        server.bodies.clear()
        judge(server, store, make_pairs(3), "paper")
        assert len(server.bodies) == 3
        assert all("response_format" not in body and body["temperature"] == 0 for body in server.bodies)


@pytest.mark.parametrize(
    "trouble",
    [
        Fail(429, {"Retry-After": "0.1"}),
        Fail(429),
        Fail(500),
        Fail(503),
        Hang(),
        Reset(),
        Page("<html>busy</html>"),
        Page(""),
    ],
    ids=lambda action: f"{type(action).__name__}{getattr(action, 'status', '')}{getattr(action, 'headers', '')}",
)
def test_a_passing_trouble_is_tried_again(store: Path, trouble: Action) -> None:
    with ScriptedServer(once(trouble)) as server:
        verdicts = judge(server, store, make_pairs(4), timeout_s=1.0)
    assert [verdict.status for verdict in verdicts] == ["ok"] * 4
    assert set(server.answered.values()) == {1}


@pytest.mark.timeout(30)
def test_the_time_out_is_for_the_whole_call_and_not_for_each_read(store: Path) -> None:
    pairs = make_pairs(2)
    with ScriptedServer(lambda m, n: Drip() if m["instruction"] == "task 1" else choose("A")) as server:
        _, dripped = judge(server, store, pairs, timeout_s=1.0, max_attempts=1)
    assert (dripped.status, dripped.calls[0].error) == ("failed", "no answer within 1 s (after 1 attempts)")
    with CallStore(store) as calls:
        assert calls.outcomes(dripped.calls[0].key or "") == ["time-out"]


def test_retry_after_holds_up_every_worker(store: Path) -> None:
    with ScriptedServer(lambda m, n: Fail(429, {"Retry-After": "1"}) if n == 1 else choose("A")) as server:
        judge(server, store, make_pairs(4), concurrency=4)
    first, again = server.times[:4], server.times[4:]
    assert len(again) == 4
    assert min(again) - max(first) >= 0.9


def test_a_later_and_longer_retry_after_holds_up_those_that_wait_already(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gist_core.scoring.judge.live._FIRST_WAIT_S", 0.01)

    def answer(material: dict[str, str], number: int) -> Any:
        if number > 1:
            return choose("A")
        if material["instruction"] == "task 0":
            return Fail(429, {"Retry-After": "2"})
        time.sleep(0.3)
        return Fail(429, {"Retry-After": "3"})

    with ScriptedServer(answer) as server:
        judge(server, store, make_pairs(2), concurrency=2)
    first, again = server.times[:2], server.times[2:]
    assert len(again) == 2
    assert min(again) - max(first) >= 3


@pytest.mark.parametrize(
    "header",
    [
        {"Retry-After": "0"},
        {"Retry-After": "-5"},
        {"Retry-After": "nan"},
        {"retry-after-ms": "0"},
        {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"},
        {"Retry-After": "Wed, 21 Oct 2015 07:28:00 -0000"},
        {"Retry-After": f"Wed, 21 Oct {10**20} 07:28:00 GMT"},
    ],
    ids=str,
)
def test_a_retry_after_of_nothing_does_not_use_up_the_attempts_at_once(
    store: Path, monkeypatch: pytest.MonkeyPatch, header: dict[str, str]
) -> None:
    monkeypatch.setattr("gist_core.scoring.judge.live._FIRST_WAIT_S", 0.1)
    with ScriptedServer(lambda m, n: Fail(429, header) if n < 3 else choose("A")) as server:
        assert judge(server, store, make_pairs(1))[0].status == "ok"
    first, second = (again - before for before, again in pairwise(server.times))
    assert first >= 0.05, "half of the first backoff at least"
    assert second >= 0.1


def test_a_server_that_asks_to_wait_too_long_stops_the_run(store: Path) -> None:
    with (
        ScriptedServer(lambda m, n: Fail(429, {"Retry-After": "3600"})) as server,
        pytest.raises(ConnectionError, match="asks to wait 3600 s"),
    ):
        judge(server, store, make_pairs(2))


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Say(None, refusal="I will not"), "refused"),
        (Say("", finish_reason="content_filter"), "refused"),
        (Say(""), "unparsable"),
        (Say(None), "unparsable"),
        (Say('{"reason": "x", "choice": '), "unparsable"),
        (Say('{"reason": "x", "choice": "C"}'), "unparsable"),
        (Say('{"reason": "x"}'), "unparsable"),
        (Say("<html><body>A</body></html>"), "unparsable"),
        (Say("A"), "unparsable"),
        (Say('Well.\n```json\n{"reason": "x", "choice": "tie"}\n```\nDone.'), "ok"),
        (Say('{"choice": ' + "1" * 5_000 + "}"), "unparsable"),
        (Page('{"choices": [{"message": {"content": ' + "[" * 500 + "]" * 500 + "}}]}"), "unparsable"),
        (Page('{"choices": [{"message": {"refusal": [["no"]]}}]}'), "refused"),
        (Fail(400), "failed"),
        (Page('{"created": ' + "1" * 5_000 + ', "choices": [{"message": {"content": "A"}}]}'), "failed"),
        (Page("<html>proxy</html>"), "failed"),
        (Reset(), "failed"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_the_judge_did_has_a_status_and_is_never_a_guess(store: Path, answer: Action, status: str) -> None:
    pairs = make_pairs(2)
    script = lambda m, n: answer if m["instruction"] == "task 1" else choose("A")  # noqa: E731
    with ScriptedServer(script) as server:
        good, bad = judge(server, store, pairs, max_attempts=2)
        assert good.status == "ok"
        assert bad.status == status
        assert (bad.winner is None) == (status != "ok")
        asked = sum(server.asked.values())
        judge(server, store, pairs, max_attempts=2)
        # An answer, however useless, was paid for and is never asked for again; what got no answer is.
        assert (sum(server.asked.values()) > asked) == (status == "failed")
    if status in ("refused", "unparsable") and isinstance(answer, Say):
        assert bad.calls[0].raw == answer.content


def test_answers_are_kept_across_runs_whatever_does_not_change_the_request(store: Path) -> None:
    pairs = make_pairs(6)
    with ScriptedServer() as server:
        first = judge(server, store, pairs, "strict")
        again = judge(server, store, pairs, "strict", concurrency=1, budget_calls=100, prices=PRICES, timeout_s=1.0)
        assert first == again
        assert set(server.asked.values()) == {1}
        judge(server, store, pairs, "strict", temperature=0.5)
        assert set(server.asked.values()) == {2}


def test_equal_requests_are_asked_once(store: Path) -> None:
    pair = make_pairs(1)[0]
    with ScriptedServer() as server:
        verdicts = judge(server, store, [pair, pair, pair])
        assert len(verdicts) == 3
        assert sum(server.asked.values()) == 1


def test_a_request_that_rows_share_counts_once_in_the_summary(store: Path) -> None:
    pairs = [*make_pairs(1) * 3, *make_pairs(2)[1:]]
    with ScriptedServer(once(Hang())) as server:
        verdicts = judge(server, store, pairs, "strict", timeout_s=1.0, prices=PRICES)
        settings = OpenAISettings(model="judge", base_url=server.base_url)
    summary = summarise_verdicts(verdicts, judge_identity(settings), "strict", resamples=10, seed=0)
    # Both orders of two different pairs, each of which timed out once.
    assert summary["n"] == 4
    assert summary["asked_twice"] == 4
    assert summary["cost_usd"] == pytest.approx(4 * (200 * 1 + 20 * 10) / 1e6)


def test_concurrency_is_bounded(store: Path) -> None:
    with ScriptedServer(delay_s=0.02) as server:
        judge(server, store, make_pairs(20), concurrency=3)
    assert server.most_under_way == 3


def test_the_call_budget_stops_cleanly_and_raising_it_goes_on(store: Path) -> None:
    pairs = make_pairs(10)
    with ScriptedServer() as server:
        with pytest.raises(ValueError, match=r"judge.budget_calls = 4 is used up.*4 calls answered"):
            judge(server, store, pairs, budget_calls=4)
        with pytest.raises(ValueError, match=r"judge.budget_calls = 4 is used up"):
            judge(server, store, pairs, budget_calls=4)
        assert sum(server.asked.values()) == 4
        judge(server, store, pairs, budget_calls=10)
        assert set(server.asked.values()) == {1}


def test_the_dollar_budget_is_never_passed_even_by_concurrent_calls(store: Path) -> None:
    with ScriptedServer(delay_s=0.02) as server:
        with pytest.raises(ValueError, match=r"judge.budget_usd = 0.02 would be passed"):
            judge(server, store, make_pairs(60), budget_usd=0.02, prices=PRICES, concurrency=8)
        with CallStore(store) as calls:
            rows = sqlite3.connect(store).execute("SELECT key FROM answers").fetchall()
            number, dollars = calls.spent(key for (key,) in rows)
    assert number == sum(server.asked.values()) > 0
    assert 0.01 < dollars <= 0.02


@pytest.mark.parametrize("trouble", [Hang(), Reset(), Page("<html>")], ids=repr)
def test_a_call_that_may_have_been_billed_counts_at_its_highest_price_now_and_later(
    store: Path, trouble: Action
) -> None:
    # 400 tokens of output cost at most 0.004 USD, so 0.006 USD are enough for one call and not for two.
    changes = {"budget_usd": 0.006, "prices": PRICES, "timeout_s": 1.0, "concurrency": 4}
    with ScriptedServer(lambda m, n: trouble) as server:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"budget_usd = 0.006 would be passed: 0.004\d USD are spent, or may"):
                judge(server, store, make_pairs(4), **changes)
            assert sum(server.asked.values()) == 1


def test_a_call_that_was_refused_costs_nothing(store: Path) -> None:
    with ScriptedServer(once(Fail(500))) as server:
        verdicts = judge(server, store, make_pairs(2), budget_usd=0.006, prices=PRICES)
    assert [verdict.status for verdict in verdicts] == ["ok"] * 2


def test_an_answer_that_came_before_its_price_was_known_counts_at_the_highest(store: Path) -> None:
    with ScriptedServer() as server:
        judge(server, store, make_pairs(1))
        with pytest.raises(ValueError, match=r"would be passed: 0.004\d USD are spent, or may"):
            judge(server, store, make_pairs(2), budget_usd=0.006, prices=PRICES)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (Fail(401), "OPENAI_API_KEY"),
        (Fail(404), "does not know the model 'judge'"),
        (Fail(429, code="insufficient_quota"), "no credit"),
        (Fail(402), "no credit"),
        (Fail(400, code="insufficient_balance"), "no credit"),
        (Fail(400), "first 5 calls were all refused"),
    ],
)
def test_what_no_retry_can_mend_stops_the_run_at_once(store: Path, failure: Fail, message: str) -> None:
    with ScriptedServer(lambda m, n: failure) as server:
        with pytest.raises(ValueError, match=message):
            judge(server, store, make_pairs(50), concurrency=2)
        assert sum(server.asked.values()) <= 7


@pytest.mark.parametrize("failure", [Fail(429), Fail(500), Fail(503)])
def test_a_server_that_is_only_busy_at_the_start_may_be_asked_again_later(
    store: Path, monkeypatch: pytest.MonkeyPatch, failure: Fail
) -> None:
    monkeypatch.setattr("gist_core.scoring.judge.live._FIRST_WAIT_S", 0.01)
    with (
        ScriptedServer(lambda m, n: failure) as server,
        pytest.raises(ConnectionError, match=r"first 5 calls .*; run the same command again later"),
    ):
        judge(server, store, make_pairs(50), max_attempts=2)


def test_calls_are_not_sent_on_to_another_server(store: Path) -> None:
    with ScriptedServer() as other:
        moved = Fail(307, {"Location": f"{other.base_url}/chat/completions"})
        with ScriptedServer(lambda m, n: moved) as server:
            with pytest.raises(
                ValueError, match=rf"sends calls on to {other.base_url}.*; give judge.base_url the address"
            ):
                judge(server, store, make_pairs(2))
            server.breaks, server.broken = lambda method, path: method == "POST", (307, {"error": {"message": "moved"}})
            with pytest.raises(ValueError, match=r"\(HTTP 307\); give judge.base_url the address"):
                judge(server, store, make_pairs(2), mode="batch")
        assert not other.asked


@pytest.mark.parametrize("repeated", [Fail(400), Page("<html>"), Fail(401)], ids=repr)
def test_a_key_that_a_server_repeats_is_neither_kept_nor_shown(store: Path, repeated: Fail | Page) -> None:
    secret = "sk-any-key-of-someone"
    pairs = make_pairs(2)

    def script(material: dict[str, Any], attempt: int) -> Action:
        if material["instruction"] == "task 1":
            return choose("A")
        said = f"you sent: Bearer {secret}"
        return replace(repeated, message=said) if isinstance(repeated, Fail) else Page(said)

    with ScriptedServer(script) as server:
        try:
            told = str(judge(server, store, pairs, concurrency=1, max_attempts=1, api_key=secret))
        except ValueError as error:
            told = str(error)
    assert "you sent: Bearer [the key]" in told
    assert secret not in told
    assert secret.encode() not in store.read_bytes()


def test_half_a_surrogate_pair_in_an_answer_can_be_written(store: Path) -> None:
    with ScriptedServer(lambda m, n: choose("A", "nice \ud83d")) as server:
        (verdict,) = judge(server, store, make_pairs(1))
    assert (verdict.status, verdict.calls[0].reason) == ("ok", "nice ?")


def test_credit_that_runs_out_on_the_way_stops_the_run_and_the_answers_are_kept(store: Path) -> None:
    pairs = make_pairs(20)
    out_of_credit = lambda m, n: Fail(402) if int(m["instruction"].split()[1]) >= 5 else choose("A")  # noqa: E731
    with ScriptedServer(out_of_credit) as server:
        with pytest.raises(ValueError, match=r"has no credit left: HTTP 402.*\(5 calls answered, 15 to go\)"):
            judge(server, store, pairs, concurrency=1)
        assert sum(server.asked.values()) == 6
        server.script = prefers_longer
        assert [verdict.status for verdict in judge(server, store, pairs)] == ["ok"] * 20
    assert set(server.answered.values()) == {1}


@pytest.mark.parametrize("count", [3, 40])
@pytest.mark.parametrize("trouble", ["closed port", Hang(), Reset(), Fail(503), Page("<html>")], ids=repr)
def test_a_server_that_answers_nothing_is_an_error_and_no_result(
    store: Path, trouble: Action | str, count: int
) -> None:
    pairs = make_pairs(count)
    with ScriptedServer(lambda m, n: prefers_longer(m, n) if isinstance(trouble, str) else trouble) as down:
        where = down.base_url
        if isinstance(trouble, str):
            down.close_port()
        changes = {"timeout_s": 0.2, "max_attempts": 2, "concurrency": 4}
        said = rf"{re.escape(where)}.*run the same command again|first 5 calls"
        with pytest.raises((ValueError, ConnectionError), match=said) as error:
            judge(down, store, pairs, **changes)
        assert "judge.base_url" in str(error.value) or "judge.protocol" in str(error.value)
        passing = isinstance(trouble, str | Hang | Reset | Fail) and count > 5
        assert isinstance(error.value, ConnectionError) == passing, "which is tried again, later"
        # Five calls of two attempts each are enough, and those under way with them end.
        assert sum(down.asked.values()) <= 2 * (5 + 4)


def test_a_server_that_goes_down_on_the_way_stops_the_run_and_what_it_answered_is_kept(store: Path) -> None:
    pairs = make_pairs(40)
    up = [True]

    def script(material: dict[str, Any], attempt: int) -> Action:
        if material["instruction"] == "task 10":
            up[0] = False
        return prefers_longer(material, attempt) if up[0] else Reset()

    with ScriptedServer(script) as server:
        with pytest.raises(
            ConnectionError, match=r"5 calls in a row.*'judge'.*judge.base_url.*10 calls answered, 30 to go"
        ):
            judge(server, store, pairs, max_attempts=2, concurrency=1)
        asked = server.asked.copy()
        server.script = prefers_longer
        assert [verdict.status for verdict in judge(server, store, pairs)] == ["ok"] * 40
    assert set((server.asked - asked).values()) == {1}
    assert set(server.answered.values()) == {1}


def test_rows_that_a_judge_always_refuses_do_not_stop_it_from_finishing(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = lambda m, n: Fail(400) if int(m["instruction"].split()[1]) >= 3 else choose("A")  # noqa: E731
    expected = ["ok"] * 3 + ["failed"] * 6
    with ScriptedServer(script) as server:
        for _ in range(2):
            assert [verdict.status for verdict in judge(server, store, make_pairs(9), concurrency=1)] == expected
    assert capsys.readouterr().err.count("6 of 9 calls have no answer, the first: HTTP 400") == 2


def test_calls_that_were_all_lost_are_an_error_and_no_result(store: Path) -> None:
    with ScriptedServer() as server:
        lose(store, make_pairs(2), server)
        with pytest.raises(ValueError, match=r"none of the 2 judge calls.*judge.lost_calls=ask_again"):
            judge(server, store, make_pairs(2))
        assert not server.asked


def test_a_missing_key_is_an_error_only_if_there_is_something_to_ask(store: Path) -> None:
    pairs = make_pairs(2)
    with ScriptedServer() as server:
        settings = OpenAISettings(model="judge", base_url=server.base_url)
        with CallStore(store) as calls:
            with pytest.raises(ValueError, match="OPENAI_API_KEY is not set"):
                judge_with_openai({"human": pairs}, "paper", 0, settings, calls, api_key=None)
            judge_with_openai({"human": pairs}, "paper", 0, settings, calls, api_key="any")
            judge_with_openai({"human": pairs}, "paper", 0, settings, calls, api_key=None)


@pytest.mark.parametrize("key", ["  ", "two words", "a\nb", " abc", "schl\u00fcssel", "a\x00b"], ids=ascii)
def test_what_can_be_no_key_is_refused_before_any_call_and_not_shown(store: Path, key: str) -> None:
    with ScriptedServer() as server, CallStore(store) as calls:
        settings = OpenAISettings(model="judge", base_url=server.base_url)
        with pytest.raises(ValueError, match="the key in OPENAI_API_KEY holds white space") as error:
            judge_with_openai({"human": make_pairs(1)}, "paper", 0, settings, calls, api_key=key)
        assert key not in str(error.value) or not key.strip()
        assert not server.asked


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=repr)
def test_a_line_break_after_the_key_is_no_part_of_it(store: Path, ending: str) -> None:
    with ScriptedServer() as server, CallStore(store) as calls:
        settings = OpenAISettings(model="judge", base_url=server.base_url)
        verdicts = judge_with_openai({"human": make_pairs(1)}, "paper", 0, settings, calls, api_key=f"any{ending}")
        assert [verdict.status for verdict in verdicts["human"]] == ["ok"]
        with pytest.raises(ValueError, match="OPENAI_API_KEY is not set"):
            judge_with_openai({"human": make_pairs(2)}, "paper", 0, settings, calls, api_key=ending)


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_the_environment_does_not_redirect_calls_that_the_verdicts_attribute_to_openai(
    store: Path, monkeypatch: pytest.MonkeyPatch, mode: Literal["live", "batch"]
) -> None:
    with ScriptedServer() as elsewhere, ScriptedServer() as instead_of_openai:
        monkeypatch.setenv("OPENAI_BASE_URL", elsewhere.base_url)
        monkeypatch.setattr("gist_core.scoring.judge.settings.DEFAULT_BASE_URL", instead_of_openai.base_url)
        settings = OpenAISettings(model="judge", mode=mode, poll_s=0.01)
        with CallStore(store) as calls:
            judge_with_openai({"human": make_pairs(2)}, "paper", 0, settings, calls, api_key="any")
        assert not elsewhere.asked
        assert sum(instead_of_openai.asked.values()) == 2


@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_swapping_a_and_b_swaps_the_result_exactly_and_asks_nothing_new(store: Path, protocol: Protocol) -> None:
    texts = [text for text in AWKWARD if text.strip()]
    pairs = [Pair(f"row {i}", f"task {i}", "", "r", a, b) for i, (a, b) in enumerate(pairwise(texts))]
    swapped = [Pair(p.row_id, p.instruction, p.input, p.reference, p.answer_b, p.answer_a) for p in pairs]
    # A judge that leans to the first position, so that a mere change of order would change its mind.
    script = lambda m, n: choose("A" if len(m["answer_a"]) + 5 >= len(m["answer_b"]) else "B")  # noqa: E731
    with ScriptedServer(script) as server:
        one, other = judge(server, store, pairs, protocol), judge(server, store, swapped, protocol)
        assert set(server.asked.values()) == {1}
    mirror = {"a": "b", "b": "a", "tie": "tie"}
    assert [mirror[verdict.winner or ""] for verdict in one] == [verdict.winner for verdict in other]
    assert [verdict.length_difference for verdict in one] == [-verdict.length_difference for verdict in other]


def test_awkward_texts_reach_the_judge_and_come_back_as_they_were(store: Path) -> None:
    pairs = [Pair(f"row {i}", f"task {i}", text, text, text, f"other{text}") for i, text in enumerate(AWKWARD)]
    script = lambda m, n: choose("A", reason=m["answer_a"])  # noqa: E731
    with ScriptedServer(script) as server:
        verdicts = judge(server, store, pairs, "strict")
    for pair, verdict in zip(pairs, verdicts, strict=True):
        assert [call.reason for call in verdict.calls] == [pair.answer_a, pair.answer_b]
    expected = Counter(
        (first, second, pair.instruction)
        for pair in pairs
        for first, second in ((pair.answer_a, pair.answer_b), (pair.answer_b, pair.answer_a))
    )
    assert server.asked == expected
    assert sorted({json.loads(body["messages"][1]["content"])["input"] for body in server.bodies}) == sorted(AWKWARD)


def test_the_dry_run_makes_no_call_and_is_near_the_price(store: Path) -> None:
    pairs = [*make_pairs(20), Pair("same", "t", "", "r", "x", "x ")]
    with ScriptedServer() as server, CallStore(store) as calls:
        settings = OpenAISettings(model="judge", base_url=server.base_url, prices=PRICES)
        before = estimate({"human": pairs}, "strict", 0, settings, calls)
        assert sum(server.asked.values()) == 0
        judge_with_openai({"human": pairs}, "strict", 0, settings, calls, api_key="any")
        after = estimate({"human": pairs}, "strict", 0, settings, calls)
    identical = sum(pair.identical for pair in pairs)
    assert (before.rows, before.identical_rows, before.calls_to_make) == (21, identical, 2 * (21 - identical))
    assert before.cost_usd is not None
    assert before.cost_usd > 0
    assert (after.calls_to_make, after.calls_in_store, after.cost_usd) == (0, before.calls, 0.0)
    assert after.spent_usd == pytest.approx(before.calls * 0.0004)


def lose(store: Path, pairs: Sequence[Pair], server: ScriptedServer) -> None:
    """Leaves every call of the pairs as a killed process does: sent, and without an end."""
    settings = OpenAISettings(model="judge", base_url=server.base_url)
    with CallStore(store) as calls:
        for request in all_requests({"human": pairs}, "paper", 0, settings):
            assert calls.begin_attempt(request.key) is not None


def test_lost_calls_count_at_their_highest_price_and_are_asked_again_only_if_told(store: Path) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        lose(store, pairs[:3], server)
        with CallStore(store) as calls:
            settings = OpenAISettings(model="judge", base_url=server.base_url, prices=PRICES)
            before = estimate({"human": pairs}, "paper", 0, settings, calls)
        assert (before.calls, before.calls_lost, before.calls_to_make) == (4, 3, 1)
        # 400 tokens of output cost at most 0.004 USD, so three lost calls leave no room for a fourth.
        with pytest.raises(ValueError, match=r"judge.budget_usd = 0.015 would be passed: 0.01[23]\d USD are spent"):
            judge(server, store, pairs, budget_usd=0.015, prices=PRICES)
        verdicts = judge(server, store, pairs)
        assert [verdict.status for verdict in verdicts] == ["failed", "failed", "failed", "ok"]
        assert sum(server.asked.values()) == 1
        again = judge(server, store, pairs, lost_calls="ask_again")
        assert [verdict.status for verdict in again] == ["ok"] * 4
        assert set(server.asked.values()) == {1}
    assert [call.times_billed for verdict in again for call in verdict.calls] == [2, 2, 2, 1]


def test_a_time_out_and_a_reset_may_have_been_billed_and_an_error_has_not(store: Path) -> None:
    troubles = {"task 0": Hang(), "task 1": Reset(), "task 2": Fail(500), "task 3": Page("<html>")}
    script = lambda m, n: troubles[m["instruction"]] if n == 1 else choose("A")  # noqa: E731
    with ScriptedServer(script) as server:
        verdicts = judge(server, store, make_pairs(4), timeout_s=1.0)
    assert [verdict.calls[0].times_billed for verdict in verdicts] == [2, 2, 1, 2]


def test_a_closed_port_is_not_connected_and_was_not_billed(store: Path) -> None:
    pairs = make_pairs(1)
    with ScriptedServer() as server:
        settings = OpenAISettings(model="judge", base_url=server.base_url)
        server.close_port()
        with pytest.raises(ValueError, match="none of the 1 judge calls"):
            judge(server, store, pairs, max_attempts=2)
    key = all_requests({"human": pairs}, "paper", 0, settings)[0].key
    with CallStore(store) as calls:
        assert calls.outcomes(key) == ["not connected"] * 2
        assert calls.times_billed(key) == 0


def test_a_store_that_breaks_during_the_calls_is_one_clear_error(store: Path) -> None:
    def script(material: dict[str, Any], attempt: int) -> Action:
        with sqlite3.connect(store) as other:
            other.execute("DROP TABLE IF EXISTS answers")
        return choose("A")

    with ScriptedServer(script) as server, pytest.raises(ValueError, match=r"calls\.sqlite cannot be .*move it away"):
        judge(server, store, make_pairs(8), concurrency=4)


def test_a_judge_that_only_counts_letters_is_seen_through_by_the_length_controlled_win_rate(store: Path) -> None:
    # a is the longer answer in three rows of four, by more or by less, and the judge wants nothing but length.
    lengths = [(20 + i % 9, 20 - i % 7) if i % 4 else (20 - i % 9, 21 + i % 7) for i in range(80)]
    pairs = [Pair(f"row {i}", f"task {i}", "", "r", "x" * a, "y" * b) for i, (a, b) in enumerate(lengths)]
    with ScriptedServer() as server:
        verdicts = judge(server, store, pairs, "strict")
        settings = OpenAISettings(model="judge", base_url=server.base_url)
    summary = summarise_verdicts(verdicts, judge_identity(settings), "strict", resamples=200, seed=0)
    wins, losses = sum(a > b for a, b in lengths), sum(a < b for a, b in lengths)
    assert (summary["wins"], summary["losses"]) == (wins, losses)
    assert summary["win_rate_pct"] > 70
    assert summary["length_controlled_win_rate_pct"] == pytest.approx(50, abs=10)
    assert summary["order_agreement_pct"] == 100
    assert summary["first_position_share_pct"] == 50
