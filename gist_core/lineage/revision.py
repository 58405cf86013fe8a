"""What a revision of the project holds: its statements and result files, from git, the workspace or the cache. Bytes
count only if they have the digest that dvc.lock or the statement of that revision names."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gist_core.lineage import numbers
from gist_core.lineage.hashing import md5_of_bytes
from gist_core.lineage.intact import NotIntactError, whole_ledger
from gist_core.lineage.ledger import Ledger, Statement
from gist_core.lineage.lockfile import LOCK, parse_lock
from gist_core.lineage.source import git
from gist_core.lineage.statement import FOLDER
from gist_core.lineage.store import ObjectStore, read_object

WORKSPACE = "workspace"


@dataclass(frozen=True)
class Side:
    """One of the two revisions that are compared."""

    root: Path
    revision: str
    ledger: Ledger
    stores: Sequence[ObjectStore]

    def content(self, file: str) -> Any:
        """The JSON of a file, from the workspace, git or a store; None if no stage made it at this revision.

        Raises:
            NotIntactError: the bytes that the statement names are not here.
        """
        maker = self.ledger.producers.get(file)
        if maker is None:
            return None
        digest = self.ledger.statements[maker].outputs[file]
        data = self._here(file)
        if data is None or hashlib.sha256(data).hexdigest() != digest["sha256"]:
            if data is not None and self.revision == WORKSPACE:
                raise NotIntactError([f"{file} in the {WORKSPACE} is not the file that {maker} made"])
            data = read_object(digest["md5"], self.stores)
        if data is None or hashlib.sha256(data).hexdigest() != digest["sha256"]:
            where = f"neither in git nor in the {' or '.join(store.label for store in self.stores)}"
            what = f"{file} at {self.revision}, as {maker} made it, is {where}"
            brought = (
                "`dvc fetch --all-commits` brings what DVC caches; the rest (reports/) has to be in git with dvc.lock"
            )
            raise NotIntactError([f"{what}; {brought}"])
        return numbers.parse(data, file)

    def _here(self, file: str) -> bytes | None:
        if self.revision == WORKSPACE:
            path = self.root / file
            return path.read_bytes() if path.is_file() else None
        text = git(self.root, "show", f"{self.revision}:./{file}")
        return text.encode("utf-8", "surrogateescape") if text is not None else None


def ledger_at(root: Path, revision: str, stores: Sequence[ObjectStore]) -> Ledger:
    """The statements that belong to the dvc.lock of a revision (or of the `workspace`).

    Raises:
        ValueError: there is no such revision, or statements of it are neither in the workspace nor in a store.
        NotIntactError: a statement does not have the MD5 that dvc.lock has, or is unreadable.
    """
    if revision == WORKSPACE:
        return whole_ledger(root)
    text = git(root, "show", f"{revision}:./{LOCK}")
    if text is None:
        raise ValueError(
            f"{revision!r} is no revision of this repository with a {LOCK}; `git show {revision}:{LOCK}` says why"
        )
    statements, missing = {}, []
    for name, md5 in _locked_statements(text, revision).items():
        data = _statement_bytes(root, name, md5, stores)
        if data is not None:
            statements[name] = _parse(data, name, revision)
        elif label := next((store.label for store in stores if store.path(md5)), None):
            changed = f"its object in the {label} ({md5}) does not have that MD5: it was changed"
            raise NotIntactError([f"the statement of {name} at {revision} is not the one in {LOCK}; {changed}"])
        else:
            missing.append(name)
    if missing:
        command = "`dvc fetch --all-commits` brings them"
        raise ValueError(f"the statements of {', '.join(missing)} at {revision} are not in the cache; {command}")
    return Ledger(statements)


def _locked_statements(text: str, revision: str) -> dict[str, str]:
    """MD5 of each stage's statement, as the dvc.lock of a revision has it."""
    try:
        stages = parse_lock(text)
    except ValueError as error:
        raise ValueError(f"{LOCK} of {revision} cannot be read: {error}") from None
    paths = {name: f"{FOLDER}/{name}.json" for name in stages}
    return {name: stage.outs[paths[name]].md5 for name, stage in stages.items() if paths[name] in stage.outs}


def _statement_bytes(root: Path, name: str, md5: str, stores: Sequence[ObjectStore]) -> bytes | None:
    path = root / FOLDER / f"{name}.json"
    data = path.read_bytes() if path.is_file() else b""
    return data if md5_of_bytes(data) == md5 else read_object(md5, stores)


def _parse(data: bytes, name: str, revision: str) -> Statement:
    try:
        statement = Statement.parse(data)
    except ValueError as error:
        raise NotIntactError([f"the statement of {name} at {revision} cannot be read: {error}"]) from None
    if statement.stage != name:
        raise NotIntactError([f"the statement of {name} at {revision} is that of {statement.stage}"])
    return statement
