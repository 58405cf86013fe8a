"""Statements: what they hold, and that two executions write the same bytes."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gist_core.lineage.hashing import Artifact, FileDigest, digest_path, dir_hash, sha256_of_path
from gist_core.lineage.ledger import Ledger, Statement
from gist_core.lineage.lockfile import form_problems, parse_lock
from gist_core.lineage.runlog import LOG, Stopwatch, append_run, log_problems, runs_of
from gist_core.lineage.source import source_state
from tasks.sections import RunParams
from tests.lineage import project


def test_a_forced_run_at_the_same_commit_leaves_the_same_lock(toy: Path) -> None:
    before = (toy / "dvc.lock").read_text()
    log = (toy / "data/statements/runs/log.jsonl").read_text()
    (toy / "docs").mkdir()
    (toy / "docs" / "note.md").write_text("no stage reads this")
    (toy / "cache.safetensors").write_bytes(b"what somebody keeps here")
    project.repro(toy, "--force", "--no-run-cache", "--single-item", "train@gist-1", "rouge", "report")
    assert (toy / "dvc.lock").read_text() == before
    assert len((toy / "data/statements/runs/log.jsonl").read_text()) > len(log)
    assert project.run(toy, "git", "status", "--short").split() == ["??", "cache.safetensors", "??", "docs/"]


def test_the_digests_of_statements_are_those_that_dvc_takes(built: Path) -> None:
    ledger = Ledger.of_workspace(built)
    locked = parse_lock((built / "dvc.lock").read_text())
    assert len(locked) == len(ledger.statements) == 13
    for name, stage in locked.items():
        stated = ledger.statements[name].declared
        assert {path: entry.md5 for path, entry in stage.deps.items()} == {
            path: entry["digest"]["md5"] for path, entry in stated["deps"].items()
        }


@pytest.mark.parametrize(
    "key", ["hardware", "cpu", "gpus", "packages", "lock_file", "row_ids_sha256", "size", "sha256"]
)
def test_what_lacks_anything_that_is_read_is_no_statement(built: Path, key: str) -> None:
    text = (built / "data/statements/generate@gist-1.json").read_text()
    assert Statement.parse(text).stage == "generate@gist-1"
    content = json.loads(text, object_hook=lambda node: {name: value for name, value in node.items() if name != key})
    with pytest.raises(ValueError, match=f"it is not a statement of this pipeline .*{key}"):
        Statement.parse(json.dumps(content))


def test_a_statement_names_rows_commit_parameters_and_environment(built: Path) -> None:
    statement = Ledger.of_workspace(built).statements["train@gist-1"]
    assert statement.source["commit"] == project.run(built, "git", "rev-parse", "HEAD~1").strip()
    assert not statement.source["dirty"]
    assert (
        statement.parameters["runs.gist-1"]
        == RunParams(condition="gist", num_gist_tokens=1, start="data/base_model").model_dump()
    )
    assert statement.environment["lock_file"]["digest"]["sha256"] == sha256_of_path(built / "requirements.lock")
    assert "dvc" in statement.environment["packages"]
    assert statement.environment["variables"] == {"OMP_NUM_THREADS": "1"}
    assert statement.facts == {"seed": 0}
    assert statement.not_reproducible is None
    rows = Ledger.of_workspace(built).statements["generate@gist-1"].annotations["data/generations/gist-1/seen.jsonl"]
    data = Ledger.of_workspace(built).statements["alpaca_plus"].annotations["data/alpaca_plus/seen.parquet"]
    assert (rows["rows"], rows["row_ids_sha256"]) == (3, data["row_ids_sha256"])


def test_a_benchmark_says_that_it_does_not_repeat(built: Path) -> None:
    assert "measures time" in str(Ledger.of_workspace(built).statements["benchmark@gist-1"].not_reproducible)


def test_the_dirty_hash_sees_code_and_not_what_a_run_writes(toy: Path) -> None:
    clean = source_state(toy)
    assert not clean.changed
    for name in ("dvc.lock", "params.yaml", "data/.gitignore", "reports/metrics.json", "data/generations/.gitignore"):
        with (toy / name).open("a") as file:
            file.write("\n")
    assert source_state(toy) == clean
    (toy / "tasks" / "new.py").write_text("x = 1\n")
    (toy / "tasks" / "rouge.py").unlink()
    dirty = source_state(toy)
    assert set(dirty.changed) == {"tasks/new.py", "tasks/rouge.py"}
    assert dirty.changed["tasks/rouge.py"] is None
    (toy / "tasks" / "new.py").write_text("x = 2\n")
    assert source_state(toy).as_json()["dirty_diff_sha256"] != dirty.as_json()["dirty_diff_sha256"]


def test_a_commit_of_results_is_no_other_code(toy: Path) -> None:
    before = source_state(toy)
    (toy / "reports" / "note.json").write_text("{}")
    project.commit(toy, "More results")
    assert source_state(toy) == before
    (toy / "tasks" / "new.py").write_text("x = 1\n")
    assert source_state(toy).commit == before.commit
    assert source_state(toy).commit != project.commit(toy, "Code")
    assert source_state(toy).commit == project.run(toy, "git", "rev-parse", "HEAD").strip()


def test_outside_git_there_is_no_commit(toy: Path) -> None:
    shutil.rmtree(toy / ".git")
    assert source_state(toy).commit is None


@settings(max_examples=50)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 3), min_size=1))
def test_a_folder_hash_changes_with_a_name_a_content_or_a_missing_file(files: dict[str, int]) -> None:
    digests = {name: f"{content:064x}" for name, content in files.items()}
    first = next(iter(digests))
    others = [
        digests | {first: f"{9:064x}"},
        digests | {first + "z": f"{0:064x}"},
        {name: digest for name, digest in digests.items() if name != first},
    ]
    assert dir_hash(digests) not in {dir_hash(other) for other in others}


def test_a_name_with_a_line_break_is_refused_with_which_two_folders_would_have_one_hash(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    for name in ("a", "b"):
        (tmp_path / "one" / name).write_text(name)
    hash_of_b = sha256_of_path(tmp_path / "one/b")
    (tmp_path / "other").mkdir()
    (tmp_path / f"other/a\n{hash_of_b}  b").write_text("a")
    with pytest.raises(ValueError, match="holds a line break"):
        sha256_of_path(tmp_path / "other")


def test_a_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_bytes(b"abc")
    (tmp_path / "folder" / ".gitignore").write_bytes(b"/a.txt\n")
    folder, file = digest_path(tmp_path / "folder"), digest_path(tmp_path / "folder" / "a.txt")
    # SHA-256 and MD5 of "abc": FIPS 180-2 appendix B.1 and RFC 1321 appendix A.5.
    abc = FileDigest(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "900150983cd24fb0d6963f7d28e17f72", 3
    )
    assert file == Artifact(False, {"": abc})
    assert folder.files == {"a.txt": abc}
    assert folder.md5.endswith(".dir")
    with pytest.raises(ValueError, match="does not exist"):
        digest_path(tmp_path / "nothing")


def test_the_form_of_dvc_lock_is_dvcs(built: Path) -> None:
    text = (built / "dvc.lock").read_text()
    assert form_problems(text) == []
    assert form_problems(text[:-1])
    assert form_problems(text.replace("    deps:", "    deps:  # these", 1))
    assert form_problems("# first\n" + text)
    assert form_problems(text.replace("  report:", "  # a comment\n  report:", 1))
    assert form_problems(text.replace("cmd: ", "cmd:  ", 1))


def test_long_texts_in_the_lock_are_as_dvc_writes_them() -> None:
    from dvc.utils.serialize import dumps_yaml

    note = "Trained on two cores in twenty minutes, with other work beside it for half of the time; " * 3
    params = {
        "report.notes": [note.strip(), "short"],
        "report.title": note,
        "revision": "a" * 90,
        "q": note + "it's: so",
        **{f"sign{n}": "a " * n + "# and a sign at the begin of a line" for n in range(30, 45)},
        **{
            str(n): value
            for n, value in enumerate(["on", "no", "12:30", "2026-01-05", "1_000", "1e5", "017", "~", "=", ""])
        },
        **{f"n{n}": value for n, value in enumerate([1e-05, 2.5e-7, 1e22, 17, -0.5, True, None])},
    }
    text = dumps_yaml({"schema": "2.0", "stages": {"report": {"cmd": "python", "params": {"params.yaml": params}}}})
    assert any(line.endswith(" ") for line in text.splitlines())
    assert form_problems(text) == []
    found = parse_lock(text)["report"].params
    assert [(key, type(value), value) for key, value in found.items()] == [(k, type(v), v) for k, v in params.items()]
    for one in ("cmd: python", "short"):
        assert form_problems(text.replace(one, one + " "))
    with pytest.raises(ValueError, match="schema"):
        parse_lock(json.dumps({"stages": {}}))


def test_a_number_that_dvc_has_written_twice_is_as_dvc_writes_it(tmp_path: Path) -> None:
    """Written for another stage again, 3.3333333333333335e-05 has another last digit, and is the same number."""
    from dvc.utils.serialize import modify_yaml

    lock = tmp_path / "dvc.lock"
    for stage in ("first", "second"):
        with modify_yaml(str(lock)) as content:
            content.setdefault("schema", "2.0")
            params = {"params.yaml": {"rate": 1e-4 / 3, "rates": [1e-4 / 3]}}
            content.setdefault("stages", {})[stage] = {"cmd": "python", "params": params}
    text = lock.read_text()
    assert text.count("3.3333333333333334e-05") == text.count("3.3333333333333335e-05") == 2
    assert form_problems(text) == []
    assert form_problems(text.replace("3.3333333333333334e-05", "3.3333333333333334E-05"))
    assert parse_lock(text)["first"].params == parse_lock(text)["second"].params
    for tag in ("!!bool foo", "!!int ''"):
        with pytest.raises(ValueError, match="it is not YAML"):
            parse_lock(text.replace("cmd: python", f"cmd: {tag}"))


def test_a_clock_set_back_shows_and_a_machine_that_stood_still_does_not(tmp_path: Path) -> None:
    """Lines as two stages write them, ten seconds after each other, on a clock that was moved between them by
    `shift`."""
    for shift, words in ((0, None), (3600, None), (-60, "set back by 60 s"), (-3600, "before it at")):
        root = tmp_path / str(shift)
        for number, moved in enumerate((0, shift)):
            begin = 1_800_000_000 - 86_400 * 365 * 3 + number * 10 + moved
            times = {"started": begin, "finished": begin + 5, "booted": 1_600_000_000 + moved}
            iso = {key: datetime.fromtimestamp(value, UTC).isoformat() for key, value in times.items()}
            append_run(
                root, {"stage": f"s{number}", "host": "h", "boot": "b", "commit": None, "duration_s": 5.0, **iso}
            )
        problems = log_problems(root, {})
        assert [stage for stage, _ in problems if words] == ["s1"] * len(problems)
        assert any(words in problem for _, problem in problems) if words else problems == []


def test_a_line_that_a_kill_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    record = {"stage": "s", "host": "h", "commit": None} | Stopwatch.start().read()
    append_run(tmp_path, record | {"statement": "a"})
    with (tmp_path / LOG).open("a") as log:
        log.write('{"stage": "s", "sta')
    append_run(tmp_path, record | {"statement": "b"})
    assert [len(runs_of(tmp_path, statement)) for statement in "ab"] == [1, 1]
    assert log_problems(tmp_path, {}) == [("", "line 2 is not a record of a run")]


def test_a_run_before_its_commit_shows(tmp_path: Path) -> None:
    record = {"stage": "s", "statement": "0" * 64, "commit": "c", "host": "h"} | Stopwatch.start().read()
    append_run(tmp_path, record)
    now = datetime.fromisoformat(record["started"]).timestamp()
    assert log_problems(tmp_path, {"c": now - 1}) == []
    assert "before its commit" in log_problems(tmp_path, {"c": now + 3600})[0][1]
    assert [line["stage"] for line in runs_of(tmp_path, "0" * 64)] == ["s"]


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_a_change_that_git_was_told_to_overlook_counts(toy: Path, mark: str) -> None:
    project.run(toy, "git", "update-index", mark, "tasks/stage.py")
    assert not source_state(toy).changed
    with (toy / "tasks/stage.py").open("a") as code:
        code.write("# another line\n")
    assert list(source_state(toy).changed) == ["tasks/stage.py"]


def test_a_git_that_fails_is_no_clean_tree(toy: Path) -> None:
    (toy / ".git/index").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="so the state of the code is unknown"):
        source_state(toy)
