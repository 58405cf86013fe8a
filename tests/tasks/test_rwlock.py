"""A DVC that was killed while it wrote its list of locks must not stop the next one."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dvc.lock import make_lock

from tasks.rwlock import mend_rwlock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A DVC project of one stage that has never run."""
    assert dvc(tmp_path, "init", "--quiet", "--no-scm").returncode == 0
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: echo 1 > one, outs: [one]}}", encoding="utf-8")
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
