"""Compares a stage's entry in dvc.lock with its statement: they describe the same execution, or one of them was
changed."""

from collections.abc import Iterator, Mapping
from typing import Any

from gist_core.lineage.ledger import Statement
from gist_core.lineage.lockfile import LockedPath, LockedStage


def differences(locked: LockedStage, statement: Statement, statement_path: str) -> Iterator[str]:
    """What dvc.lock and the statement say differently, in words. statement_path: the out that is the statement
    itself."""
    if locked.cmd != statement.command:
        yield f"the command is {locked.cmd!r}, the statement has {statement.command!r}"
    outs = {path: entry for path, entry in locked.outs.items() if path != statement_path}
    yield from _paths("dependency", locked.deps, statement.declared["deps"])
    yield from _paths("out", outs, statement.declared["outs"])
    yield from _parameters(locked.params, statement)


def _paths(kind: str, locked: Mapping[str, LockedPath], stated: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for path in sorted(locked.keys() ^ stated.keys()):
        yield f"{kind} {path} is only in {'dvc.lock' if path in locked else 'the statement'}"
    for path in sorted(locked.keys() & stated.keys()):
        entry, other = locked[path], stated[path]
        for name, here, there in (
            ("MD5", entry.md5, other["digest"]["md5"]),
            ("size", entry.size, other["size"]),
            ("number of files", entry.nfiles, other["nfiles"]),
            ("isexec", entry.isexec, other["isexec"]),
        ):
            if here != there:
                yield f"{kind} {path} has {name} {here}, the statement has {there}"


def _parameters(locked: Mapping[str, Any], statement: Statement) -> Iterator[str]:
    """Compares with the values that params.yaml had, key by key."""
    stated = statement.declared["params"]
    for key in sorted(locked.keys() ^ stated.keys()):
        yield f"parameter {key} is only in {'dvc.lock' if key in locked else 'the statement'}"
    for key in sorted(locked.keys() & stated.keys()):
        if not _same(locked[key], stated[key]):
            yield f"parameter {key} is {locked[key]!r:.80}, the statement has {stated[key]!r:.80}"


def _same(locked: Any, stated: Any) -> bool:
    """Whether two values are equal and of the same type."""
    if isinstance(locked, dict) and isinstance(stated, dict):
        return locked.keys() == stated.keys() and all(_same(value, stated[key]) for key, value in locked.items())
    if isinstance(locked, list) and isinstance(stated, list):
        return len(locked) == len(stated) and all(map(_same, locked, stated))
    return type(locked) is type(stated) and bool(locked == stated)
