"""Replies, orders, verdicts and summaries, without a server."""

import json
import sqlite3
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gist_core.scoring.judge.answer import completion_body, stored_answer
from gist_core.scoring.judge.budget import Budget
from gist_core.scoring.judge.openai_judge import all_requests
from gist_core.scoring.judge.pair import Pair, Protocol, orders
from gist_core.scoring.judge.prices import Prices
from gist_core.scoring.judge.reference_rule import JUDGE, judge_by_reference
from gist_core.scoring.judge.reply import parse_completion, parse_content
from gist_core.scoring.judge.request import JudgeRequest
from gist_core.scoring.judge.settings import OpenAISettings, without_key
from gist_core.scoring.judge.store import CallStore, StoredAnswer
from gist_core.scoring.judge.summary import length_controlled_win_rate_pct, summarise_verdicts
from gist_core.scoring.judge.verdict import Call, Verdict, verdict_of, verdict_record
from gist_core.scoring.rouge import rouge_l_pct

from .made_rows import AWKWARD

texts = st.one_of(st.sampled_from(AWKWARD), st.text(max_size=20), st.sampled_from(["one two", "two three four", "one"]))


@pytest.mark.parametrize(
    ("content", "choice"),
    [
        ('{"reason": "r", "choice": "A"}', "A"),
        ('{"reason": "r", "choice": "b"}', "B"),
        ('{"reason": "r", "choice": " TIE "}', "tie"),
        ('```json\n{"reason": "r", "choice": "B"}\n```', "B"),
        ('My view: {"reason": "a } brace and \\"quotes\\"", "choice": "A"} as asked.', "A"),
        ('{"reason": "a raw\nline break", "choice": "A"}', "A"),
        ('{"choice": "A"} and again {"choice": "A"}', "A"),
        ('The set {1, 2} matters. {"reason": "r", "choice": "B"}', "B"),
        ('<think>I am to say {"choice": "A" | "B" | "tie"}.</think>{"choice": "B"}', "B"),
        ('The keys are "choice": and "reason": {"choice": "B"}', "B"),
        ('{"choice": "A"} So it is "choice": "A".', "A"),
    ],
)
def test_the_choice_is_found(content: str, choice: str) -> None:
    reply = parse_content(content)
    assert (reply.status, reply.choice) == ("ok", choice)


@pytest.mark.parametrize(
    "content",
    [
        None,
        7,
        "",
        "A",
        "null",
        '"A"',
        '["A"]',
        '{"reason": "r"}',
        '{"choice": "C"}',
        '{"choice": null}',
        '{"choice": ["A"]}',
        '{"choice": "A"',
        '{"choice": "A"} or rather {"choice": "B"}',
        '{"outer": {"choice": "A"}}',
        '{"choice": "A", "reason": "x", "choice": "B"}',
        "{'choice': 'B'} or rather " + '{"choice": "A"}',
        '{"reason": "I weighed {"choice": "B"} first but", "choice": "A"}',
        "<html>{choice: A}</html>",
        '{"a":' * 100_000,
        '{"choice": ' + "1" * 5_000 + "}",
        '{"choice": ' + "[" * 400 + "]" * 400 + "}",
        '{"number": ' + "1" * 5_000 + ', "inner": {"choice": "A"}}',
    ],
    ids=lambda content: repr(content)[:40],
)
def test_what_is_no_clear_choice_is_unparsable(content: object) -> None:
    assert parse_content(content).status == "unparsable"


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_body_has_a_status(value: object) -> None:
    body = {"choices": [{"message": {"content": json.dumps(value)}}]}
    assert parse_completion(body).status in ("ok", "unparsable")


