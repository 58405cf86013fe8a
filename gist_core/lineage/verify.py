"""Holds every byte of workspace, cache and remote against the statements, and the statements against dvc.lock.

Every file is read once, by its inode: a workspace file that is a hard link into the cache is one file. Its SHA-256
is what counts; MD5 is computed only of statements and folder listings, which are small."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from gist_core.lineage import lockcheck, signing
from gist_core.lineage.hashing import files_under
from gist_core.lineage.ledger import Ledger, Statement
from gist_core.lineage.lockfile import LOCK, LockedStage, form_problems, parse_lock, uncached_outs
from gist_core.lineage.rowdiff import differing_rows
from gist_core.lineage.runlog import LOG, log_problems
from gist_core.lineage.source import git
from gist_core.lineage.statement import FOLDER
from gist_core.lineage.store import ObjectStore, read_object

READERS = max(2, min(4, os.cpu_count() or 2))


@dataclass(frozen=True)
class Finding:
    """place: workspace, dvc.lock, statement, run log, signature, or the label of a store. path: the file it is
    about."""

    place: str
    path: str
    problem: str


@dataclass
class Verification:
    """findings: what contradicts a statement. notes: what is absent or cannot be checked here, and is no alarm."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files_read: int = 0
    bytes_read: int = 0

    @property
    def ok(self) -> bool:
        return not self.findings

    def find(self, place: str, path: str, problem: str) -> None:
        finding = Finding(place, path, problem)
        if finding not in self.findings:
            self.findings.append(finding)


def verify(
    root: Path,
    stores: Sequence[ObjectStore],
    *,
    signers: Path | None = None,
    progress: Callable[[int], object] = lambda size: None,
) -> Verification:
    """Checks a project.

    stores: its cache and remotes. signers: allowed signers; given one, or where the project has one, each statement
    must be signed.
    progress: called with the number of bytes after each file.
    """
    result = Verification()
    locked = _read_lock(root, result)
    ledger = _read_statements(root, locked, stores, result)
    for name, stage in locked.items():
        if name in ledger.statements:
            for problem in lockcheck.differences(stage, ledger.statements[name], f"{FOLDER}/{name}.json"):
                result.find("dvc.lock", LOCK.as_posix(), f"stage {name}: {problem}")
    for name in ledger.statements:
        for path, maker in ledger.broken_links(name):
            result.find("statement", path, f"{name} read other bytes than {maker} states to have made")
    reader = _Reader(result, progress)
    _check_workspace(root, ledger, stores, reader, result)
    for store in stores:
        _check_store(root, store, ledger, locked, reader, result)
    _check_log(root, ledger, result)
    _check_signatures(root, signers, result)
    return result


def _read_lock(root: Path, result: Verification) -> dict[str, LockedStage]:
    path = root / LOCK
    if not path.exists():
        raise ValueError(f"{path} does not exist: nothing has run here yet, or this is not the project's root")
    try:
        text = path.read_bytes().decode("utf-8")
        for problem in form_problems(text):
            result.find("dvc.lock", LOCK.as_posix(), problem)
        return parse_lock(text)
    except (ValueError, UnicodeDecodeError) as error:
        result.find("dvc.lock", LOCK.as_posix(), str(error))
        return {}


def _read_statements(
    root: Path, locked: Mapping[str, LockedStage], stores: Sequence[ObjectStore], result: Verification
) -> Ledger:
    """The statements that dvc.lock names: the workspace's, or a store's where the workspace has none or another one."""
    statements: dict[str, Statement] = {}
    for name in sorted({path.stem for path in (root / FOLDER).glob("*.json")} | set(locked)):
        path = f"{FOLDER}/{name}.json"
        stage = locked.get(name)
        entry = stage.outs.get(path) if stage else None
        if locked and stage is None:
            result.find("statement", path, "dvc.lock knows no stage of this name")
        statement = None
        if (root / path).is_file():
            statement = _read_statement(name, path, (root / path).read_bytes(), entry.md5 if entry else None, result)
        else:
            for out in _orphans(root, stage, path, stores) if entry and stage else ():
                result.find("workspace", out, f"it is an out of {name}, which has no statement ({path} is missing)")
            result.notes.append(f"{path} is not here (`dvc pull` brings it)")
        if statement is None and entry:
            data = read_object(entry.md5, stores)
            statement = _read_statement(name, path, data, entry.md5, result) if data else None
        if statement:
            statements[name] = statement
    return Ledger(statements)


