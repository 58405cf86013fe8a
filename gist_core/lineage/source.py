"""The state of the code: a git commit, and what in the working tree differs from it.

Only what a stage could read or import, and what its statement does not record otherwise, counts. What `dvc repro`
writes itself or no stage reads does not: `data/` and `reports/` (inputs are hashed one by one), dvc.lock,
.gitignore, docs/, tests/, benchmarks/, Markdown. Nor do params.yaml, conf/ and dvc.yaml: the parameters,
dependencies and command of a stage are in its statement. The commit is the last one that changed anything that
counts, so that committing results or a text does not make the same code look like other code, and two executions of
the graph agree whatever they have written meanwhile."""

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
        """`dirty_diff_sha256` is None for a tree that is as the commit says."""
        return {
            "commit": self.commit,
            "dirty": bool(self.changed),
            "dirty_diff_sha256": sha256_of_json(self.changed) if self.changed else None,
            "changed_files": self.changed,
        }


def source_state(root: Path) -> SourceState:
    """The commit that holds the code below `root`, and the files below `root` that differ from it."""
    head = git(root, "rev-parse", "--verify", "HEAD")
    if head is None:
        return SourceState(None, {})
    commit = git(root, "rev-list", "-1", "HEAD", "--", *PATHSPECS) or head
    prefix = (git(root, "rev-parse", "--show-prefix") or "").strip()
    options = ("--porcelain=v1", "-z", "--no-renames", "--untracked-files=all")
    status = git(root, "status", *options, "--", *PATHSPECS) or ""
    names = sorted(entry[3:].removeprefix(prefix) for entry in status.split("\0") if entry)
    changed = {name: sha256_of_path(root / name) if (root / name).is_file() else None for name in names}
    return SourceState(commit.strip(), changed)


def git(root: Path, *arguments: str) -> str | None:
    """Output of a read-only git command in `root`; None if it fails or there is no git."""
    try:
        done = subprocess.run(["git", "--no-optional-locks", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None
