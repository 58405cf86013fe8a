"""Compares outs on disk with dvc.yaml and dvc.lock, where no statement could be asked.

A statement speaks for the outs of its stage. If the statement is gone, or the stage's entry in dvc.lock with it, what
dvc.yaml declares and the MD5s of dvc.lock are all that is left."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from gist_core.lineage.hashing import digest_path, is_counted
from gist_core.lineage.lockfile import LockedStage
from gist_core.lineage.source import git
from gist_core.lineage.statement import FOLDER


def without_entry(
    root: Path, declared: Mapping[str, Sequence[str]], locked: Mapping[str, LockedStage]
) -> Iterator[tuple[str, str]]:
    """(path, problem) of each out that is here and that dvc.lock does not know. declared: outs by stage, as dvc.yaml
    has them."""
    for name, outs in declared.items():
        known = locked[name].outs if name in locked else {}
        for out in outs:
            if out not in known and os.path.exists(root / out):
                entry = f"no stage {name}" if name not in locked else f"no such out of {name}"
                yield out, f"it is an out of {name}, and dvc.lock has {entry}; `dvc repro {name}` makes both anew"


def unlike_lock(root: Path, stage: LockedStage) -> Iterator[tuple[str, str]]:
    """(path, problem) of each out of a stage that is here with bytes other than those that dvc.lock names."""
    for out, entry in stage.outs.items():
        if not os.path.exists(root / out):
            continue
        try:
            artifact = digest_path(root / out)
        except (ValueError, OSError) as error:
            yield out, f"it cannot be read: {error}"
            continue
        if (artifact.md5, artifact.size) != (entry.md5, entry.size):
            here = f"MD5 {artifact.md5}, {artifact.size} bytes"
            yield out, f"it has {here}; dvc.lock has MD5 {entry.md5}, {entry.size} bytes"


def of_no_stage(root: Path, declared: Mapping[str, Sequence[str]], locked: Mapping[str, LockedStage]) -> Iterator[str]:
    """What lies beside outs of one kind (in data/models/, say) and is neither an out of a stage nor kept by git."""
    outs = {out for paths in declared.values() for out in paths} | {out for s in locked.values() for out in s.outs}
    shelves = {PurePosixPath(out).parent for out in outs}
    kept = (git(root, "ls-files", "-z") or "").split("\0")
    accounted = {str(path) for name in (*outs, *kept) for path in (PurePosixPath(name), *PurePosixPath(name).parents)}
    for shelf in sorted(shelves):
        # data/ and reports/ themselves also hold what people put there.
        if len(shelf.parts) < 2 or shelf == PurePosixPath(FOLDER.as_posix()) or not (root / shelf).is_dir():
            continue
        for child in sorted(path.name for path in (root / shelf).iterdir() if is_counted(path.name)):
            if f"{shelf}/{child}" not in accounted:
                yield f"{shelf}/{child}"
