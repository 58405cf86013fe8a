"""How a stage ends: its exit code, and what becomes of its work in progress."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.paths import PROJECT, project_of
from tasks.stage import TRY_LATER, Stage
from tasks.train import _what_ended
from tasks.train_worker import ERROR_FILE
from tests.running import environment, git, make_repository

ROOT = Path(__file__).resolve().parents[2]
STAGE = '''
"""A stage that does what its dependency says."""
import pathlib
from tasks.stage import stage_main


def run(stage):
    exec(stage.dep(pathlib.Path("what")).read_text())
    (stage.work_dir / "half").touch()
    with stage.out(pathlib.Path("out")) as out:
        out.write_text("done")


stage_main("one", run)
'''
DVC_YAML = """
stages:
  one: {cmd: python one.py, deps: [one.py, what], params: [train], outs: [out, data/statements/one.json]}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "one.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    make_repository(tmp_path)
    return tmp_path


def run(root: Path, what: str, *command: str) -> "subprocess.CompletedProcess[str]":
    (root / "what").write_text(what)
    return subprocess.run(
        [sys.executable, *(command or ("one.py",))], cwd=root, env=environment(), capture_output=True, text=True
    )


@pytest.mark.parametrize(("error", "code"), [("ValueError", 2), ("ConnectionError", TRY_LATER)])
def test_a_mistake_and_a_server_that_is_away_are_one_line_and_two_exit_codes(root: Path, error: str, code: int) -> None:
    done = run(root, f"raise {error}('so it is')")
    assert done.returncode == code
    assert done.stderr == "tasks.one: so it is\n"


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("raise KeyboardInterrupt", 130, "interrupted"),
        (
            "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); open('big', 'w').write('x' * 1000)",
            2,
            "a file of this stage in {} cannot be used: File too large",
        ),
    ],
    ids=["Ctrl-C", "full"],
)
def test_an_interrupt_and_a_full_disk_are_one_line(root: Path, what: str, code: int, said: str) -> None:
    done = run(root, what)
    assert done.returncode == code
    assert done.stderr == f"tasks.one: {said.format(root)}\n"


