"""What tests need that run processes: their environment, repositories, and waiting for what a process does."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def environment(**more: str) -> dict[str, str]:
    """This environment with the interpreter's folder first in PATH, and this project importable."""
    repository = Path(__file__).resolve().parents[1]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "PYTEST_"))}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    env["PYTHONPATH"] = str(repository)
    env["DVC_NO_ANALYTICS"] = "1"
    return env | more


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *arguments],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def make_repository(root: Path) -> None:
    """Git and DVC in a folder, nothing added. Without a process for `dvc init`, because many tests begin with it."""
    from dvc.repo import Repo

    git(root, "init", "-q", "-b", "main")
    Repo.init(str(root)).close()


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> bool:
    """Whether the condition came to hold in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