def _read_statement(name: str, path: str, data: bytes, md5: str | None, result: Verification) -> Statement | None:
    """The statement if it is the one of its stage that dvc.lock names; else None and why not as a finding."""
    try:
        statement = Statement.parse(data)
    except ValueError as error:
        result.find("statement", path, str(error))
        return None
    if statement.stage != name:
        result.find("statement", path, f"it is the statement of {statement.stage}, not of {name}")
        return None
    if md5 and hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
        result.find("statement", path, f"it is not the one that dvc.lock names (MD5 {md5})")
        return None
    return statement


def _orphans(root: Path, stage: LockedStage, statement: str, stores: Sequence[ObjectStore]) -> list[str]:
    """The outs of a stage that are here without its statement.

    Those that git keeps are here in every clone, before anything was pulled: they count only if the statement was
    here once (the cache has it, and other statements are checked out).
    """
    here = [out for out in stage.outs if (root / out).exists()]
    kept_by_git = uncached_outs(root)
    pulled = [out for out in here if not any(re.fullmatch(pattern, out) for pattern in kept_by_git)]
    was_here = any(store.label == "cache" and store.path(stage.outs[statement].md5) for store in stores)
    return here if pulled or (was_here and any((root / FOLDER).glob("*.json"))) else []


def _check_workspace(
    root: Path, ledger: Ledger, stores: Sequence[ObjectStore], reader: "_Reader", result: Verification
) -> None:
    expected: dict[str, dict[str, list[str]]] = {}
    for name in ledger.in_order():
        statement = ledger.statements[name]
        for path, digest in statement.outputs.items():
            expected.setdefault(path, {}).setdefault(digest["sha256"], []).append(f"{name} made")
        for path, digest in statement.inputs.items():
            if path not in ledger.producers:
                expected.setdefault(path, {}).setdefault(digest["sha256"], []).append(f"{name} read")
    present = {path: root / path for path in expected if (root / path).is_file()}
    actual = reader.sha256(present)
    for path, digests in expected.items():
        for sha256, users in digests.items():
            if path in actual and actual[path] != sha256:
                problem = f"it is not the file that {_list(users)}{_whose(actual[path], ledger)}"
                result.find("workspace", path, problem + _which_rows(root / path, ledger, path, stores))
    _check_folders(root, ledger, expected, result)


def _check_folders(root: Path, ledger: Ledger, expected: Iterable[str], result: Verification) -> None:
    """Files too many or too few in what the stages declare. A whole out that is absent is a note: it was not
    pulled."""
    stated = set(expected)
    for name, statement in ledger.statements.items():
        for kind in ("deps", "outs"):
            for declared in statement.declared[kind]:
                path = root / declared
                own = statement.outputs if kind == "outs" else statement.inputs
                files = {file for file in own if file == declared or file.startswith(declared + "/")}
                if not path.exists():
                    if kind == "outs":
                        result.notes.append(f"{declared} (an out of {name}) is not here (`dvc pull` brings it)")
                    elif not any(file in ledger.producers for file in files):
                        result.find("workspace", declared, f"{name} read it, and it is gone")
                    continue
                present = {f"{declared}/{file}" for file in files_under(path)} if path.is_dir() else {declared}
                for file in sorted(present - files - stated):
                    result.find("workspace", file, f"no statement accounts for it ({name} declares {declared})")
                for file in sorted(files - present):
                    if kind == "outs" or file not in ledger.producers:
                        result.find("workspace", file, f"it is missing, though {declared} is here ({name})")


