"""Batches of judge calls against a real HTTP server: none is made, or paid, twice."""

import json
import sqlite3
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from gist_core.scoring.judge import batch
from gist_core.scoring.judge.openai_judge import judge_with_openai
from gist_core.scoring.judge.pair import Pair
from gist_core.scoring.judge.settings import OpenAISettings
from gist_core.scoring.judge.store import CallStore

from .judging import PRICES, judge, make_pairs
from .scripted_server import Fail, Hang, ScriptedServer, choose


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "calls.sqlite"


@pytest.fixture
def never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is not listed at once was not made."""
    monkeypatch.setattr(batch, "CONFIRMED_WITHIN_S", -60.0)


def makes_a_batch(method: str, path: str) -> bool:
    return (method, path) == ("POST", "/v1/batches")


def polls(method: str, path: str) -> bool:
    return method == "GET" and path.startswith("/v1/batches/")


def lists(method: str, path: str) -> bool:
    return method == "GET" and path.partition("?")[0] == "/v1/batches"


def nothing(method: str, path: str) -> bool:
    return False


def test_live_calls_wait_for_the_batch_that_holds_them(store: Path) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        server.polls_until_done = 10**9
        settings = OpenAISettings(model="judge", base_url=server.base_url, mode="batch", poll_s=0.01)
        with CallStore(store) as calls, pytest.MonkeyPatch.context() as patch:

            def die(*_: object) -> None:
                raise KeyboardInterrupt

            patch.setattr("gist_core.scoring.judge.batch._collect", die)
            with pytest.raises(KeyboardInterrupt):
                judge_with_openai({"human": pairs}, "paper", 0, settings, calls, api_key="any")
        with pytest.raises(ValueError, match=r"in the batch batch-0, which has not been collected"):
            judge(server, store, pairs)
        server.polls_until_done = 2
        assert [verdict.status for verdict in judge(server, store, pairs, mode="batch")] == ["ok"] * 4
        assert [call.times_billed for verdict in judge(server, store, pairs) for call in verdict.calls] == [1] * 4
        assert set(server.asked.values()) == {1}


def test_a_batch_gives_the_verdicts_that_live_calls_give(tmp_path: Path) -> None:
    pairs = make_pairs(7)
    with ScriptedServer() as server:
        live = judge(server, tmp_path / "live.sqlite", pairs, "strict")
        batch = judge(server, tmp_path / "batch.sqlite", pairs, "strict", mode="batch", prices=PRICES)
    assert [verdict.winner for verdict in batch] == [verdict.winner for verdict in live]
    assert len(server.batches) == 1
    assert all(call.cost_usd is not None for verdict in batch for call in verdict.calls)


def test_a_request_that_failed_in_a_batch_is_a_failed_verdict_and_goes_into_the_next(store: Path) -> None:
    pairs = make_pairs(4)
    script = lambda m, n: Fail(500) if m["instruction"] == "task 2" and n == 1 else choose("A")  # noqa: E731
    with ScriptedServer(script) as server:
        first = judge(server, store, pairs, mode="batch")
        assert [verdict.status for verdict in first] == ["ok", "ok", "failed", "ok"]
        second = judge(server, store, pairs, mode="batch")
        assert [verdict.status for verdict in second] == ["ok"] * 4
        assert set(server.answered.values()) == {1}
        assert len(server.batches) == 2


def test_a_batch_whose_id_was_lost_is_found_again_and_not_submitted_twice(store: Path) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        server.polls_until_done = 10**9
        with CallStore(store) as calls, pytest.MonkeyPatch.context() as patch:
            settings = OpenAISettings(model="judge", base_url=server.base_url, mode="batch", poll_s=0.01)

            def die(*_: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(CallStore, "rename_batch", die)
            with pytest.raises(KeyboardInterrupt):
                judge_with_openai({"human": pairs}, "paper", 0, settings, calls, api_key="any")
        server.polls_until_done = 2
        verdicts = judge(server, store, pairs, mode="batch")
        assert [verdict.status for verdict in verdicts] == ["ok"] * 4
        assert len(server.batches) == 1
        assert set(server.asked.values()) == {1}


def test_a_batch_that_is_made_but_not_confirmed_is_not_made_again(store: Path) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        server.breaks = makes_a_batch
        with pytest.raises(ConnectionError, match=r"does not answer now \(HTTP 503.* what has been submitted is kept"):
            judge(server, store, pairs, mode="batch")
        server.breaks = nothing
        assert [verdict.status for verdict in judge(server, store, pairs, mode="batch")] == ["ok"] * 4
        assert list(server.batches) == ["batch-0"]
        assert set(server.asked.values()) == {1}


@pytest.mark.usefixtures("never_made")
@pytest.mark.parametrize("made", [False, True])
def test_requests_of_a_batch_that_failed_go_into_another_though_its_making_is_not_confirmed(
    store: Path, made: bool
) -> None:
    """The second batch holds the requests of the first, and the server lists the newest first, as OpenAI does."""
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        run_batch = server.run_batch
        server.run_batch = lambda batch: batch.update(  # type: ignore[method-assign]
            status="failed", errors={"object": "list", "data": [{"message": "enqueued token limit", "line": None}]}
        )
        with pytest.raises(ValueError, match="batch batch-0 ended as failed enqueued token limit"):
            judge(server, store, pairs, mode="batch")
        server.run_batch = run_batch  # type: ignore[method-assign]
        if made:
            server.breaks = makes_a_batch
            with pytest.raises(ConnectionError):
                judge(server, store, pairs, mode="batch")
        else:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("openai.resources.batches.Batches.create", lambda *_, **__: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    judge(server, store, pairs, mode="batch")
        server.breaks = nothing
        assert [verdict.status for verdict in judge(server, store, pairs, mode="batch")] == ["ok"] * 4
        assert set(server.asked.values()) == {1}
        assert [batch["status"] for batch in server.batches.values()] == ["failed", "completed"]


def test_a_batch_that_was_not_confirmed_is_found_though_another_run_has_asked_some_of_it(store: Path) -> None:
    pairs = make_pairs(12)
    with ScriptedServer() as server:
        server.breaks = makes_a_batch
        with pytest.raises(ConnectionError):
            judge(server, store, pairs[:8], mode="batch")
        server.breaks = nothing
        for some in (pairs[4:], pairs[:8]):
            assert {verdict.status for verdict in judge(server, store, some, mode="batch")} == {"ok"}
        assert set(server.asked.values()) == {1}
        assert {batch["status"] for batch in server.batches.values()} == {"completed"}


@pytest.mark.usefixtures("never_made")
def test_a_batch_that_was_never_made_is_forgotten(store: Path) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("openai.resources.batches.Batches.create", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                judge(server, store, pairs, mode="batch")
        assert not server.batches
        verdicts = judge(server, store, pairs, mode="batch", budget_calls=4)
        assert [verdict.status for verdict in verdicts] == ["ok"] * 4


def test_an_account_without_credit_is_no_outage(store: Path) -> None:
    with ScriptedServer() as server:
        server.breaks = lambda method, path: path == "/v1/files"
        server.broken = (429, {"error": {"message": "no credit", "code": "insufficient_quota"}})
        with pytest.raises(ValueError, match="has no credit left"):
            judge(server, store, make_pairs(2), mode="batch", max_attempts=1)


def test_a_server_that_goes_away_while_a_batch_is_awaited_may_come_back(store: Path) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        server.breaks = polls
        with pytest.raises(ConnectionError, match="HTTP 503"):
            judge(server, store, pairs, mode="batch", max_attempts=1)
        server.breaks = nothing
        assert [verdict.status for verdict in judge(server, store, pairs, mode="batch")] == ["ok"] * 4
        assert set(server.asked.values()) == {1}


def test_the_budget_counts_what_a_batch_cost_that_an_earlier_run_left_behind(store: Path) -> None:
    pairs = make_pairs(8)
    with ScriptedServer() as server:
        # What the answers to four requests cost, and what the other four may cost at most: less than both together.
        limits = {"mode": "batch", "prices": PRICES, "max_output_tokens": 100, "budget_usd": 0.006}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gist_core.scoring.judge.batch._collect", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                judge(server, store, pairs[:4], **limits)
        with pytest.raises(ValueError, match=r"would be passed: 0\.0016 USD are spent"):
            judge(server, store, pairs, **limits)
        assert list(server.batches) == ["batch-0"]


def test_a_live_call_that_came_too_late_counts_beside_the_batch_that_answered_it(store: Path) -> None:
    pairs = make_pairs(4)
    late = lambda m, n: Hang() if n == 1 and m["instruction"] == "task 1" else choose("A")  # noqa: E731
    with ScriptedServer(late) as server:
        judge(server, store, pairs, prices=PRICES, timeout_s=0.3, max_attempts=1)
        verdicts = judge(server, store, pairs, mode="batch", prices=PRICES)
        assert [call.times_billed for verdict in verdicts for call in verdict.calls] == [1, 2, 1, 1]


def test_a_batch_answer_without_token_counts_costs_the_budget_the_most_that_it_can(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = make_pairs(4)
    limits = {"mode": "batch", "prices": PRICES, "max_output_tokens": 100, "budget_usd": 0.006}
    with ScriptedServer() as server:
        monkeypatch.setattr("tests.scoring.scripted_server.USAGE", {})
        judge(server, store, pairs, **limits)
        with pytest.raises(ValueError, match=r"would be passed: 0\.00\d+ USD are spent"):
            judge(server, store, make_pairs(8), **limits)
        assert list(server.batches) == ["batch-0"]


def test_two_runs_at_once_submit_no_request_twice(store: Path) -> None:
    pairs, verdicts = make_pairs(12), {}
    with ScriptedServer() as server:

        def ask(name: str, rows: list[Pair]) -> None:
            verdicts[name] = judge(server, store, rows, mode="batch")

        threads = [Thread(target=ask, args=part) for part in (("first", pairs[:8]), ("second", pairs[4:]))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [verdict.status for name in verdicts for verdict in verdicts[name]] == ["ok"] * 16
        assert set(server.asked.values()) == {1}


@pytest.mark.parametrize("line", ['{"custom_id": "', "7", '{"response": null}', '{"x": ' + "1" * 5_000 + "}"], ids=repr)
def test_a_broken_line_names_batch_and_file_and_nothing_is_asked_again_unless_told(
    store: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        run_batch = server.run_batch

        def cut_off(batch: dict[str, Any]) -> None:
            run_batch(batch)
            whole = server.files["batch-0-output_file_id"]
            server.files["batch-0-output_file_id"] = "\n".join([*whole.split("\n")[:3], line])

        server.run_batch = cut_off  # type: ignore[method-assign]
        for _ in range(2):
            with pytest.raises(ValueError, match=r"line 4 of the file batch-0-output_file_id of batch batch-0 is"):
                judge(server, store, pairs, mode="batch")
        server.run_batch = run_batch  # type: ignore[method-assign]
        assert set(server.asked.values()) == {1}
        verdicts = judge(server, store, pairs, mode="batch", lost_calls="ask_again")
        assert [verdict.status for verdict in verdicts] == ["ok"] * 4
        assert sorted(server.asked.values()) == [1, 1, 1, 2]
        assert sorted(call.times_billed or 0 for verdict in verdicts for call in verdict.calls) == [1, 1, 1, 2]
    assert "line 4 of the file batch-0-output_file_id of batch batch-0" in capsys.readouterr().err


def test_a_file_that_was_cut_off_on_the_way_is_fetched_again(store: Path) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        run_batch, whole = server.run_batch, {}

        def cut_off(batch: dict[str, Any]) -> None:
            run_batch(batch)
            whole.update(server.files)
            server.files["batch-0-output_file_id"] = whole["batch-0-output_file_id"][:-40]

        server.run_batch = cut_off  # type: ignore[method-assign]
        with pytest.raises(ValueError, match=r"line 4 .*fetches the file again"):
            judge(server, store, pairs, mode="batch")
        server.files |= whole
        assert [verdict.status for verdict in judge(server, store, pairs, mode="batch")] == ["ok"] * 4
        assert set(server.asked.values()) == {1}


def test_a_batch_over_budget_is_not_submitted(store: Path) -> None:
    with ScriptedServer() as server:
        with pytest.raises(ValueError, match=r"judge.budget_calls = 3"):
            judge(server, store, make_pairs(4), mode="batch", budget_calls=3)
        with pytest.raises(ValueError, match=r"judge.budget_usd = 0.01 would be passed"):
            judge(server, store, make_pairs(4), mode="batch", budget_usd=0.01, prices=PRICES)
        assert not server.batches
        assert not server.asked


@pytest.mark.parametrize("odd", [{}, {"error": {"message": "upstream"}}, "<html>Bad gateway</html>"], ids=repr)
@pytest.mark.parametrize("step", [polls, makes_a_batch, lists], ids=["poll", "make", "list"])
def test_what_is_no_answer_of_the_endpoint_ends_no_batch(store: Path, step: Any, odd: Any) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        if step is lists:  # which is asked only for a batch that was not confirmed
            server.breaks = makes_a_batch
            with pytest.raises(ConnectionError):
                judge(server, store, pairs, mode="batch")
        server.breaks, server.broken = step, (200, odd)
        for _ in range(1 if step is makes_a_batch else 2):
            with pytest.raises(
                ConnectionError, match=r"something that is no (batch|list): .* is kept, the same command"
            ):
                judge(server, store, pairs, mode="batch")
        server.breaks = nothing
        assert {verdict.status for verdict in judge(server, store, pairs, mode="batch")} == {"ok"}
        assert len(server.batches) == 1
        assert set(server.asked.values()) == {1}


def test_a_page_in_place_of_an_upload_is_told(store: Path) -> None:
    with ScriptedServer() as server:
        server.breaks, server.broken = lambda method, path: path == "/v1/files", (200, "<html>sign in</html>")
        with pytest.raises(
            ConnectionError, match=r"no file: '<html>sign in</html>'; if it stays so, look at judge\.base_url"
        ):
            judge(server, store, make_pairs(2), mode="batch")
        assert not server.batches


def test_a_status_that_is_not_known_is_waited_out(store: Path) -> None:
    with ScriptedServer() as server:
        run_batch = server.run_batch
        server.polls_until_done = 3

        def later(made: dict[str, Any]) -> None:
            made["status"] = "queued"
            server.polls_until_done = made["polls"] + 3
            server.run_batch = run_batch  # type: ignore[method-assign]

        server.run_batch = later  # type: ignore[method-assign]
        assert {verdict.status for verdict in judge(server, store, make_pairs(4), mode="batch")} == {"ok"}
        assert len(server.batches) == 1


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("there", [0, 2])
def test_answers_that_the_files_of_a_batch_lack_are_not_asked_again_unless_told(
    store: Path, there: int, counted: bool
) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        run_batch = server.run_batch

        def cut(made: dict[str, Any]) -> None:
            run_batch(made)
            name = made["output_file_id"]
            server.files[name] = "".join(server.files[name].splitlines(keepends=True)[:there])
            if not there:
                del made["output_file_id"]
            if counted:  # cancelled after all four were answered
                made |= {"status": "cancelled", "request_counts": {"total": 4, "completed": 4, "failed": 0}}

        server.run_batch = cut  # type: ignore[method-assign]
        for _ in range(2):
            with pytest.raises(
                ValueError, match=rf"no line for {4 - there} of its requests; the lines that they have are kept"
            ):
                judge(server, store, pairs, mode="batch")
        assert set(server.asked.values()) == {1}
        server.run_batch = run_batch  # type: ignore[method-assign]
        verdicts = judge(server, store, pairs, mode="batch", lost_calls="ask_again")
        assert {verdict.status for verdict in verdicts} == {"ok"}
        billed = sorted(call.times_billed or 0 for verdict in verdicts for call in verdict.calls)
        assert billed == [1] * there + [2] * (4 - there)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_batch_that_was_refused_is_not_waited_for(store: Path, status: int) -> None:
    with ScriptedServer() as server:

        def refuses(method: str, path: str) -> bool:
            if makes_a_batch(method, path):
                server.batches.clear()  # none is made
            return makes_a_batch(method, path)

        server.breaks, server.broken = refuses, (status, {"error": {"message": "no"}})
        said = {400: "refuses the batch", 403: "refuses the key", 404: r"needs judge\.mode=live"}
        with pytest.raises(ValueError, match=said[status]):
            judge(server, store, make_pairs(4), mode="batch")
        assert {verdict.status for verdict in judge(server, store, make_pairs(4))} == {"ok"}


@pytest.mark.parametrize("gone", ["/v1/batches/batch-0", "/v1/files/batch-0-output_file_id/content"])
def test_a_batch_that_is_gone_is_given_up_if_told(store: Path, gone: str) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        server.breaks, server.broken = lambda method, path: path == gone, (404, {"error": {"message": "no such thing"}})
        for _ in range(2):
            with pytest.raises(ValueError, match=r"batch batch-0, or a file .* is not on the server .*ask_again"):
                judge(server, store, pairs, mode="batch")
        verdicts = judge(server, store, pairs, mode="batch", lost_calls="ask_again")
        assert {verdict.status for verdict in verdicts} == {"ok"}
        assert {call.times_billed for verdict in verdicts for call in verdict.calls} == {2}


def test_a_batch_of_another_key_that_may_have_been_made_is_given_up_if_told(store: Path) -> None:
    pairs, other = make_pairs(4), {"mode": "batch", "api_key": "sk-of-another-project"}
    with ScriptedServer() as server:
        server.breaks = makes_a_batch
        with pytest.raises(ConnectionError):
            judge(server, store, pairs, mode="batch")
        server.breaks, server.broken = lists, (200, {"object": "list", "data": [], "has_more": False})
        with pytest.raises(ValueError, match="submitted with another key, organisation or project"):
            judge(server, store, pairs, **other)
        verdicts = judge(server, store, pairs, lost_calls="ask_again", **other)
        assert {verdict.status for verdict in verdicts} == {"ok"}
        assert {call.times_billed for verdict in verdicts for call in verdict.calls} == {2}
        assert len(server.batches) == 2


def test_a_batch_that_is_listed_late_is_waited_for(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, asked = make_pairs(4), []
    with ScriptedServer() as server:
        server.breaks = makes_a_batch
        with pytest.raises(ConnectionError):
            judge(server, store, pairs, mode="batch")

        def lists_nothing_yet(method: str, path: str) -> bool:
            asked.extend([path] if lists(method, path) else [])
            return lists(method, path) and len(asked) < 4

        server.breaks, server.broken = lists_nothing_yet, (200, {"object": "list", "data": [], "has_more": False})
        assert {verdict.status for verdict in judge(server, store, pairs, mode="batch")} == {"ok"}
        assert len(server.batches) == 1
    assert "is not listed yet" in capsys.readouterr().err


def test_a_batch_is_found_on_a_later_page_of_the_list(store: Path) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        server.breaks = makes_a_batch
        with pytest.raises(ConnectionError):
            judge(server, store, pairs, mode="batch")
        server.breaks = nothing
        server.page_size = 2
        for number in range(1, 6):  # newer ones of somebody else
            server.batches[f"other-{number}"] = {"id": f"other-{number}", "object": "batch", "status": "completed"}
        assert {verdict.status for verdict in judge(server, store, pairs, mode="batch")} == {"ok"}
        assert set(server.asked.values()) == {1}


def test_requests_that_a_batch_did_not_come_to_go_into_the_next(store: Path) -> None:
    pairs = make_pairs(4)
    with ScriptedServer() as server:
        run_batch = server.run_batch

        def expire(made: dict[str, Any]) -> None:
            run_batch(made)
            lines = server.files[made["output_file_id"]].splitlines()
            error = {"code": "batch_expired", "message": "could not be executed before the completion window expired"}
            expired = [
                {"custom_id": json.loads(line)["custom_id"], "response": None, "error": error} for line in lines[2:]
            ]
            server.files[made["output_file_id"]] = "\n".join(lines[:2])
            server.files["errors"] = "\n".join(map(json.dumps, expired))
            counts = {"total": 4, "completed": 2, "failed": 2}
            made |= {"status": "expired", "error_file_id": "errors", "request_counts": counts}
            server.run_batch = run_batch  # type: ignore[method-assign]

        server.run_batch = expire  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gist_core.scoring.judge.batch._collect", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                judge(server, store, pairs, mode="batch")
        verdicts = judge(server, store, pairs, mode="batch")
        assert {verdict.status for verdict in verdicts} == {"ok"}
        assert {call.times_billed for verdict in verdicts for call in verdict.calls} == {1}
        assert len(server.batches) == 2


def test_a_batch_file_may_begin_with_a_byte_order_mark(store: Path) -> None:
    with ScriptedServer() as server:
        run_batch = server.run_batch

        def marked(made: dict[str, Any]) -> None:
            run_batch(made)
            server.files[made["output_file_id"]] = "\ufeff" + server.files[made["output_file_id"]]

        server.run_batch = marked  # type: ignore[method-assign]
        assert {verdict.status for verdict in judge(server, store, make_pairs(4), mode="batch")} == {"ok"}


@pytest.mark.parametrize("limit", ["requests", "bytes"])
def test_what_one_batch_does_not_take_goes_into_the_next(
    store: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"requests_per_batch": 3} if limit == "requests" else {}
    with ScriptedServer() as server:
        if limit == "bytes":
            monkeypatch.setattr(batch, "BYTES_PER_BATCH", 6_000)
        assert {verdict.status for verdict in judge(server, store, make_pairs(8), mode="batch", **changes)} == {"ok"}
        sizes = [server.files[made["input_file_id"]].encode() for made in server.batches.values()]
        assert len(sizes) > 1
        assert set(server.asked.values()) == {1}
        if limit == "requests":
            assert [text.count(b"custom_id") for text in sizes] == [3, 3, 2]
        else:
            assert max(map(len, sizes)) <= 6_000


def test_a_key_that_is_refused_while_a_batch_is_awaited_is_named(store: Path) -> None:
    with ScriptedServer() as server:
        server.breaks, server.broken = polls, (401, {"error": {"message": "revoked"}})
        with pytest.raises(ValueError, match=r"refuses the key in OPENAI_API_KEY: HTTP 401: .*revoked"):
            judge(server, store, make_pairs(2), mode="batch")
        server.breaks = nothing
        assert {verdict.status for verdict in judge(server, store, make_pairs(2), mode="batch")} == {"ok"}


def test_a_short_outage_while_a_batch_is_awaited_is_waited_out(store: Path) -> None:
    asked = []
    with ScriptedServer() as server:

        def is_out(method: str, path: str) -> bool:
            asked.extend([path] if polls(method, path) else [])
            return polls(method, path) and len(asked) < 4

        server.breaks = is_out
        assert {verdict.status for verdict in judge(server, store, make_pairs(2), mode="batch")} == {"ok"}


def test_a_batch_that_another_run_is_just_making_is_left_to_it(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one notes its batch right after this run has looked for such, and gives it up again."""
    find, noted = batch._find_planned, []

    def find_and_note(endpoint: Any, keys: Any, settings: OpenAISettings, calls: CallStore) -> None:
        if not noted:
            find(endpoint, keys, settings, calls)
            noted.append(endpoint.new_name())
            calls.note_batch(noted[0], keys)
        else:
            calls.forget_batch(noted[0])

    monkeypatch.setattr(batch, "_find_planned", find_and_note)
    with ScriptedServer() as server:
        verdicts = judge(server, store, make_pairs(4), mode="batch", max_attempts=1)
        assert {verdict.status for verdict in verdicts} == {"ok"}
        assert len(server.batches) == 1


