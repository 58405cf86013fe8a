"""Compares every byte of workspace, cache and remote with the statements, and the statements with dvc.lock.

Every file is read once, by its inode (reader.py). Its SHA-256 is what counts. MD5 is computed only for statements and
folder listings, which are small, and for outs whose statement is not here: dvc.lock has nothing better."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path

from gist_core.lineage import evidence, lockcheck, signing
from gist_core.lineage.hashing import files_under, md5_of_bytes
from gist_core.lineage.ledger import Ledger
from gist_core.lineage.lockfile import LOCK, LockedStage
from gist_core.lineage.reader import Reader
from gist_core.lineage.rowdiff import differing_rows
from gist_core.lineage.runlog import LOG, log_problems
from gist_core.lineage.source import commit_time
from gist_core.lineage.statement import FOLDER
from gist_core.lineage.store import ObjectStore
from gist_core.lineage.verification import Verification


def verify(
    root: Path,
    stores: Sequence[ObjectStore],
    declared: Callable[[Path], Mapping[str, Sequence[str]]],
    *,
    signers: Path | None = None,
    progress: Callable[[int], object] = lambda size: None,
) -> Verification:
    """Checks a project.

    stores: its cache and remotes. declared: gives the outs of each stage of the project's dvc.yaml, templates resolved;
    raises ValueError if that cannot be read. signers: a file of allowed signers; if it is given, or the project has one,
    the statement of each stage must be signed.
    progress: called with the number of bytes after each file.
    """
    result = Verification()
    reader = Reader(progress)
    lock = evidence.read_lock(root, result)
    locked = lock or {}
    outs_of, kept_by_git = evidence.read_declaration(root, declared, result)
    data = evidence.statement_bytes(root, locked, stores, result)
    ledger = evidence.read_statements(locked, data, result)
    if lock is not None:
        evidence.check_removed(root, outs_of, locked, ledger, stores, kept_by_git, result)
    for name, stage in locked.items():
        if name in ledger.statements:
            for problem in lockcheck.differences(stage, ledger.statements[name], f"{FOLDER}/{name}.json"):
                result.find("dvc.lock", LOCK.as_posix(), f"stage {name}: {problem}")
    # What a stage that no longer exists once read may have changed since: only what it made is checked.
    gone = ledger.statements.keys() - outs_of.keys() if outs_of else set()
    result.notes += [
        f"{name} is no stage of dvc.yaml any more, but dvc.lock keeps it" for name in sorted(gone & locked.keys())
    ]
    for name in ledger.statements.keys() - gone:
        for path, maker in ledger.broken_links(name):
            result.find("statement", path, f"{name} read other bytes than {maker} states to have made")
    outs = {out for name in locked.keys() & outs_of.keys() for out in locked[name].outs}
    _check_workspace(root, ledger, outs, gone, stores, reader, result)
    for store in stores:
        _check_store(store, ledger, locked, kept_by_git, reader, result)
    _check_log(root, ledger, result)
    _check_signatures(root, signers, data, result)
    result.files_read, result.bytes_read = reader.files_read, reader.bytes_read
    return result


def _check_workspace(
    root: Path,
    ledger: Ledger,
    outs: Set[str],
    gone: Collection[str],
    stores: Sequence[ObjectStore],
    reader: Reader,
    result: Verification,
) -> None:
    """outs: those of the project's stages, from dvc.lock. gone: stages whose inputs do not count."""
    expected: dict[str, dict[str, list[str]]] = {}
    for name in ledger.in_order():
        statement = ledger.statements[name]
        for path, digest in statement.outputs.items():
            expected.setdefault(path, {}).setdefault(digest["sha256"], []).append(f"{name} made")
        for path, digest in () if name in gone else statement.inputs.items():
            if path not in ledger.producers:
                expected.setdefault(path, {}).setdefault(digest["sha256"], []).append(f"{name} read")
    present = {path: root / path for path in expected if os.path.isfile(root / path)}
    actual = reader.sha256(present, lambda path, error: result.cannot_read("workspace", path, error))
    for path, digests in expected.items():
        for sha256, users in digests.items():
            if path in actual and actual[path] != sha256:
                problem = f"it is not the file that {_list(users)}{_whose(actual[path], ledger)}"
                result.find("workspace", path, problem + _which_rows(root / path, ledger, path, stores))
    _check_folders(root, ledger, outs, gone, expected, result)


def _check_folders(
    root: Path,
    ledger: Ledger,
    outs: Set[str],
    gone: Collection[str],
    expected: Iterable[str],
    result: Verification,
) -> None:
    """Finds surplus and missing files in what the stages declare, and linked folders. A whole out that is absent was not
    pulled and is only a note. What another stage read of it may then be absent too, even if its maker's statement was not
    pulled either."""
    stated = set(expected)

    def is_made(file: str) -> bool:
        within = [file, *map(Path.as_posix, Path(file).parents)]
        return ledger.maker(file) is not None or not outs.isdisjoint(within)

    for name, statement in ledger.statements.items():
        for kind in ("outs",) if name in gone else ("deps", "outs"):
            for declared in statement.declared[kind]:
                own = statement.outputs if kind == "outs" else statement.inputs
                files = {file for file in own if file == declared or file.startswith(declared + "/")}
                try:
                    present = _files_of(root, declared)
                except (ValueError, OSError) as error:
                    result.find("workspace", declared, str(error))
                    continue
                if present is None:
                    if kind == "outs":
                        result.notes.append(
                            f"{declared} (an out of {name}) is not here (`dvc pull` brings what DVC caches)"
                        )
                    elif not any(map(is_made, files)):
                        result.find("workspace", declared, f"{name} read it, and it is gone")
                    continue
                for file in sorted(present - files):
                    if file not in stated:
                        result.find("workspace", file, f"no statement accounts for it ({name} declares {declared})")
                    else:
                        verb = "read" if kind == "deps" else "make"
                        result.find("workspace", file, f"it is in {declared} now, but {name} did not {verb} it")
                for file in sorted(files - present):
                    if kind == "outs" or not is_made(file):
                        result.find("workspace", file, f"it is missing, though {declared} is here ({name})")


