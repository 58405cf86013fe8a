"""The state of the code: a git commit, and what in the working tree differs from it.

A file counts only if a stage could read or import it and the statement does not record it in another way. What
`dvc repro` itself writes, or no stage reads, does not count: `data/` and `reports/` (inputs are hashed one by one),
dvc.lock, .gitignore, docs/, tests/, benchmarks/, Markdown. Nor do params.yaml, conf/ and dvc.yaml: the parameters,
dependencies and command of a stage are in its statement. The commit is the last one that changed anything that counts.
So committing results or a text does not make the same code look like other code, and two executions of the graph agree
whatever they have written meanwhile."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gist_core.lineage.hashing import sha256_of_json, sha256_of_path

NOT_CODE_FOLDERS = ("data", "reports", "docs", "tests", "benchmarks", "conf", ".dvc", ".work")
NOT_CODE_FILES = ("dvc.lock", "dvc.yaml", "params.yaml", ".gitignore", ".dvcignore", "*.md")
PATHSPECS = (
    ".",
    *(f":(exclude){folder}" for folder in NOT_CODE_FOLDERS),
    *(f":(exclude,glob)**/{name}" for name in NOT_CODE_FILES),
)


@dataclass(frozen=True)
class SourceState:
    """commit: 40 hex digits, or None outside git. changed: SHA-256 by path of each file that differs (None:
    deleted)."""

    commit: str | None
    changed: dict[str, str | None]

    def as_json(self) -> dict[str, Any]:
        """As a statement records it. `dirty_diff_sha256` is None for a tree that is exactly at the commit."""
        return {
            "commit": self.commit,
            "dirty": bool(self.changed),
            "dirty_diff_sha256": sha256_of_json(self.changed) if self.changed else None,
            "changed_files": self.changed,
        }


def source_state(root: Path) -> SourceState:
    """The commit that holds the code below `root`, and the files below `root` that differ from it.

    Raises:
        ValueError: there is a git repository, but git cannot say what differs.
    """
    head = git(root, "rev-parse", "--verify", "HEAD")
    if head is None:
        if _in_repository(root):
            _demand(root, "status", "--porcelain=v1")  # works where only the first commit is missing
        return SourceState(None, {})
    commit = _demand(root, "rev-list", "-1", "HEAD", "--", *PATHSPECS) or head
    prefix = _demand(root, "rev-parse", "--show-prefix").strip()
    options = ("--porcelain=v1", "-z", "--no-renames", "--untracked-files=all")
    status = _demand(root, "status", *options, "--", *PATHSPECS)
    entries = [entry for entry in status.split("\0") if entry]
    # Of the files that git does not know, only modules can be imported; the others are somebody's own.
    counted = [entry for entry in entries if not entry.startswith("??") or entry.endswith(".py")]
    names = {entry[3:].removeprefix(prefix) for entry in counted} | _hidden_changes(root)
    changed = {name: sha256_of_path(root / name) if (root / name).is_file() else None for name in sorted(names)}
    return SourceState(commit.strip(), changed)


def _hidden_changes(root: Path) -> set[str]:
    """Files that differ from HEAD although git was told to take them as unchanged (assume-unchanged: a lower-case tag;
    skip-worktree: S)."""
    entries = [entry for entry in _demand(root, "ls-files", "-v", "-z", "--", *PATHSPECS).split("\0") if entry]
    marked = [entry[2:] for entry in entries if entry[0].islower() or entry[0] == "S"]
    return {
        name
        for name in marked
        if not (root / name).is_file()
        or git(root, "hash-object", "--", name) != git(root, "rev-parse", "--verify", f"HEAD:./{name}")
    }


def _in_repository(root: Path) -> bool:
    """Whether `root` is in a git repository and git is installed."""
    around = (root.resolve(), *root.resolve().parents)
    return shutil.which("git") is not None and any((folder / ".git").exists() for folder in around)


def _demand(root: Path, *arguments: str) -> str:
    output = git(root, *arguments)
    if output is None:
        command = f"git {arguments[0]}"
        raise ValueError(f"{command} failed in {root}, so the state of the code is unknown; run it there to see why")
    return output


def commit_time(root: Path, commit: str) -> float | None:
    """When a commit was made, in seconds since the epoch; None if it is not in the repository at `root`."""
    made = git(root, "show", "-s", "--format=%ct", commit)
    return float(made) if made else None


def git(root: Path, *arguments: str) -> str | None:
    """Output of a read-only git command in `root`; None if it fails or there is no git."""
    try:
        done = subprocess.run(["git", "--no-optional-locks", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None
