"""`gist judge`: the price before, and another look at the answers after."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cli.judge import app
from gist_core.scoring.judge.openai_judge import all_requests
from gist_core.scoring.judge.store import CallStore
from tasks.judge import STORE, openai_settings, pairs_by_split
from tasks.params import load_params

from .made_rows import make_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prices = {"as_of": "2025-08-01", "input_usd_per_million": 1.0, "output_usd_per_million": 10.0}
    judge = {"provider": "openai", "model": "judge", "prices": prices}
    make_project(tmp_path, overrides=json.dumps({"judge": judge}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_dry_run_prints_calls_tokens_price_and_the_day_of_the_prices(project: Path) -> None:
    shown = CliRunner().invoke(app, ["dry-run"], catch_exceptions=False)
    assert shown.exit_code == 0
    # 8 of 24 rows of each split differ from pos_control, and each is asked in both orders.
    assert (
        "gist-1: 72 rows, 48 identical; 48 calls (strict), 0 already answered (0.0000 USD), 48 to make" in shown.output
    )
    assert "at the prices of 2025-08-01" in shown.output
    assert float(shown.output.split("Together about ")[1].split()[0]) > 0


def test_a_call_that_runs_share_is_priced_once_and_one_in_a_batch_not_at_all(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["judged_runs"] = ["gist-1", "tfidf-1"]  # where both say the same word, they ask the same
    (project / "params.yaml").write_text(yaml.safe_dump(params))

    def dry_run() -> tuple[str, list[float], float]:
        shown = CliRunner().invoke(app, ["dry-run"], catch_exceptions=False).output
        return (
            shown,
            [float(p) for p in re.findall(r"([0-9.]+) USD\n", shown)],
            float(shown.split("about ")[-1].split()[0]),
        )

    _, of_runs, together = dry_run()
    assert of_runs[0] < of_runs[1]
    assert together == pytest.approx(of_runs[1], abs=1e-4)
    settings = openai_settings(load_params().judge)
    requests = all_requests(pairs_by_split(lambda path: path, "gist-1"), "strict", 0, settings)
    with CallStore(STORE) as store:
        store.note_batch("batch-7", [request.key for request in requests])
    shown, of_runs, together = dry_run()
    assert "48 in a batch that has not been collected, 0 to make" in shown
    assert of_runs[0] == 0
    assert together == pytest.approx(of_runs[1], abs=1e-4)


def test_an_unknown_run_is_refused(project: Path) -> None:
    with pytest.raises(ValueError, match=r"--run gist-7 is not among judged_runs"):
        CliRunner().invoke(app, ["dry-run", "--run", "gist-7"], catch_exceptions=False)


def test_a_missing_file_names_the_stage_that_makes_it(project: Path) -> None:
    with pytest.raises(ValueError, match=r"human\.jsonl does not exist here.*`dvc repro judge`"):
        CliRunner().invoke(app, ["reparse", "data/verdicts/gist-1/human.jsonl"], catch_exceptions=False)
    shutil.rmtree(project / "data/generations/gist-1")
    with pytest.raises(ValueError, match=r"`dvc repro generate`"):
        CliRunner().invoke(app, ["dry-run"], catch_exceptions=False)


def test_parsing_again_shows_what_changed(project: Path) -> None:
    def call(status: str, choice: str | None, raw: str) -> dict[str, object]:
        return {"status": status, "choice": choice, "raw": raw}

    calls = [
        call("unparsable", None, '{"choice": "B"}'),
        call("ok", "A", '{"choice": "A"}'),
        call("ok", "tie", "no"),
        call("failed", None, ""),
    ]
    record = {"is_language_model": True, "provider": "openai", "calls": calls}
    (project / "verdicts.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    shown = CliRunner().invoke(app, ["reparse", "verdicts.jsonl"], catch_exceptions=False)
    assert shown.output == "3 answers parsed again, 2 changed\n  ok tie -> unparsable: 1\n  unparsable -> ok B: 1\n"


@pytest.mark.parametrize(
    "line", ['{"calls": []}', '{"is_language_model": true, "provider": "x", "calls": [{"status": "ok"}]}']
)
def test_a_damaged_verdict_is_named_by_its_line(project: Path, line: str) -> None:
    (project / "verdicts.jsonl").write_text(f"\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"verdicts\.jsonl, line 2 is not a verdict"):
        CliRunner().invoke(app, ["reparse", "verdicts.jsonl"], catch_exceptions=False)
