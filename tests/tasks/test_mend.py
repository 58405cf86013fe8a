"""A DVC that was killed while it wrote a file must not stop the next one."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from dvc.lock import make_lock
from dvc.repo import Repo

from tasks.mend import mend_lock, mend_rwlock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A DVC project of one stage that has never run; `log` counts its runs."""
    Repo.init(str(tmp_path), no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text(
        "stages: {one: {cmd: echo >> log; echo 1 > one, deps: [given], outs: [one]}}", encoding="utf-8"
    )
    (tmp_path / "given").write_text("1", encoding="utf-8")
    return tmp_path


def dvc(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True)


@pytest.mark.parametrize("left", ["", '{"write": {"/tm'])
def test_what_dvc_refuses_is_removed_and_dvc_goes_on(root: Path, left: str) -> None:
    (root / ".dvc/tmp/rwlock").write_text(left, encoding="utf-8")
    assert "Unable to read RWLock-file" in dvc(root, "repro").stderr
    assert mend_rwlock(root)
    again = dvc(root, "repro")
    assert again.returncode == 0, again.stderr
    assert not mend_rwlock(root), "a whole file stays"


def test_what_stands_in_the_name_of_another_process_is_removed_and_what_else_stays(root: Path) -> None:
    path, given, other = root / ".dvc/tmp/rwlock", str(root / "given"), str(root / "other")
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleep) as another, subprocess.Popen([*sleep, "dvc", "repro"]) as living:
        dead = {"pid": another.pid, "cmd": "dvc repro"}  # whose number another process has got
        alive = {"pid": living.pid, "cmd": "dvc repro other"}
        path.write_text(
            json.dumps({"read": {given: [dead], other: [alive, dead]}, "write": {str(root / "one"): dead}}),
            encoding="utf-8",
        )
        assert not mend_rwlock(root), "this process may have written it"
        assert "is busy" in dvc(root, "repro").stderr
        os.utime(path, (0, 0))
        assert mend_rwlock(root)
        assert json.loads(path.read_text()) == {"read": {given: [], other: [alive]}, "write": {}}
        again = dvc(root, "repro")
        assert again.returncode == 0, again.stderr
        assert not mend_rwlock(root)
        for process in (another, living):
            process.kill()


def test_a_zombie_holds_nothing(root: Path) -> None:
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    path = root / ".dvc/tmp/rwlock"
    path.write_text(
        json.dumps({"write": {str(root / "one"): {"pid": zombie.pid, "cmd": "dvc repro"}}}), encoding="utf-8"
    )
    assert "is busy" in dvc(root, "repro").stderr
    assert mend_rwlock(root)
    assert dvc(root, "repro").returncode == 0
    zombie.wait()


@pytest.mark.parametrize(
    "form", ["null", "[]", '{"read": null}', '{"write": {"a": {}}}', '{"write": {"a": {"pid": -1}}}']
)
def test_json_of_another_form_is_left_to_dvc(root: Path, form: str) -> None:
    path = root / ".dvc/tmp/rwlock"
    path.write_text(form, encoding="utf-8")
    assert not mend_rwlock(root)
    assert path.read_text(encoding="utf-8") == form


def test_a_file_that_is_just_being_written_is_left_alone(root: Path) -> None:
    path = root / ".dvc/tmp/rwlock"
    said: list[bool] = []
    with make_lock(str(path) + ".lock", tmp_dir=str(path.parent)):
        path.write_text("", encoding="utf-8")
        mending = threading.Thread(target=lambda: said.append(mend_rwlock(root)))
        mending.start()
        time.sleep(1.0)
        assert not said, "it waits for the writer"
        path.write_text("{}", encoding="utf-8")
    mending.join(10)
    assert said == [False]
    assert path.read_text(encoding="utf-8") == "{}"


@pytest.mark.parametrize("kept_bytes", [0, 10])
def test_a_lock_that_dvc_refuses_makes_way_and_nothing_is_computed_again(root: Path, kept_bytes: int) -> None:
    assert dvc(root, "repro").returncode == 0
    lock = root / "dvc.lock"
    whole = lock.read_bytes()
    assert not mend_lock(root), "a whole file stays"
    lock.write_bytes(whole[:kept_bytes])
    assert dvc(root, "repro").returncode != 0
    assert mend_lock(root)
    again = dvc(root, "repro")
    assert again.returncode == 0, again.stderr
    assert (root / "log").read_text(encoding="utf-8") == "\n", "it came from the run cache"
    assert lock.read_bytes() == whole
    assert (root / ".dvc/tmp/dvc.lock.broken").read_bytes() == whole[:kept_bytes]


def test_a_lock_in_the_middle_of_a_merge_is_left_alone(root: Path) -> None:
    merging = "schema: '2.0'\nstages:\n<<<<<<< HEAD\n  one: {}\n=======\n  two: {}\n>>>>>>> theirs\n"
    (root / "dvc.lock").write_text(merging, encoding="utf-8")
    assert not mend_lock(root)
    assert (root / "dvc.lock").read_text(encoding="utf-8") == merging