def test_answers_are_kept_though_the_other_file_of_their_batch_is_gone(store: Path) -> None:
    pairs = make_pairs(4)
    script = lambda m, n: Fail(500) if m["instruction"] == "task 2" and n == 1 else choose("A")  # noqa: E731
    with ScriptedServer(script) as server:
        server.breaks = lambda method, path: path == "/v1/files/batch-0-error_file_id/content"
        server.broken = (404, {"error": {"message": "no such file"}})
        for statuses in (["ok", "ok", "failed", "ok"], ["ok"] * 4):
            verdicts = judge(server, store, pairs, mode="batch", lost_calls="ask_again")
            assert [verdict.status for verdict in verdicts] == statuses
        assert sorted(server.asked.values()) == [1, 1, 1, 2]


@pytest.mark.parametrize("odd", ["<html>Bad gateway</html>", ""], ids=["page", "nothing"])
def test_a_page_in_place_of_the_answers_does_not_give_them_up(store: Path, odd: str) -> None:
    fetched: list[str] = []
    with ScriptedServer() as server:

        def at_first(method: str, path: str) -> bool:
            fetched.extend([path] if path.endswith("/content") else [])
            return path.endswith("/content") and len(fetched) < 3

        server.breaks, server.broken = at_first, (200, odd)
        verdicts = judge(server, store, make_pairs(4), mode="batch", lost_calls="ask_again")
        assert {verdict.status for verdict in verdicts} == {"ok"}
        assert set(server.asked.values()) == {1}


