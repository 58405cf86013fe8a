"""`python -m tasks.judge` as DVC runs it: with the judge that needs no key, and with one that fails."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tasks import judge
from tasks.stage import Stage

from .made_rows import make_project
from .scripted_server import Action, Fail, ScriptedServer, prefers_longer
from .test_judge_kill import calls_of, make_judged_project
from .test_rouge_stage import run_stage


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_project(tmp_path)
    return tmp_path


def test_every_row_has_a_verdict_that_says_it_is_no_language_model(project: Path) -> None:
    done = run_stage(project, "judge", "--run", "gist-1")
    assert done.returncode == 0, done.stderr
    summary = json.loads((project / "reports/judge/gist-1.json").read_text(encoding="utf-8"))
    for split in ("seen", "unseen", "human"):
        lines = (project / f"data/verdicts/gist-1/{split}.jsonl").read_text(encoding="utf-8").splitlines()
        verdicts = [json.loads(line) for line in lines]
        assert len(verdicts) == 24
        assert all(verdict["is_language_model"] is False for verdict in verdicts)
        assert all("Not a language model" in verdict["note"] for verdict in verdicts)
        assert {(verdict["a"], verdict["b"]) for verdict in verdicts} == {("gist-1", "pos_control")}
        # pos_control repeats the reference, gist-1 says "word" in every third row: never better, often worse.
        figures = summary[split]
        assert figures["identical"] == sum(verdict["status"] == "identical" for verdict in verdicts) == 16
        assert (figures["wins"], figures["ties"], figures["losses"]) == (0, 0, 8)
        assert figures["win_rate_pct"] == pytest.approx(100 * 8 / 24, abs=1e-4)
        assert figures["order_agreement_pct"] == 100.0
        assert figures["first_position_share_pct"] == 50.0
        assert figures["is_language_model"] is False
        assert figures["cost_usd"] == 0
        counted = ("wins", "ties", "losses", "identical", "refused", "unparsable", "failed")
        assert sum(figures[name] for name in counted) == figures["n"] == 24

    before = (project / "reports/judge/gist-1.json").read_bytes()
    assert run_stage(project, "judge", "--run", "gist-1").returncode == 0
    assert (project / "reports/judge/gist-1.json").read_bytes() == before


def test_an_experiment_in_a_copy_keeps_its_answers_in_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each `dvc exp run --temp` would pay for them again."""
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    asked = []
    with ScriptedServer() as server:
        for name in ("tmp7", "tmp8"):
            copy = tmp_path / ".dvc/tmp/exps" / name
            copy.mkdir(parents=True)
            make_judged_project(copy, server)
            judge.run(Stage("judge@neg_control", copy, []))
            asked.append(server.asked.total())
    assert asked[0] == asked[1] > 0


def repro(project: Path, *options: str) -> None:
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", *options, "judge@neg_control"]
    environment = os.environ | {"OPENAI_API_KEY": "any"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_dvc_keeps_failed_verdicts_until_the_stage_is_forced(tmp_path: Path) -> None:
    refuse = [True]

    def script(material: dict[str, Any], attempt: int) -> Action:
        first = material["instruction"] == "Repeat word 0 of the human list."
        return Fail(400) if first and refuse[0] else prefers_longer(material, attempt)

    with ScriptedServer(script) as server:
        make_judged_project(tmp_path, server)
        repro(tmp_path)
        refuse[0] = False
        asked = server.asked.copy()
        repro(tmp_path)
        assert server.asked == asked
        assert Counter(call["status"] for call in calls_of(tmp_path))["failed"] == 2
        repro(tmp_path, "--force")
        assert (server.asked - asked).total() == 2
    assert {call["status"] for call in calls_of(tmp_path)} == {"ok"}
