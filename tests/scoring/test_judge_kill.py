"""The judge stage is killed at any moment and run again: the server has seen each call once.

SIGTERM lets the calls under way finish. SIGKILL cannot: their answers are lost, and no client can know whether they were
billed. The journal knows which they are; they become failed verdicts, or, if the user says so, are asked once more."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import psutil
import pytest
import yaml

from gist_core.scoring.judge.store import LOST, CallStore, StoredAnswer

from .made_rows import make_project
from .scripted_server import Drip, ScriptedServer

CONCURRENCY = 3
CALLS = 2 * 3 * 24  # both orders of the rows of three splits; none has equal answers


def start(project: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tasks.judge", "--run", "neg_control"]
    environment = os.environ | {"OPENAI_API_KEY": "any"}
    return subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True)


def run_to_the_end(project: Path) -> str:
    process = start(project)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return errors


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def make_judged_project(folder: Path, server: ScriptedServer, **changes: Any) -> None:
    judge = {
        "provider": "openai",
        "model": "judge",
        "base_url": server.base_url,
        "concurrency": CONCURRENCY,
        "protocol": "strict",
    }
    make_project(folder, overrides=json.dumps({"judge": judge | changes}))


def change_judge(project: Path, **changes: Any) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    params["judge"] |= changes
    (project / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def calls_of(project: Path) -> list[dict[str, Any]]:
    """Every call in the verdict files."""
    files = sorted((project / "data/verdicts/neg_control").glob("*.jsonl"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").split("\n") if line]
    assert len(lines) == 3 * 24
    return [call for line in lines for call in json.loads(line)["calls"]]


def under_way(project: Path) -> set[str]:
    """The calls that the journal has as sent and not ended, and whose answer the kill left no time to keep."""
    with sqlite3.connect(project / ".work/judge/calls.sqlite") as store:
        query = "SELECT key FROM attempts WHERE outcome IS NULL AND key NOT IN (SELECT key FROM answers)"
        return {key for (key,) in store.execute(query)}


def test_after_sigterm_each_call_is_seen_once_and_answered(tmp_path: Path) -> None:
    with ScriptedServer(delay_s=0.03) as server:
        make_judged_project(tmp_path, server)
        process = start(tmp_path)
        wait_for(lambda: sum(server.answered.values()) >= 20, process)
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "stopped by SIGTERM" in errors
        assert sum(server.asked.values()) < CALLS, "the signal came too late to show anything"
        assert not under_way(tmp_path)
        run_to_the_end(tmp_path)
        assert set(server.asked.values()) == {1}
        assert len(server.asked) == CALLS
    assert {call["status"] for call in calls_of(tmp_path)} == {"ok"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_when_dvc_is_ended_the_calls_under_way_are_answered(tmp_path: Path, number: signal.Signals) -> None:
    """DVC ends at once and tells its stage nothing. So do `make pipeline`, a time-out and a cancelled flow."""
    with ScriptedServer(delay_s=0.7) as server:
        make_judged_project(tmp_path, server)
        command = [sys.executable, "-m", "dvc", "repro", "--single-item", "judge@neg_control"]
        environment = os.environ | {"OPENAI_API_KEY": "any"}
        dvc = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
        wait_for(lambda: sum(server.answered.values()) >= CONCURRENCY and server.under_way == CONCURRENCY, dvc)
        (stage,) = [p for p in psutil.Process(dvc.pid).children(recursive=True) if "tasks.judge" in p.cmdline()[-3:]]
        dvc.send_signal(number)
        dvc.wait(30)
        stage.wait(30)
        assert sum(server.asked.values()) < CALLS, "the signal came too late to show anything"
        assert sum(server.answered.values()) == sum(server.asked.values())
        assert not under_way(tmp_path)


@pytest.mark.timeout(90)
def test_after_sigterm_a_call_without_an_end_stops_at_its_time_out(tmp_path: Path) -> None:
    with ScriptedServer(lambda material, attempt: Drip()) as server:
        make_judged_project(tmp_path, server, timeout_s=2.0)
        process = start(tmp_path)
        wait_for(lambda: server.under_way == CONCURRENCY, process)
        process.terminate()
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 2
        assert "stopped by SIGTERM" in errors
        assert sum(server.asked.values()) == CONCURRENCY
        assert not under_way(tmp_path)


def kill_and_finish(project: Path, server: ScriptedServer, answers: int, wait_s: float) -> set[str]:
    """SIGKILL at the given moment, and another run. Returns the calls that were under way."""
    process = start(project)
    wait_for(lambda: sum(server.answered.values()) >= answers, process)
    time.sleep(wait_s)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    time.sleep(2 * server.delay_s)  # what has been sent arrives
    lost = under_way(project)
    assert len(lost) <= CONCURRENCY
    seen = sum(server.asked.values())
    assert seen < CALLS, "the kill came too late to show anything"
    errors = run_to_the_end(project)
    assert (f"judge: {len(lost)} call(s) fail: lost" in errors) == bool(lost)
    return lost


def check_seen_once(project: Path, server: ScriptedServer, lost: set[str]) -> None:
    """The server has seen no call twice, and each but the lost ones once; exactly these have no verdict."""
    assert set(server.asked.values()) == {1}
    calls = calls_of(project)
    failed = {call["key"] for call in calls if call["status"] == "failed"}
    assert failed == lost
    assert all(call["error"].startswith("lost: the process was killed") for call in calls if call["key"] in lost)
    assert {call["times_billed"] for call in calls} == {1}
    assert CALLS - len(lost) <= len(server.asked) <= CALLS
    summaries = json.loads((project / "reports/judge/neg_control.json").read_text(encoding="utf-8")).values()
    rows = sum(summary["failed"] for summary in summaries)
    assert (rows > 0) == bool(lost)
    assert sum(summary["asked_twice"] for summary in summaries) == 0


def test_after_sigkill_no_call_is_seen_twice_and_the_lost_ones_are_asked_again_only_if_told(tmp_path: Path) -> None:
    with ScriptedServer(delay_s=0.03) as server:
        make_judged_project(tmp_path, server)
        lost = kill_and_finish(tmp_path, server, 20, 0.01)
        assert lost, "three calls of 30 ms each were under way"
        check_seen_once(tmp_path, server, lost)
        change_judge(tmp_path, lost_calls="ask_again")
        before = server.asked.copy()
        run_to_the_end(tmp_path)
        assert (server.asked - before).total() == len(lost)
    calls = calls_of(tmp_path)
    assert {call["status"] for call in calls} == {"ok"}
    assert {call["key"] for call in calls if call["times_billed"] == 2} == lost
    summaries = json.loads((tmp_path / "reports/judge/neg_control.json").read_text(encoding="utf-8")).values()
    assert sum(summary["asked_twice"] for summary in summaries) == len(lost)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sigkill_at_many_moments(tmp_path: Path) -> None:
    generator = random.Random(0)
    sizes: Counter[int] = Counter()
    for number in range(20):
        with ScriptedServer(delay_s=generator.choice([0.0, 0.005, 0.03])) as server:
            project = tmp_path / str(number)
            project.mkdir()
            make_judged_project(project, server)
            lost = kill_and_finish(project, server, generator.randint(0, 60), generator.uniform(0, 0.03))
            check_seen_once(project, server, lost)
            sizes[len(lost)] += 1
    print("calls lost per kill:", dict(sizes))
    assert sizes.total() - sizes[0] >= 10, "hardly any kill hit a call under way"


def test_two_processes_that_need_the_same_answer_ask_once(tmp_path: Path) -> None:
    with ScriptedServer(delay_s=0.1) as server:
        make_judged_project(tmp_path, server)
        # gist-1 gets neg_control's answers, so that both runs ask the same questions at the same time.
        for split in ("seen", "unseen", "human"):
            answers = (tmp_path / f"data/generations/neg_control/{split}.jsonl").read_text(encoding="utf-8")
            target = tmp_path / f"data/generations/gist-1/{split}.jsonl"
            target.write_text(answers.replace('"run": "neg_control"', '"run": "gist-1"'), encoding="utf-8")
        first = start(tmp_path)
        command = [sys.executable, "-m", "tasks.judge", "--run", "gist-1"]
        environment = os.environ | {"OPENAI_API_KEY": "any"}
        second = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        for process in (first, second):
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
        assert set(server.asked.values()) == {1}
        assert len(server.asked) == CALLS
    assert {call["status"] for call in calls_of(tmp_path)} == {"ok"}


def test_a_new_store_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    def open_and_close(path: Path) -> None:
        together.wait()
        with CallStore(path):
            pass

    for number in range(40):
        together = Barrier(8)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(open_and_close, [tmp_path / str(number) / "calls.sqlite"] * 8))


def test_a_call_under_way_in_a_living_process_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    with CallStore(path) as one, CallStore(path) as other:
        attempt = one.begin_attempt("key")
        assert attempt is not None
        other.note_lost()
        assert other.outcomes("key") == [None]
        assert other.begin_attempt("key") is None
        one.end_attempt(attempt, "500")
        assert other.begin_attempt("key") is not None
    with CallStore(path) as third:
        third.note_lost()
        assert third.outcomes("key") == ["500", LOST]
        assert third.is_lost("key")
    assert [left.name for left in tmp_path.glob("*.lock")] == ["calls.sqlite.open.lock"]  # none of an owner


def test_an_answer_that_was_kept_just_before_the_kill_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    with CallStore(path) as store:
        store.begin_attempt("key")
        store.keep(StoredAnswer("key", {}, None, None, None, None, None, "2025-08-01T00:00:00Z"))
    with CallStore(path) as later:
        later.note_lost()
        assert later.outcomes("key") == ["200"]