def test_an_id_of_a_file_that_is_empty_is_none(store: Path) -> None:
    with ScriptedServer() as server:
        run_batch = server.run_batch

        def without_errors(made: dict[str, Any]) -> None:
            run_batch(made)
            made["error_file_id"] = ""

        server.run_batch = without_errors  # type: ignore[method-assign]
        assert {verdict.status for verdict in judge(server, store, make_pairs(2), mode="batch")} == {"ok"}


@pytest.mark.parametrize("listed", [[{"object": "batch"}], ["batch-9"], []], ids=repr)
def test_a_list_that_cannot_be_read_to_its_end_forgets_no_batch(store: Path, listed: list[Any]) -> None:
    pairs = make_pairs(2)
    with ScriptedServer() as server:
        server.breaks = makes_a_batch
        with pytest.raises(ConnectionError):
            judge(server, store, pairs, mode="batch")
        server.breaks, server.broken = lists, (200, {"object": "list", "data": listed, "has_more": True})
        with pytest.raises(ConnectionError, match="cannot be read to its end"):
            judge(server, store, pairs, mode="batch")
        server.breaks = nothing
        assert {verdict.status for verdict in judge(server, store, pairs, mode="batch")} == {"ok"}
        assert len(server.batches) == 1


def test_the_project_of_a_batch_is_part_of_whose_it_is(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer() as server:
        server.breaks = makes_a_batch
        monkeypatch.setenv("OPENAI_PROJECT_ID", "one")
        with pytest.raises(ConnectionError):
            judge(server, store, make_pairs(2), mode="batch")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "two")
        server.breaks, server.broken = lists, (200, {"object": "list", "data": [], "has_more": False})
        with pytest.raises(ValueError, match="another key, organisation or project"):
            judge(server, store, make_pairs(2), mode="batch")


def test_after_a_batch_that_failed_as_a_whole_no_further_part_is_submitted(store: Path) -> None:
    with ScriptedServer() as server:
        server.run_batch = lambda made: made.update(  # type: ignore[method-assign]
            status="failed", errors={"object": "list", "data": [{"message": "no such model", "line": 1}]}
        )
        with pytest.raises(ValueError, match="batch batch-0 ended as failed no such model"):
            judge(server, store, make_pairs(6), mode="batch", requests_per_batch=2)
        assert len(server.batches) == 1


def test_a_call_without_an_owner_that_an_earlier_version_left_open_is_lost(store: Path) -> None:
    with CallStore(store):
        pass
    with sqlite3.connect(store) as db:
        db.execute("INSERT INTO attempts (key, begun_at) VALUES ('key', '2026-11-01T00:00:00.000+00:00')")
    with CallStore(store) as calls:
        calls.note_lost()
        assert calls.is_lost("key")
