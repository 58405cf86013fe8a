"""Brings a worker's clone to the commit, parameters and inputs that a stage needs, whatever it was used for before.

Artifacts travel through the DVC remote, addressed by their hashes. Files that DVC does not keep (`cache: false`: metrics,
the report) go there too, under their MD5, so that a stage on another machine finds them.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from flows.graph import StageNode, read_graph
from flows.lockfile import put_entries
from gist_core.lineage.hashing import md5_of_bytes
from gist_core.lineage.outs import of_no_stage
from tasks import paths
from tasks.only_run import STATE, USERS


def git(root: Path, *arguments: str) -> str:
    """Runs git in `root`. Raises ValueError with git's own message."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(without_passwords(f"git {' '.join(arguments)} in {root} failed: {done.stderr.strip()}"))
    return done.stdout.strip()


def without_passwords(text: str) -> str:
    """The text without the user names and passwords in its addresses, for logs and messages."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)


def changed_files(root: Path, *, but: AbstractSet[str] = frozenset()) -> list[str]:
    """Tracked files that differ from the commit, except those in `but`."""
    return [line for line in git(root, "diff", "HEAD", "--name-only").splitlines() if line not in but]


def generated_files(stages: Mapping[str, StageNode]) -> set[str]:
    """Tracked files that a run may change without making the tree dirty: dvc.lock, params.yaml, outs that git keeps, and
    the `.gitignore` beside each out, to which DVC adds the out."""
    ignored = {str(Path(out).with_name(".gitignore")) for stage in stages.values() for out in stage.outs}
    return {"dvc.lock", "params.yaml"} | ignored | {path for stage in stages.values() for path in stage.uncached}


def require_clean(root: Path, stages: Mapping[str, StageNode], what: str) -> str:
    """The commit of a work tree without changes. Raises ValueError that names the changed tracked files, except generated
    ones, and those files that a stage reads and git does not know."""
    changed = changed_files(root, but=generated_files(stages))
    sources = sorted({path for stage in stages.values() for path in stage.sources})
    if sources:
        changed += git(root, "ls-files", "--others", "--exclude-standard", "--", *sources).splitlines()
    if changed:
        raise ValueError(
            f"{what} runs a commit, but the work tree of {root} has changes in {', '.join(changed)}; "
            "commit or stash them"
        )
    return git(root, "rev-parse", "HEAD")


@contextmanager
def prepared(root: Path, commit: str, params: str | None) -> Iterator[None]:
    """Puts the clone at `commit` with these parameters, and keeps it there until the block ends.

    Stages with the same commit and parameters share the clone. A stage with others waits until those have ended, and until
    a run of the pipeline in this clone itself has ended.

    commit: 40 hex digits; fetched if it is not there. params: the text of params.yaml, or None to leave it.

    Raises:
        ValueError: the commit cannot be fetched, or files were changed by hand or by a run of the pipeline here.
    """
    (root / USERS).parent.mkdir(parents=True, exist_ok=True)
    state = hashlib.sha256(f"{commit}\n{params}".encode()).hexdigest()
    with (root / USERS).open("a") as users:
        while True:
            with FileLock((root / USERS).with_name("clone.lock")):
                if _taken(root, users, state, commit, params):
                    fcntl.flock(users, fcntl.LOCK_SH)
                    break
                fcntl.flock(users, fcntl.LOCK_UN)
            time.sleep(1.0)
        yield


def _taken(root: Path, users: IO[str], state: str, commit: str, params: str | None) -> bool:
    """Whether the clone has the wanted state now: if nobody uses it, it is brought to that state; if others do, they must
    have the same one. The kernel releases a lock when its process ends, however it ends."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _state(root) == state
    before = _state(root)
    moves = git(root, "rev-parse", "HEAD") != commit
    rewrites = params is not None and (root / "params.yaml").read_text(encoding="utf-8") != params
    pipeline_lock = root / paths.WORK / "pipeline.lock"  # the one that tasks/only_run.py holds
    try:
        # A worker that was killed half-way may have checked out the commit and not yet removed what was left over.
        changes = moves or rewrites or before not in (None, state)
        with FileLock(pipeline_lock, timeout=0) if changes else nullcontext():
            here = read_graph(root).stages
            require_clean(root, here, "a worker")
            lost = [path for path in changed_files(root) if moves or (rewrites and path == "params.yaml")]
            lost += _left_over(root, here) if changes else []
            if lost and before is None:
                raise ValueError(
                    f"a stage of another run would discard what a run of the pipeline, or a person, left in {root}: "
                    f"{', '.join(lost)}; commit it or take it away there, or give the worker a clone of its own"
                )
            if changes:
                (root / STATE).write_text("half-way", encoding="utf-8")
                _switch(root, commit, params)
                for path in _left_over(root, read_graph(root).stages):
                    _discard(root / path)
            (root / STATE).write_text(state, encoding="utf-8")
    except Timeout:
        return False
    return True