@pytest.mark.parametrize(
    ("change", "model", "tokens"),
    [
        ({"usage": "many"}, "m", (None, None)),
        ({"usage": [1]}, "m", (None, None)),
        ({"usage": {"prompt_tokens": 10**30, "completion_tokens": 7}}, "m", (None, 7)),
        ({"usage": {"prompt_tokens": 10**400, "completion_tokens": -1}}, "m", (None, None)),
        ({"usage": {"prompt_tokens": True, "completion_tokens": "7"}}, "m", (None, None)),
        ({"model": "m\ud800"}, "m\\ud800", (3, 4)),
        ({"model": ["m"]}, None, (3, 4)),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_an_answer_is_kept_whatever_the_server_says_of_its_model_and_tokens(
    tmp_path: Path, change: dict[str, Any], model: str | None, tokens: tuple[int | None, int | None]
) -> None:
    sent = {
        "model": "m",
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
        "choices": [{"message": {"content": "x"}}],
    }
    body = completion_body(json.dumps(sent | change))
    assert body is not None
    with CallStore(tmp_path / "calls.sqlite") as store:
        store.keep(stored_answer("key", body, Prices("2025-08-01", 1.0, 1.0), latency_ms=None))
        answer = store.answer("key")
    assert answer is not None
    assert (answer.body, answer.model) == (sent | change, model)
    assert (answer.prompt_tokens, answer.completion_tokens) == tokens
    assert (answer.cost_usd is None) == (None in tokens)


def test_a_body_with_a_number_that_python_does_not_read_is_no_completion() -> None:
    text = '{"created": ' + "1" * 5_000 + ', "choices": [{"message": {"content": "x"}}]}'
    assert completion_body(text) is None


def test_the_papers_order_is_drawn_from_the_row_and_is_balanced() -> None:
    pairs = [Pair(f"row {i}", "t", "", "r", "x", "y") for i in range(2000)]
    drawn = [orders(pair, "paper", 0)[0] for pair in pairs]
    assert drawn == [orders(pair, "paper", 0)[0] for pair in pairs]
    assert 900 < drawn.count("ab") < 1100
    assert drawn != [orders(pair, "paper", 1)[0] for pair in pairs]
    assert orders(pairs[0], "strict", 0) == ("ab", "ba")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:9/v1",
        "localhost/v1",
        "htp://x",
        "ftp://x/v1",
        "http://[::1",
        "http:///v1",
        "http://x:port/v1",
        "",
        " ",
        "http://x /v1",
        "http://x/v1\n",
    ],
)
def test_what_is_no_address_of_a_server_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"judge\.base_url = .* is no address of a server"):
        OpenAISettings(model="judge", base_url=address)


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:8000/v1", "https://api.example.org/v1/", "HTTP://[::1]:9"])
def test_an_address_of_a_server_is_taken_as_it_is(address: str | None) -> None:
    assert OpenAISettings(model="judge", base_url=address).base_url == address


def test_only_the_first_five_settings_change_a_request() -> None:
    plain = OpenAISettings(model="judge")
    others = {
        "model": "other",
        "base_url": "http://127.0.0.1:1/v1",
        "temperature": None,
        "max_output_tokens": 1,
        "output_limit_field": "max_completion_tokens",
        "mode": "batch",
        "concurrency": 1,
        "timeout_s": 1.0,
        "max_attempts": 1,
        "max_wait_s": 1.0,
        "lost_calls": "ask_again",
        "poll_s": 1.0,
        "requests_per_batch": 1,
        "budget_usd": 1.0,
        "budget_calls": 1,
        "prices": Prices("2025-08-01", 1.0, 1.0),
    }
    names = [field.name for field in fields(OpenAISettings)]
    assert sorted(names) == sorted(others)
    pairs = {"human": [Pair("row", "t", "", "r", "x", "y")]}
    key = all_requests(pairs, "paper", 0, plain)[0].key
    changing = [
        name for name in names if all_requests(pairs, "paper", 0, replace(plain, **{name: others[name]}))[0].key != key
    ]
    assert changing == names[:5]


@settings(max_examples=150)
@given(texts, texts, texts, st.sampled_from(["paper", "strict"]))
def test_swapping_the_answers_swaps_the_rules_verdict(a: str, b: str, reference: str, protocol: Protocol) -> None:
    one = judge_by_reference(Pair("row", "t", "", reference, a, b), protocol, 0)
    other = judge_by_reference(Pair("row", "t", "", reference, b, a), protocol, 0)
    assert one.status == other.status
    assert one.winner == {"a": "b", "b": "a", "tie": "tie", None: None}[other.winner]
    assert one.length_difference == -other.length_difference


def test_the_rule_prefers_the_answer_nearer_to_the_reference_and_says_why() -> None:
    verdict = judge_by_reference(Pair("row", "t", "", "one two three", "one two", "four"), "strict", 0)
    assert verdict.winner == "a"
    assert verdict.calls[0].reason == "ROUGE-L against the reference: A 80.0000, B 0.0000"
    assert judge_by_reference(Pair("row", "t", "", "one", "", "two"), "strict", 0).winner == "tie"
    assert judge_by_reference(Pair("row", "t", "", "one", "x\n", " x"), "strict", 0).status == "identical"


def test_equal_scores_of_answers_of_other_length_are_a_tie() -> None:
    """Both share a third of ROUGE-L with the reference, which floating point computes in two ways."""
    one, other = "w0", "w0 w1 x x x x x"
    assert rouge_l_pct("w0 w1 w2 w3 w4", one) != rouge_l_pct("w0 w1 w2 w3 w4", other)
    assert judge_by_reference(Pair("row", "t", "", "w0 w1 w2 w3 w4", one, other), "strict", 0).winner == "tie"


