"""The judge stage is killed at any moment and run again: the server has seen each call once.

A call that was under way at a SIGKILL is the one exception that no client can avoid: its answer was lost on the way.
Such calls are at most as many as run at once, the store knows them, and the next run says so."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .made_rows import make_project
from .scripted_server import ScriptedServer

CONCURRENCY = 3


def start(project: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tasks.judge", "--run", "neg_control"]
    environment = os.environ | {"OPENAI_API_KEY": "any"}
    return subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(condition: "object", process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def make_judged_project(folder: Path, server: ScriptedServer) -> None:
    make_project(
        folder,
        overrides=json.dumps(
            {
                "judge": {
                    "provider": "openai",
                    "runs": ["neg_control", "gist-1"],
                    "model": "judge",
                    "base_url": server.base_url,
                    "concurrency": CONCURRENCY,
                    "protocol": "strict",
                }
            }
        ),
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_and_run_again_each_call_is_seen_once(tmp_path: Path, number: signal.Signals) -> None:
    with ScriptedServer(delay_s=0.03) as server:
        make_judged_project(tmp_path, server)
        process = start(tmp_path)
        wait_for(lambda: sum(server.answered.values()) >= 20, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        after_kill = sum(server.asked.values())
        assert after_kill < 60, "the kill came too late to show anything"
        if number == signal.SIGTERM:
            assert process.returncode == 2
            assert "stopped by SIGTERM" in errors
        process = start(tmp_path)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        repeated = [identity for identity, times in server.asked.items() if times > 1]
        if number == signal.SIGTERM:
            assert repeated == []
        else:
            assert len(repeated) <= CONCURRENCY
            assert max(server.asked.values()) <= 2
            assert ("under way when an earlier run was killed" in errors) or repeated == []
    for split in ("seen", "unseen", "human"):
        lines = (tmp_path / f"data/verdicts/neg_control/{split}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        assert len(lines) == 24
        assert all(json.loads(line)["status"] in ("ok", "identical") for line in lines)