def _files_of(root: Path, declared: str) -> set[str] | None:
    """Paths of the files that a declared dependency or out has now; None if it is not here."""
    path = root / declared
    if not path.exists():
        return None
    if path.is_dir():
        return {f"{declared}/{file}" for file in files_under(path)}
    if not path.is_file():
        raise ValueError("it is neither a file nor a folder")
    return {declared}


def _check_store(
    store: ObjectStore,
    ledger: Ledger,
    locked: Mapping[str, LockedStage],
    kept_by_git: Sequence[str],
    reader: Reader,
    result: Verification,
) -> None:
    """Checks the objects that the current statements need: each must have the stated SHA-256, and folder listings and
    statements must have their MD5."""
    wanted: dict[str, tuple[str, str]] = {}
    small: dict[str, str] = {}
    for name, stage in locked.items():
        statement = ledger.statements.get(name)
        for path, entry in stage.outs.items():
            if entry.md5.endswith(".dir") or path == f"{FOLDER}/{name}.json":
                small[entry.md5] = path
        for path, digest in statement.outputs.items() if statement else ():
            wanted[digest["md5"]] = (digest["sha256"], path)
    absent = 0
    files = {md5: file for md5 in wanted if (file := store.path(md5))}

    def unreadable(md5: str, error: OSError) -> None:
        result.cannot_read(store.label, _object(store, md5), error)

    actual = reader.sha256(files, unreadable)
    for md5, (sha256, path) in wanted.items():
        if md5 in files and md5 not in actual:
            continue
        if md5 not in actual:
            source = store.open(md5)
            if source is None:
                absent += not any(re.fullmatch(pattern, path) for pattern in kept_by_git)
                continue
            try:
                actual[md5] = reader.sha256_of_stream(source)
            except OSError as error:
                unreadable(md5, error)
                continue
        if actual[md5] != sha256:
            result.find(
                store.label, _object(store, md5), f"it is not {path}, which dvc.lock and the statement name by it"
            )
    for md5, path in small.items():
        try:
            source = store.open(md5)
            if source is None:
                absent += 1
                continue
            with source:
                data = source.read()
        except OSError as error:
            unreadable(md5, error)
            continue
        if md5_of_bytes(data) != md5.removesuffix(".dir"):
            result.find(store.label, _object(store, md5), f"its bytes do not have its MD5 (it stands for {path})")
    if absent:
        result.notes.append(f"{store.label}: {absent} of {len(wanted) + len(small)} objects are not there")


def _check_log(root: Path, ledger: Ledger, result: Verification) -> None:
    commits = {str(s.source["commit"]) for s in ledger.statements.values() if s.source["commit"]}
    times = {commit: time for commit in commits if (time := commit_time(root, commit)) is not None}
    try:
        for stage, problem in log_problems(root, times):
            result.find("run log", LOG.as_posix(), f"{stage}: {problem}" if stage else problem)
    except OSError as error:
        result.cannot_read("run log", LOG.as_posix(), error)


def _check_signatures(
    root: Path, signers: Path | None, statements: Mapping[str, list[bytes]], result: Verification
) -> None:
    """Checks the signatures of the workspace's statements, or of those that dvc.lock names where the workspace has none.
    A statement that is not here needs one too."""
    allowed = signers or root / signing.ALLOWED_SIGNERS
    if allowed.exists():
        first = {path: copies[0] if copies else None for path, copies in statements.items()}
        for path, problem in signing.signature_problems(root, first, allowed):
            result.find("signature", path, problem)
    elif signers:
        raise ValueError(f"{signers} does not exist, so no signature can be checked")


def _object(store: ObjectStore, md5: str) -> str:
    path = store.path(md5)
    return path.as_posix() if path else f"files/md5/{md5[:2]}/{md5[2:]}"


def _whose(sha256: str, ledger: Ledger) -> str:
    other = ledger.names_by_sha256.get(sha256)
    return f"; it has the content of {other}" if other else ""


def _which_rows(path: Path, ledger: Ledger, name: str, stores: Sequence[ObjectStore]) -> str:
    """Names the rows that differ from an intact copy of the file, if some store has one."""
    maker = ledger.producers.get(name)
    if maker is None:
        return ""
    for store in stores:
        try:
            source = store.open(ledger.statements[maker].outputs[name]["md5"])
        except OSError:
            continue
        if source:
            with source:
                rows = differing_rows(path, source)
            if rows:
                return f"; {rows}"
    return ""


def _list(users: Sequence[str]) -> str:
    return users[0] if len(users) == 1 else f"{users[0]} (and {len(users) - 1} more)"