def test_the_rule_fails_where_the_reference_has_no_words() -> None:
    verdict = judge_by_reference(Pair("row", "t", "", "???", "a", "b"), "strict", 0)
    assert (verdict.status, verdict.winner) == ("failed", None)


def test_disagreement_of_the_orders_is_a_tie_and_a_bad_call_spoils_the_row() -> None:
    pair = Pair("row", "t", "", "r", "long", "b")
    first = Call("ab", "ok", "A")
    assert verdict_of(pair, [first, Call("ba", "ok", "B")]).winner == "a"
    assert verdict_of(pair, [first, Call("ba", "ok", "A")]).winner == "tie"
    assert verdict_of(pair, [first, Call("ba", "refused")]).status == "refused"
    assert verdict_of(pair, [Call("ab", "unparsable"), Call("ba", "failed")]).status == "failed"
    assert verdict_of(pair, [first, Call("ba", "unparsable")]).score is None


def verdict(winner: str | None, difference: int = 0, status: str = "ok", choice: str | None = None) -> Verdict:
    calls = (Call("ab", "ok", choice or {"a": "A", "b": "B"}.get(winner or "", "tie")),)  # type: ignore[arg-type]
    return Verdict("row", status, winner, calls if status == "ok" else (), difference)  # type: ignore[arg-type]


def test_the_summary_counts_each_status_apart_and_a_tie_as_a_half() -> None:
    rows = [verdict("a")] * 5 + [verdict("b")] * 2 + [verdict("tie")] * 2 + [verdict("tie", status="identical")]
    rows += [verdict(None, status=status) for status in ("refused", "unparsable", "failed", "failed")]
    summary = summarise_verdicts(rows, JUDGE, "paper", resamples=200, seed=0)
    assert summary["win_rate_pct"] == 65.0
    assert (summary["wins"], summary["ties"], summary["losses"], summary["identical"]) == (5, 2, 2, 1)
    assert (summary["refused"], summary["unparsable"], summary["failed"], summary["n"]) == (1, 1, 2, 14)
    assert summary["first_position_share_pct"] == pytest.approx(100 * 5 / 7, abs=1e-4)
    assert summary["order_agreement_pct"] is None
    assert summary["ci95_pct"][0] < 65 < summary["ci95_pct"][1]
    assert summary == summarise_verdicts(rows, JUDGE, "paper", resamples=200, seed=0)


def test_a_unanimous_result_has_an_interval_with_a_width() -> None:
    summary = summarise_verdicts([verdict("b")] * 20, JUDGE, "paper", resamples=200, seed=0)
    assert summary["interval"] == "wilson"
    assert summary["ci95_pct"] == [0.0, pytest.approx(16.11, abs=0.01)]


def test_nothing_judged_gives_no_figure_rather_than_a_zero() -> None:
    summary = summarise_verdicts([verdict(None, status="failed")] * 3, JUDGE, "strict", resamples=10, seed=0)
    assert summary["win_rate_pct"] is None
    assert summary["ci95_pct"] is None
    assert summary["length_controlled_win_rate_pct"] is None


def test_a_judge_that_gave_no_verdict_has_no_win_rate_whatever_was_identical() -> None:
    same, silent = verdict("tie", status="identical"), verdict(None, status="unparsable")
    only_identical, none, some = (
        summarise_verdicts(verdicts, JUDGE, "strict", resamples=10, seed=0)
        for verdicts in ([same] * 3, [same, same, silent], [same, silent, verdict("a")])
    )
    assert only_identical["win_rate_pct"] == 50
    assert (none["identical"], none["unparsable"]) == (2, 1)
    for figure in ("win_rate_pct", "ci95_pct", "length_controlled_win_rate_pct"):
        assert none[figure] is None
    assert some["win_rate_pct"] == 75


def test_the_length_controlled_rate_takes_away_what_length_alone_wins() -> None:
    """The longer answer wins 4 times of 5 whoever's it is, and a is longer in three rows of four."""
    rows = [verdict("a", 50)] * 24 + [verdict("b", 50)] * 6 + [verdict("b", -50)] * 8 + [verdict("a", -50)] * 2
    controlled = length_controlled_win_rate_pct(rows)
    assert summarise_verdicts(rows, JUDGE, "paper", resamples=50, seed=0)["win_rate_pct"] == 65.0
    assert controlled == pytest.approx(50.0, abs=0.5)
    # Length that tells nothing changes nothing: the same verdicts, half of them longer, half shorter.
    balanced = [verdict(winner, sign * 50) for winner in "aaab" for sign in (1, -1) for _ in range(10)]
    assert length_controlled_win_rate_pct(balanced) == pytest.approx(75.0, abs=0.01)
    assert length_controlled_win_rate_pct([verdict("a", 0), verdict("b", 0)]) == 50.0


