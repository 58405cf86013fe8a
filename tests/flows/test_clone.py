"""A worker's clone is put at the commit and inputs of a stage; what arrives there is proved by its hash."""

import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.clone import fetch_file, hand_over, prepared, receive, require_clean
from flows.graph import read_graph
from flows.lockfile import lock_entry, put_entries, put_in_order, read_entries
from tasks.only_run import only_run
from tests.flows.project import Project, make_project
from tests.running import environment, git


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """A project whose whole graph was made, with a remote, and a clone of it that has nothing."""
    folder = tmp_path_factory.mktemp("two")
    project = make_project(folder / "project")
    project.dvc("remote", "add", "--default", "store", str(folder / "remote"))
    git(project.root, "commit", "-qam", "A remote")
    git(folder, "clone", "-q", str(project.root), str(folder / "clone"))
    project.dvc("repro")
    project.dvc("push")
    return project, folder / "clone"


def test_what_dvc_does_not_keep_travels_through_the_remote_by_its_hash(two: tuple[Project, Path]) -> None:
    project, clone = two
    stages = read_graph(project.root).stages
    entry = lock_entry(project.root, "judge")
    hand_over(project.root, stages["judge"], entry)
    receive(clone, read_graph(clone).stages, "report", {"judge": entry})
    assert (clone / "judge.json").read_bytes() == (project.root / "judge.json").read_bytes()
    assert lock_entry(clone, "judge") == entry

    # The object in the remote is damaged: it must not arrive.
    md5 = hashlib.md5((clone / "judge.json").read_bytes()).hexdigest()
    stored = next((project.root.parent / "remote").rglob(md5[2:]))
    (clone / "judge.json").unlink()
    stored.chmod(0o644)
    stored.write_text("damaged")
    with pytest.raises(ValueError, match=f"arrived .* instead of {md5}"):
        fetch_file(clone, "judge.json", md5)
    assert not (clone / "judge.json").exists()
    with pytest.raises(ValueError, match="cannot be fetched"):
        fetch_file(clone, "judge.json", "0" * 32)


