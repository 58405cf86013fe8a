"""`gist lineage ...`: what a person sees, and the exit codes."""

import json
import os
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.lineage import _console, app
from cli.lineage_trees import row_tree
from gist_core.lineage.audit import every_number
from gist_core.lineage.hashing import sha256_of_path
from gist_core.lineage.rows import RowEvent, RowHistory
from gist_core.lineage.why import Tracer
from tests.lineage import project

NUMBER = "reports/metrics.json:human.rouge_l.gist-1.mean_pct"


def test_why_prints_every_stage_with_commit_and_sources(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pedigree = Tracer(built).why(NUMBER)
    shown = _gist(built, monkeypatch, "why", NUMBER, "--files")
    assert shown.exit_code == 0
    for origin in pedigree.origins.values():
        assert origin.stage in shown.output
        assert str(origin.commit) in shown.output
    assert all(f"{path}" in shown.output and sha256 in shown.output for path, sha256 in pedigree.sources.items())
    assert "learning_rate" in shown.output
    found = json.loads(_gist(built, monkeypatch, "why", NUMBER, "--json").output)
    assert (found["value"], found["sources"]) == (pedigree.value, dict(pedigree.sources))


def test_why_of_a_changed_number_exits_1(toy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = toy / "reports/metrics.json"
    path.write_text(path.read_text().replace('"n": 3', '"n": 4'))
    shown = _gist(toy, monkeypatch, "why", "reports/metrics.json:human.rouge_l.gist-1.n")
    assert shown.exit_code == 1
    assert "counted again" in shown.output
    page = tmp_path / "page.html"
    assert _gist(toy, monkeypatch, "why", NUMBER, "--html", str(page)).exit_code == 1
    assert "is not the file that rouge made" in page.read_text()


def test_audit_follows_every_number(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audited = _gist(toy, monkeypatch, "audit")
    assert audited.exit_code == 0
    count = len([*every_number(toy)])
    assert f"{count:,} numbers followed to their sources: no problem" in audited.output
    path = toy / "reports/metrics.json"
    path.write_text(path.read_text().replace('"n": 3', '"n": 4'))
    changed = _gist(toy, monkeypatch, "audit")
    assert changed.exit_code == 1
    assert "reports/metrics.json:human.rouge_l.gist-1.n: " in changed.output
    found = json.loads(_gist(toy, monkeypatch, "audit", "--json").stdout)
    assert len(found) == count
    assert any(number["problems"] for number in found)


@pytest.mark.parametrize("output", ["params.yaml", "data/models/gist-1/README.md", "reports/metrics.json"])
def test_what_the_lineage_rests_on_is_not_written_over(toy: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in toy.rglob("*") if ".dvc" not in path.parts)
    for command in (("export", "openlineage", "--output", output), ("why", NUMBER, "--html", output)):
        with pytest.raises(ValueError, match="which the lineage rests on; write it elsewhere"):
            _gist(toy, monkeypatch, *command)
    assert before == sorted((path, path.stat().st_mtime_ns) for path in toy.rglob("*") if ".dvc" not in path.parts)


def test_row_shows_its_generations_and_scores(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = json.loads((built / "data/generations/gist-1/seen.jsonl").read_text().splitlines()[0])
    shown = _gist(built, monkeypatch, "row", row["row_id"][:10]).output
    assert row["row_id"] in shown
    assert all(f"generate@{run}" in shown for run in project.RUNS)
    assert "rouge_l_pct" in shown


def test_texts_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    told = "rate it :star: [b]now[/b] \x1b[31mred \x9b2J \u202ethgir \ud83d \0"
    event = RowEvent("generate@gist-1", "data/x.jsonl", 1, {"prediction": told})
    _console().print(row_tree(RowHistory("0" * 32, {}, {}, (event,), ())))
    shown = "rate it :star: [b]now[/b] \\x1b[31mred \\x9b2J \\u202ethgir \\ud83d \\x00"
    assert shown in capsys.readouterr().out


def test_verify_reads_the_remote_and_names_what_differs(
    toy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    project.run(toy, "dvc", "remote", "add", "-q", "-d", "store", str(remote))
    project.run(toy, "dvc", "push", "-q")
    clean = _gist(toy, monkeypatch, "verify")
    assert clean.exit_code == 0
    assert "workspace, cache, remote store: nothing differs" in clean.output
    objects = sorted(path for path in remote.rglob("*") if path.is_file() and path.stat().st_size)
    victim = random.Random(2).choice(objects)
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[:-1] + b"~")
    found = _gist(toy, monkeypatch, "verify", "--json")
    assert found.exit_code == 1
    assert [finding["path"] for finding in json.loads(found.stdout)["findings"]] == [str(victim)]
    assert _gist(toy, monkeypatch, "verify", "--no-remote").exit_code == 0


def test_verify_counts_the_stages_that_no_statement_speaks_for(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.run(toy, "git", "clean", "-q", "-f", "-d", "-X")
    shown = _gist(toy, monkeypatch, "verify")
    assert shown.exit_code == 0
    assert "nothing differs; 13 of 13 stages could not be checked against a statement" in shown.output


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/x", "nowhere"])
def test_verify_refuses_a_remote_that_cannot_be_reached(
    toy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    url = place if ":" in place else str(tmp_path / place)
    project.run(toy, "dvc", "remote", "add", "-q", "-d", "store", url)
    with pytest.raises(ValueError, match=r"remote store .*(cannot be reached|does not exist).*--no-remote"):
        _gist(toy, monkeypatch, "verify")


def test_the_password_of_a_remote_is_not_shown(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.run(toy, "dvc", "remote", "add", "-q", "--local", "far", "http://alice:secret@127.0.0.1:9/dvc")
    with pytest.raises(ValueError, match=r"remote far \(http://127.0.0.1:9/dvc") as told:
        _gist(toy, monkeypatch, "verify", "--remote", "far")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("name", ["z\x1b[2K.jsonl", os.fsdecode(b"\xff.jsonl"), "a\nb.jsonl"])
def test_a_name_that_would_steer_a_terminal_hides_no_finding(
    toy: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (toy / "data/generations/gist-1" / name).touch()
    (toy / "reports/metrics.json").write_text("{}")
    shown = _gist(toy, monkeypatch, "verify")
    assert shown.exit_code == 1
    assert "workspace: reports/metrics.json: it is not the file that rouge made" in shown.output
    assert all(line.isprintable() for line in shown.output.splitlines())
    assert "jsonl" in shown.output


def test_diff_with_itself_finds_nothing(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _gist(built, monkeypatch, "diff", "HEAD")
    assert (shown.exit_code, "no statement differs" in shown.output) == (0, True)


def test_export_writes_a_file(built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "card.md"
    assert _gist(built, monkeypatch, "export", "model-card", "--run", "gist-1", "--output", str(target)).exit_code == 0
    assert sha256_of_path(built / "data/models/gist-1/model.safetensors") in target.read_text()


def _gist(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(root)
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)