def _state(root: Path) -> str | None:
    return (root / STATE).read_text(encoding="utf-8") if (root / STATE).is_file() else None


def _switch(root: Path, commit: str, params: str | None) -> None:
    if git(root, "rev-parse", "HEAD") != commit:
        if not _has(root, commit):
            git(root, "fetch", "--quiet", "--all")
        if not _has(root, commit):
            raise ValueError(f"commit {commit} is in no remote of this clone ({root}); push it, and run again")
        # Generated files (lock, parameters, metrics) belong to another stage; the dispatcher sends this stage's own.
        git(root, "checkout", "--quiet", "--force", "--detach", commit)
    if params is not None:
        (root / "params.yaml").write_text(params, encoding="utf-8")


def _has(root: Path, commit: str) -> bool:
    try:
        git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except ValueError:
        return False
    return True


def _left_over(root: Path, stages: Mapping[str, StageNode]) -> list[str]:
    """Files beside the outs of these stages that belong to no stage (left by another commit or other parameters, say): a
    stage that reads the folder would count them among its inputs."""
    return list(of_no_stage(root, {name: stage.outs for name, stage in stages.items()}, {}))


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def receive(root: Path, stages: Mapping[str, StageNode], stage: str, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts the lock entries of a stage and its upstream stages in place; fetches the files that DVC does not keep."""
    put_entries(root, entries)
    for name in stages[stage].upstream:
        for path, md5 in uncached(stages[name], entries.get(name, {})):
            fetch_file(root, path, md5)


def hand_over(root: Path, stage: StageNode, entry: Mapping[str, Any]) -> None:
    """Sends those outs of a stage that DVC does not keep to the remote, under their hash."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        remote = repo.cloud.get_remote_odb()
        for path, md5 in uncached(stage, entry):
            remote.add(str(root / path), repo.fs, md5)


def fetch_file(root: Path, path: str, md5: str) -> None:
    """Fetches a file by its MD5 from the remote, unless it is already here with that content.

    Raises:
        ValueError: what arrived has another hash.
    """
    from dvc.repo import Repo

    target = root / path
    if target.is_file() and md5_of_bytes(target.read_bytes()) == md5:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not beside the target: a kill would leave it among a stage's inputs.
    temporary = root / paths.WORK / f"{md5}.{os.getpid()}"
    temporary.parent.mkdir(exist_ok=True)
    with Repo(str(root)) as repo:
        remote = repo.cloud.get_remote_odb()
        try:
            remote.fs.get_file(remote.oid_to_path(md5), str(temporary))
        except OSError as error:
            raise ValueError(f"{path} (md5 {md5}) cannot be fetched from the DVC remote: {error}") from None
    got = md5_of_bytes(temporary.read_bytes())
    if got != md5:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ValueError(f"{path} arrived from the DVC remote with md5 {got} instead of {md5}")
    temporary.replace(target)


def uncached(stage: StageNode, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    for out in entry.get("outs", []):
        if out["path"] in stage.uncached:
            if out["md5"].endswith(".dir"):
                raise ValueError(f"{stage.name}: {out['path']} is a folder with `cache: false`; only files can be sent")
            pairs.append((out["path"], out["md5"]))
    return pairs