def test_the_length_controlled_rate_swaps_with_the_answers() -> None:
    rows = [verdict(w, d) for w, d in zip("aabbab" * 5, [30, 5, -20, 10, 80, -3] * 5, strict=True)]
    mirrored = [
        verdict({"a": "b", "b": "a"}[w], -d) for w, d in zip("aabbab" * 5, [30, 5, -20, 10, 80, -3] * 5, strict=True)
    ]
    one, other = length_controlled_win_rate_pct(rows), length_controlled_win_rate_pct(mirrored)
    assert one is not None
    assert other is not None
    assert one + other == pytest.approx(100, abs=2e-4)


@pytest.mark.parametrize("text", [*AWKWARD, "\ud800"], ids=repr)
def test_store_and_verdict_lines_keep_every_text(tmp_path: Path, text: str) -> None:
    body = {"choices": [{"message": {"content": text}}]}
    with CallStore(tmp_path / "calls.sqlite") as store:
        store.keep(StoredAnswer("key", body, "m", 1, 2, 0.5, 3.0, "now"))
        store.keep(StoredAnswer("key", {"other": 1}, None, None, None, None, None, "later"))
    with CallStore(tmp_path / "calls.sqlite") as store:
        assert store.answer("key") == StoredAnswer("key", body, "m", 1, 2, 0.5, 3.0, "now")
        assert store.answer("another") is None
    line = Verdict("row", "ok", "a", (Call("ab", "ok", "A", reason=text, raw=text),), 0)
    record = verdict_record(line, JUDGE, "paper", run="gist-1", other="pos_control", split="seen")
    written = (json.dumps(record) + "\n").encode("utf-8")
    assert written.count(b"\n") == 1
    assert json.loads(written)["calls"][0]["raw"] == text


def test_the_store_is_a_write_ahead_log_and_knows_what_a_kill_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    with CallStore(path) as store:
        ended = store.begin_attempt("one")
        assert ended is not None
        store.end_attempt(ended, "200")
        store.begin_attempt("two")
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with CallStore(path) as store:
        store.note_lost()
        assert [store.is_lost(key) for key in ("one", "two", "three")] == [False, True, False]
        assert store.spent(["one", "two", "three"]) == (2, 0.0)


def test_a_damaged_page_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    keys = [f"key {i}" for i in range(200)]
    with CallStore(path) as store:
        for key in keys:
            store.keep(StoredAnswer(key, {"choices": ["x" * 200]}, "m", 1, 2, 0.5, 3.0, "now"))
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    for start in range(8 * 4096, len(data), 4096):  # the first pages hold the schema and the roots of the tables
        data[start : start + 200] = b"\xff" * 200
    path.write_bytes(data)
    with CallStore(path) as store, pytest.raises(ValueError, match=r"calls\.sqlite cannot be read .*move it away"):
        store.spent(keys)


@pytest.mark.parametrize("body", ["'{\"choices\": '", "x'ff'", "'[' || replace(hex(zeroblob(50000)), '0', '[')"])
def test_a_damaged_answer_in_the_store_is_an_error_that_says_what_to_do(tmp_path: Path, body: str) -> None:
    path = tmp_path / "calls.sqlite"
    with CallStore(path) as store:
        store.keep(StoredAnswer("key", {}, "m", 1, 2, 0.5, 3.0, "now"))
        with sqlite3.connect(path) as other:
            other.execute(f"UPDATE answers SET body = {body}")
        with pytest.raises(ValueError, match=r"calls\.sqlite cannot be read .*move it away"):
            store.answer("key")


def test_a_damaged_store_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "calls.sqlite").write_text("not a database" * 100, encoding="utf-8")
    with pytest.raises(ValueError, match="move it away"):
        CallStore(tmp_path / "calls.sqlite")


def test_a_lost_call_counts_without_the_discount_of_batches() -> None:
    """It may have been made before judge.mode was changed to batch."""
    request = JudgeRequest("key", {"messages": [{"content": "four" * 500_000}]})
    budget = Budget(None, 9.0, Prices("2026-01-01", 1.0, 2.0, factor=0.5), max_output_tokens=1_000_000)
    budget.charge_unpriced(request, 2)
    assert budget.spent_dollars == pytest.approx(2 * (0.5 + 2.0))
    budget.reserve(1, request)
    budget.settle(1, None, billed=True)
    assert budget.spent_dollars == pytest.approx(2 * (0.5 + 2.0) + (0.5 + 2.0) / 2)


def test_a_secret_key_is_left_out_of_what_a_server_says_and_a_word_that_serves_as_one_is_not() -> None:
    assert without_key("Bearer sk-1234567890abc!", "sk-1234567890abc") == "Bearer [the key]!"
    assert without_key("any of them", "any") == "any of them"