def _check_store(
    root: Path,
    store: ObjectStore,
    ledger: Ledger,
    locked: Mapping[str, LockedStage],
    reader: "_Reader",
    result: Verification,
) -> None:
    """The objects that the current statements need: each must have the stated SHA-256; listings and statements their
    MD5."""
    wanted: dict[str, tuple[str, str]] = {}
    small: dict[str, str] = {}
    for name, stage in locked.items():
        statement = ledger.statements.get(name)
        for path, entry in stage.outs.items():
            if entry.md5.endswith(".dir") or path == f"{FOLDER}/{name}.json":
                small[entry.md5] = path
        for path, digest in statement.outputs.items() if statement else ():
            wanted[digest["md5"]] = (digest["sha256"], path)
    absent, kept_by_git = 0, uncached_outs(root)
    files = {md5: file for md5 in wanted if (file := store.path(md5))}
    actual = reader.sha256(files)
    for md5, (sha256, path) in wanted.items():
        if md5 not in actual:
            source = store.open(md5) if md5 not in files else None
            if source is None:
                absent += not any(re.fullmatch(pattern, path) for pattern in kept_by_git)
                continue
            actual[md5] = reader.sha256_of_stream(source)
        if actual[md5] != sha256:
            result.find(
                store.label, _object(store, md5), f"it is not {path}, which dvc.lock and the statement name by it"
            )
    for md5, path in small.items():
        source = store.open(md5)
        if source is None:
            absent += 1
            continue
        with source:
            data = source.read()
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
            result.find(store.label, _object(store, md5), f"its bytes do not have its MD5 (it stands for {path})")
    if absent:
        result.notes.append(f"{store.label}: {absent} of {len(wanted) + len(small)} objects are not there")


def _check_log(root: Path, ledger: Ledger, result: Verification) -> None:
    commits = {str(s.source["commit"]) for s in ledger.statements.values() if s.source["commit"]}
    times = {}
    for commit in commits:
        made = git(root, "show", "-s", "--format=%ct", commit)
        if made:
            times[commit] = float(made)
    for stage, problem in log_problems(root, times):
        result.find("run log", LOG.as_posix(), f"{stage}: {problem}" if stage else problem)


def _check_signatures(root: Path, signers: Path | None, result: Verification) -> None:
    allowed = signers or root / signing.ALLOWED_SIGNERS
    if allowed.exists():
        for path, problem in signing.signature_problems(root, FOLDER, allowed):
            result.find("signature", path, problem)
    elif signers:
        raise ValueError(f"{signers} does not exist, so no signature can be checked")


class _Reader:
    """SHA-256 of many files, each inode once, several at a time."""

    def __init__(self, result: Verification, progress: Callable[[int], object]) -> None:
        self.result, self.progress = result, progress
        self.known: dict[tuple[int, int], str] = {}

    def sha256(self, files: Mapping[str, Path]) -> dict[str, str]:
        inodes = {}
        sizes: dict[tuple[int, int], tuple[int, Path]] = {}
        for name, path in files.items():
            state = path.stat()
            inodes[name] = (state.st_dev, state.st_ino)
            sizes.setdefault(inodes[name], (state.st_size, path))
        todo = sorted((inode for inode in sizes if inode not in self.known), key=lambda inode: -sizes[inode][0])
        with ThreadPoolExecutor(READERS) as pool:
            for inode, digest in zip(todo, pool.map(lambda inode: _sha256(sizes[inode][1]), todo), strict=True):
                self.known[inode] = digest
                self._count(sizes[inode][0])
        return {name: self.known[inode] for name, inode in inodes.items()}

    def sha256_of_stream(self, stream: BinaryIO) -> str:
        digest, size = hashlib.sha256(), 0
        with stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
        self._count(size)
        return digest.hexdigest()

    def _count(self, size: int) -> None:
        self.result.files_read += 1
        self.result.bytes_read += size
        self.progress(size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _object(store: ObjectStore, md5: str) -> str:
    path = store.path(md5)
    return path.as_posix() if path else f"files/md5/{md5[:2]}/{md5[2:]}"


def _whose(sha256: str, ledger: Ledger) -> str:
    other = ledger.names_by_sha256.get(sha256)
    return f"; it has the content of {other}" if other else ""


def _which_rows(path: Path, ledger: Ledger, name: str, stores: Sequence[ObjectStore]) -> str:
    """Names the rows that differ from an intact copy of the file, if some store has one."""
    maker = ledger.producer(name)
    for store in stores if maker else ():
        source = store.open(maker.outputs[name]["md5"]) if maker else None
        if source:
            with source:
                rows = differing_rows(path, source)
            if rows:
                return f"; {rows}"
    return ""


def _list(users: Sequence[str]) -> str:
    return users[0] if len(users) == 1 else f"{users[0]} (and {len(users) - 1} more)"
