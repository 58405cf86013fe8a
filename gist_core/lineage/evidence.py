"""The evidence that a project is verified by: dvc.lock, dvc.yaml and the statements. They are first compared with each
other, and checked for evidence that was taken away."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gist_core.lineage import outs
from gist_core.lineage.hashing import md5_of_bytes
from gist_core.lineage.ledger import Ledger, Statement
from gist_core.lineage.lockfile import LOCK, LockedStage, form_problems, parse_lock, uncached_outs
from gist_core.lineage.statement import FOLDER
from gist_core.lineage.store import ObjectStore, read_object
from gist_core.lineage.verification import Verification


def read_lock(root: Path, result: Verification) -> dict[str, LockedStage] | None:
    """The stages of dvc.lock; None if it cannot be read, in which case nothing is reported as missing from it."""
    path = root / LOCK
    if not path.exists():
        raise ValueError(f"{path} does not exist: nothing has run here yet, or this is not the project's root")
    try:
        text = path.read_bytes().decode("utf-8")
        stages = parse_lock(text)
    except ValueError as error:
        result.find("dvc.lock", LOCK.as_posix(), str(error))
        return None
    except OSError as error:
        result.cannot_read("dvc.lock", LOCK.as_posix(), error)
        return None
    for problem in form_problems(text):
        result.find("dvc.lock", LOCK.as_posix(), problem)
    return stages


def read_declaration(
    root: Path, declared: Callable[[Path], Mapping[str, Sequence[str]]], result: Verification
) -> tuple[Mapping[str, Sequence[str]], list[str]]:
    """The outs of each stage in dvc.yaml, and patterns of those that git keeps."""
    try:
        kept_by_git = uncached_outs(root)
        return declared(root), kept_by_git
    except ValueError as error:
        result.find("workspace", "dvc.yaml", str(error))
        return {}, []


def statement_bytes(
    root: Path, locked: Mapping[str, LockedStage], stores: Sequence[ObjectStore], result: Verification
) -> dict[str, list[bytes]]:
    """The statements of each stage by path: the workspace's, and the one that dvc.lock names if that is another one."""
    found: dict[str, list[bytes]] = {}
    for name in sorted({path.stem for path in (root / FOLDER).glob("*.json")} | set(locked)):
        path = f"{FOLDER}/{name}.json"
        found[path] = []
        try:
            if (root / path).is_file():
                found[path] += [(root / path).read_bytes()]
            elif (root / path).exists():
                result.find("statement", path, "it is not a file")
            else:
                result.notes.append(f"{path} is not here (`dvc pull` brings it)")
        except OSError as error:
            result.cannot_read("statement", path, error)
        entry = locked[name].outs.get(path) if name in locked else None
        if entry and not any(md5_of_bytes(data) == entry.md5 for data in found[path]):
            stored = read_object(entry.md5, stores)
            found[path] += [stored] if stored else []
    return found


def read_statements(locked: Mapping[str, LockedStage], data: Mapping[str, list[bytes]], result: Verification) -> Ledger:
    """The statements that can be read, are of their stage and have the MD5 in dvc.lock, if it has one; the others become
    findings."""
    statements: dict[str, Statement] = {}
    for path, copies in data.items():
        name = Path(path).stem
        entry = locked[name].outs.get(path) if name in locked else None
        for copy in copies:
            statement = _read_statement(name, path, copy, entry.md5 if entry else None, result)
            if statement:
                statements[name] = statement
    return Ledger(statements)


def _read_statement(name: str, path: str, data: bytes, md5: str | None, result: Verification) -> Statement | None:
    """The statement if it is of this stage and has the MD5 that dvc.lock names, if any; else None, and a finding why."""
    try:
        statement = Statement.parse(data)
    except ValueError as error:
        result.find("statement", path, str(error))
        return None
    if statement.stage != name:
        result.find("statement", path, f"it is the statement of {statement.stage}, not of {name}")
        return None
    if md5 and md5_of_bytes(data) != md5:
        result.find("statement", path, f"it is not the one that dvc.lock names (MD5 {md5})")
        return None
    return statement


def check_removed(
    root: Path,
    declared: Mapping[str, Sequence[str]],
    locked: Mapping[str, LockedStage],
    ledger: Ledger,
    stores: Sequence[ObjectStore],
    kept_by_git: Sequence[str],
    result: Verification,
) -> None:
    """Finds evidence that was taken away: a stage's entry in dvc.lock, its statement, or both."""
    for file in sorted((root / FOLDER).glob("*.json")):
        if file.stem not in locked:
            result.find("statement", f"{FOLDER}/{file.name}", "dvc.lock knows no stage of this name")
    for out, problem in outs.without_entry(root, declared, locked):
        result.find("workspace", out, problem)
    result.stages, result.unstated = len(locked), len(locked.keys() - ledger.statements.keys())
    for name, stage in locked.items():
        path = f"{FOLDER}/{name}.json"
        if path not in stage.outs:
            result.find("dvc.lock", LOCK.as_posix(), f"stage {name}: {path} is not among its outs")
        elif not (root / path).exists():
            for out in _orphans(root, stage, path, stores, kept_by_git):
                result.find("workspace", out, f"it is an out of {name}, which has no statement ({path} is missing)")
        if name not in ledger.statements:
            for out, problem in outs.unlike_lock(root, stage):
                result.find("workspace", out, problem)
    for path in outs.of_no_stage(root, declared, locked):
        result.notes.append(f"{path} is an out of no stage in dvc.yaml or dvc.lock")


def _orphans(
    root: Path, stage: LockedStage, statement: str, stores: Sequence[ObjectStore], kept_by_git: Sequence[str]
) -> list[str]:
    """The outs of a stage that are here without its statement.

    Outs that git keeps are in every clone before anything is pulled, so alone they count only if the statement was here
    once (the cache has it, and other statements are checked out).
    """
    here = [out for out in stage.outs if os.path.exists(root / out)]
    pulled = [out for out in here if not any(re.fullmatch(pattern, out) for pattern in kept_by_git)]
    was_here = any(store.label == "cache" and store.path(stage.outs[statement].md5) for store in stores)
    return here if pulled or (was_here and any((root / FOLDER).glob("*.json"))) else []