def test_other_errors_of_files_are_shown_whole(root: Path) -> None:
    done = run(root, "open('missing')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_dependency_that_is_missing_is_named(root: Path) -> None:
    graph = root / "dvc.yaml"
    graph.write_text(graph.read_text().replace("deps: [one.py, what]", "deps: [one.py, what, other]"))
    done = run(root, "pass")
    assert done.returncode == 2
    assert (
        done.stderr == "tasks.one: stage one needs other, which is missing; `dvc repro one` makes what a stage makes\n"
    )


def test_code_that_dvc_does_not_watch_is_named_before_the_stage_runs(root: Path) -> None:
    (root / "tasks").mkdir()
    (root / "tasks/one.py").write_text("import tasks.two")
    (root / "tasks/two.py").touch()
    done = run(root, "raise KeyError")
    assert done.returncode == 2
    assert "tasks.one: stage one runs tasks/one.py, tasks/two.py, which dvc.yaml does not name" in done.stderr


@pytest.mark.parametrize(
    ("mistake", "code", "kind", "said"),
    [
        ("no rows", 2, ValueError, r"failed in a worker \(exit code 2\): no rows; started again"),
        (None, 1, RuntimeError, r"\(exit code 1\): messages above"),
        (None, 137, SystemExit, "^137$"),
        (None, -15, SystemExit, "^143$"),
    ],
)
def test_the_end_of_a_worker_is_a_mistake_a_defect_or_a_kill(
    tmp_path: Path, mistake: str | None, code: int, kind: type[BaseException], said: str
) -> None:
    if mistake is not None:
        (tmp_path / ERROR_FILE).write_text(mistake)
    with pytest.raises(kind, match=said):
        raise _what_ended("gist-1", tmp_path / ERROR_FILE, code)


def test_work_goes_when_dvc_has_recorded_it_and_not_before(root: Path) -> None:
    assert run(root, "1").returncode == 0
    (work,) = (root / ".work/one").iterdir()
    (root / "dvc.lock").write_text("schema: '2.0'\n")
    (work / "made.md5").write_text("")  # as a power cut leaves it
    assert run(root, "2").returncode == 0
    assert (work / "half").exists(), "nobody has recorded it"
    assert run(root, "3", "-m", "dvc", "repro").returncode == 0
    assert run(root, "4").returncode == 0
    recorded = [folder for folder in (root / ".work/one").iterdir() if folder != work]
    assert len(recorded) == 2, "of the second, which DVC did not see, and of the fourth"


def test_a_night_or_an_experiment_in_a_copy_has_what_outlives_it_in_its_project(tmp_path: Path) -> None:
    for folder in (".dvc/tmp/exps/tmpk3o", ".dvc/tmp/exps/standalone/tmp9x"):
        assert project_of(tmp_path / folder) == tmp_path
    night = tmp_path / "on another disk"
    (night / PROJECT).parent.mkdir(parents=True)
    (night / PROJECT).write_text(str(tmp_path))
    assert project_of(night) == tmp_path
    for project in (tmp_path, tmp_path / "exps/one"):
        assert project_of(project) == project


def test_a_killed_experiment_is_taken_up_by_the_next(root: Path) -> None:
    """DVC removes the copy in which `dvc exp run --temp` and `--queue` work, whatever became of it."""
    (root / "two.py").write_text(STAGE.replace('"one"', '"two"').replace('"out"', '"out of two"'))
    two = "  two: {cmd: python two.py, deps: [two.py, what, out], outs: [out of two, data/statements/two.json]}\n"
    (root / "dvc.yaml").write_text(DVC_YAML + two)
    (root / "what").write_text(
        "if not (h := stage.work_dir / 'half').exists():\n h.touch()\n import os\n os.kill(os.getpid(), 9)"
    )
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "A project")
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp"]
    ran = [subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True) for _ in range(3)]
    assert [done.returncode != 0 for done in ran] == [True, True, False], "each stage is killed once"
    (work,) = (root / ".work/copies").glob("*/*/half")
    assert work.parts[-3] == "two", "that of one went when DVC kept what it made"
    log = (root / "data/statements/runs/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in log] == ["one", "two"]
    assert run(root, "4").returncode == 0
    assert not work.exists(), "a stage of the project removes it too"


def test_experiments_that_do_the_same_work_at_once_stay_apart(root: Path) -> None:
    (root / "what").touch()
    copies = [shutil.copytree(root, root / ".dvc/tmp/exps" / name, ignore=lambda *_: ["tmp"]) for name in ("a", "b")]
    first, second = (Stage("one", Path(copy), []) for copy in copies)
    assert first.work_dir.parent == root / ".work/copies/one"
    assert second.work_dir.parent == root / ".dvc/tmp/exps/b/.work/one"
    (first.work_dir / "made.md5").write_text("01" * 16)
    kept = Path(copies[1]) / ".dvc/cache/files/md5/01"
    kept.mkdir(parents=True)
    (kept / ("01" * 15)).touch()
    second._work.remove_recorded(kept.parent)
    assert first.work_dir.exists(), "it is in use"
    assert first._work._lock is not None
    first._work._lock.release()
    second._work.remove_recorded(kept.parent)
    assert not first.work_dir.exists()


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        ("open('what', 'a').write('#')", "what"),
        ("pathlib.Path('what').unlink()", "what"),
        (
            "p = pathlib.Path('params.yaml'); p.write_text(p.read_text().replace('steps: 200', 'steps: 9'))",
            "train in params.yaml",
        ),
    ],
)
def test_what_changes_under_a_running_stage_is_not_recorded_as_what_it_ran_with(
    root: Path, edit: str, named: str
) -> None:
    done = run(root, edit, "-m", "dvc", "repro")
    assert done.returncode
    assert f"changed while stage one ran: {named}; DVC would take" in done.stderr
    assert not (root / "dvc.lock").exists()


@pytest.mark.parametrize("edit", ["pathlib.Path('what').touch()", "open('params.yaml', 'a').write('# a remark')"])
def test_a_file_that_is_written_again_as_it_was_is_no_change(root: Path, edit: str) -> None:
    assert run(root, edit, "-m", "dvc", "repro").returncode == 0