def test_a_clone_with_changes_by_hand_is_refused_and_generated_files_are_not_changes(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    stages = read_graph(project.root).stages
    (project.root / "judge.json").write_text("{}")
    git(project.root, "add", "-f", "judge.json")
    git(project.root, "commit", "-qm", "Metrics in git")
    (project.root / "judge.json").write_text("{ }")
    (project.root / "params.yaml").write_text("runs: [a, b]\n")
    with (project.root / ".gitignore").open("a") as file:
        file.write("/another-out\n")
    assert require_clean(project.root, stages, "a test") == git(project.root, "rev-parse", "HEAD")
    (project.root / "work.py").write_text("")
    with pytest.raises(ValueError, match=r"changes in work\.py; commit or stash them"):
        require_clean(project.root, stages, "a test")


def test_a_source_that_git_does_not_know_is_a_change_and_other_files_are_none(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    graph = project.root / "dvc.yaml"
    graph.write_text(graph.read_text().replace("deps: [work.py]", "deps: [work.py, code]"))
    (project.root / "code").mkdir()
    (project.root / "code/known.py").touch()
    git(project.root, "add", "-A")
    git(project.root, "commit", "-qm", "A folder of code")
    stages = read_graph(project.root).stages
    (project.root / "nohup.out").touch()
    require_clean(project.root, stages, "a test")
    (project.root / "code/new.py").touch()
    with pytest.raises(ValueError, match=r"changes in code/new\.py; commit or stash them"):
        require_clean(project.root, stages, "a test")


def test_a_worker_waits_for_a_run_in_its_clone_and_does_not_discard_what_it_left(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    commit = git(project.root, "rev-parse", "HEAD")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(project.root), str(clone))

    def enter(params: str | None) -> threading.Event:
        entered = threading.Event()

        def use() -> None:
            with prepared(clone, commit, params):
                entered.set()

        threading.Thread(target=use, daemon=True).start()
        return entered

    params = (clone / "params.yaml").read_text()
    with only_run(clone):
        assert enter(params).wait(10), "what the run has is what the stage needs: it is the run's own"
        waiting = enter("runs: [a]\n")
        assert not waiting.wait(2.5), "the parameters were changed under a run"
    assert waiting.wait(10)
    assert (clone / "params.yaml").read_text() == "runs: [a]\n"
    with (
        prepared(clone, commit, params),
        pytest.raises(ValueError, match=r"a worker runs stages in .*clone; wait for them"),
        only_run(clone),
    ):
        pass
    with only_run(clone):
        (clone / "params.yaml").write_text("runs: [b]\n")
    with (
        pytest.raises(
            ValueError, match=r"would discard what a run of the pipeline, or a person, left in .*: params\.yaml;"
        ),
        prepared(clone, commit, "runs: [a]\n"),
    ):
        pass
    assert (clone / "params.yaml").read_text() == "runs: [b]\n"


USER = """
import sys, time
from pathlib import Path
from flows.clone import prepared
with prepared(Path(sys.argv[1]), sys.argv[2], None):
    print("in", flush=True)
    time.sleep(60)
"""


def test_a_clone_is_shared_by_one_commit_and_another_commit_waits(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    first = git(project.root, "rev-parse", "HEAD")
    clone = tmp_path / "clone"
    left_over, wanted = clone / "out/model/z.json", clone / "out/model/a.json"
    git(tmp_path, "clone", "-q", str(project.root), str(clone))
    (project.root / "work.py").write_text((project.root / "work.py").read_text() + "# later\n")
    git(project.root, "commit", "-qam", "Later")
    second = git(project.root, "rev-parse", "HEAD")

    def stages() -> dict[str, object]:
        return dict(read_graph(clone).stages)

    wanted.parent.mkdir(parents=True)
    for file in (left_over, wanted):
        file.write_text("{}")
    # Another process uses the clone at the first commit ...
    user = subprocess.Popen([sys.executable, "-c", USER, str(clone), first], env=environment(), stdout=subprocess.PIPE)
    try:
        assert user.stdout is not None
        assert user.stdout.readline() == b"in\n"
        with prepared(clone, first, None):  # type: ignore[arg-type]
            pass  # ... and shares it
        entered = threading.Event()

        def enter() -> None:
            with prepared(clone, second, "runs: [a]\n"):  # type: ignore[arg-type]
                entered.set()

        waiting = threading.Thread(target=enter)
        waiting.start()
        assert not entered.wait(2.5), "the clone was switched under a stage that runs"
        assert git(clone, "rev-parse", "HEAD") == first
    finally:
        user.kill()
        user.communicate()
    # ... and dies: its place is free at once. The commit is fetched, as the clone does not have it.
    assert entered.wait(30)
    waiting.join()
    assert git(clone, "rev-parse", "HEAD") == second
    assert (clone / "params.yaml").read_text() == "runs: [a]\n"
    assert wanted.exists()
    assert not left_over.exists(), "an out of a run that is none here would be an input of what reads the folder"


def test_a_commit_that_was_not_pushed_is_a_message(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(project.root), str(clone))
    with (
        pytest.raises(ValueError, match=r"commit 0{40} is in no remote of this clone \(.*\); push it, and run again"),
        prepared(clone, "0" * 40, None),
    ):
        pass


def test_what_a_person_keeps_in_a_clone_is_not_discarded_for_a_worker(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    notes = project.root / "out/model/notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    commit = git(project.root, "rev-parse", "HEAD")

    def stages() -> dict[str, object]:
        return dict(read_graph(project.root).stages)

    with (
        pytest.raises(ValueError, match=r"or a person, left in .*: out/model/notes\.txt; commit it or take it away"),
        prepared(project.root, commit, "runs: [a]\n"),
    ):
        pass
    assert notes.read_text() == "mine"
    assert (project.root / "params.yaml").read_text() != "runs: [a]\n"


def test_what_is_left_over_goes_though_a_worker_was_killed_before_it_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project")
    commit = git(project.root, "rev-parse", "HEAD")

    def stages() -> dict[str, object]:
        return dict(read_graph(project.root).stages)

    with prepared(project.root, commit, None):  # type: ignore[arg-type]
        pass  # from here on it is a worker's
    left_over = project.root / "out/model/z.json"
    left_over.parent.mkdir(parents=True)
    left_over.write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr("flows.clone._discard", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt), prepared(project.root, commit, "runs: [a]\n"):  # type: ignore[arg-type]
            pass
    assert left_over.exists()
    with prepared(project.root, commit, "runs: [a]\n"):  # type: ignore[arg-type]
        assert not left_over.exists()


def test_lock_entries_keep_their_place_and_new_ones_follow_the_graph(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    put_entries(project.root, {name: {"cmd": name} for name in ("report", "count", "split", "fetch")})
    put_in_order(project.root, ["fetch", "split", "count", "report"], before=["report"])
    assert list(read_entries(project.root / "dvc.lock")) == ["report", "fetch", "split", "count"]
    assert lock_entry(project.root, "split") == {"cmd": "split"}
    assert project.lock().startswith("schema: '2.0'\n")


def test_an_entry_that_travels_keeps_its_values_and_their_types(tmp_path: Path) -> None:
    """A learning rate of 2e-05 is a number to DVC, which writes it so, and a text to a reader of YAML 1.1."""
    values = {"rate": 2e-05, "switch": "on", "time": "12:30", "day": "2026-01-05", "octal": "017", "steps": 1_000}
    project = make_project(tmp_path / "project")
    put_entries(project.root, {"train@a": {"cmd": "train", "params": {"params.yaml": values}}})
    assert "rate: 2e-05\n" in project.lock()
    entry = lock_entry(project.root, "train@a")
    assert entry["params"]["params.yaml"] == values
    before = project.lock()
    put_entries(project.root, {"train@a": json.loads(json.dumps(entry))})
    assert project.lock() == before
