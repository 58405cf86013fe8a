"""Why a number changed between two revisions: the data, the code, the parameters, the environment, the weights.

For each stage that has another statement, its own causes are told from those it inherits: an input that changed
because an earlier stage made something else points to that stage. A result that changed though nothing it depends on
did is said to be so."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gist_core.lineage import numbers
from gist_core.lineage.ledger import Ledger, Statement
from gist_core.lineage.lockfile import LOCK, parse_lock
from gist_core.lineage.source import git
from gist_core.lineage.statement import FOLDER
from gist_core.lineage.store import ObjectStore

WORKSPACE = "workspace"
WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


@dataclass(frozen=True)
class Cause:
    """kind: data, code, parameters, environment, weights (upstream ones), or upstream: made by another stage."""

    kind: str
    what: str


@dataclass(frozen=True)
class StageChange:
    """outs: paths of the outs whose bytes differ. causes: what differs in what the stage depends on.
    verdict: one sentence that tells a changed result from a changed input."""

    stage: str
    causes: tuple[Cause, ...]
    outs: tuple[str, ...]
    verdict: str


@dataclass(frozen=True)
class NumberChange:
    """old, new: the values; None where a revision has no such number."""

    name: str
    old: float | None
    new: float | None


@dataclass(frozen=True)
class Difference:
    numbers: tuple[NumberChange, ...]
    stages: tuple[StageChange, ...]
    only_in_old: tuple[str, ...]
    only_in_new: tuple[str, ...]

    @property
    def roots(self) -> tuple[StageChange, ...]:
        """The stages where the change began: with a cause of their own, or with none at all."""
        return tuple(s for s in self.stages if (s.outs and any(c.kind != "upstream" for c in s.causes)) or not s.causes)


def ledger_at(root: Path, revision: str, stores: Sequence[ObjectStore]) -> Ledger:
    """The statements that belong to dvc.lock of a revision (or of the `workspace`).

    Raises:
        ValueError: there is no such revision, or statements of it are neither in the workspace nor in a store.
    """
    if revision == WORKSPACE:
        return Ledger.of_workspace(root)
    text = git(root, "show", f"{revision}:./{LOCK}")
    if text is None:
        raise ValueError(f"{revision!r} is no revision of this repository with a {LOCK}")
    statements, missing = {}, []
    for name, stage in parse_lock(text).items():
        entry = stage.outs.get(f"{FOLDER}/{name}.json")
        if entry is None:
            continue
        data = _statement_bytes(root, name, entry.md5, stores)
        if data is None:
            missing.append(name)
        else:
            statements[name] = Statement.parse(data)
    if missing:
        command = "`dvc fetch --all-commits` brings them"
        raise ValueError(f"the statements of {', '.join(missing)} at {revision} are not in the cache; {command}")
    return Ledger(statements)


def compare(old: Ledger, new: Ledger) -> tuple[StageChange, ...]:
    """The stages whose statements differ, in the order of the graph."""
    both = [name for name in new.in_order() if name in old.statements]
    changes = (_stage_change(old.statements[name], new.statements[name], new) for name in both)
    return tuple(change for change in changes if change.causes or change.outs)


def difference(root: Path, old: str, new: str, stores: Sequence[ObjectStore], only: str | None = None) -> Difference:
    """Compares two revisions. only: a number (`FILE:dotted.path`) or file; stages that it does not rest on are left
    out.

    Raises:
        ValueError: see `ledger_at`; or `only` is in neither revision.
    """
    before, after = ledger_at(root, old, stores), ledger_at(root, new, stores)
    changes = compare(before, after)
    changed = tuple(_numbers(root, old, new, before, after))
    if only:
        file = only.partition(":")[0]
        maker = (after.producers | before.producers if file not in after.producers else after.producers).get(file)
        if maker is None:
            raise ValueError(f"no statement of {old} or {new} accounts for {file}")
        ledger = after if maker in after.statements else before
        behind = _behind(ledger, maker)
        changes = tuple(change for change in changes if change.stage in behind)
        changed = tuple(n for n in changed if n.name == only or n.name.startswith((only + ":", only + ".")))
    names_old, names_new = set(before.statements), set(after.statements)
    return Difference(changed, changes, tuple(sorted(names_old - names_new)), tuple(sorted(names_new - names_old)))


def _stage_change(old: Statement, new: Statement, ledger: Ledger) -> StageChange:
    causes = tuple(_causes(old, new, ledger))
    outs = tuple(sorted(p for p in old.outputs.keys() | new.outputs.keys() if _differs(old.outputs, new.outputs, p)))
    return StageChange(new.stage, causes, outs, _verdict(causes, outs, old, new))


def _causes(old: Statement, new: Statement, ledger: Ledger) -> Iterator[Cause]:
    for path in sorted(old.inputs.keys() | new.inputs.keys()):
        if _differs(old.inputs, new.inputs, path):
            maker = ledger.producers.get(path)
            how = "" if path in old.inputs and path in new.inputs else " (new)" if path in new.inputs else " (gone)"
            if maker:
                yield Cause("upstream", f"{path}{how}, made by {maker}")
            else:
                yield Cause(_kind(path), path + how)
    for key, (before, after) in _leaf_changes(old.parameters, new.parameters):
        yield Cause("parameters", f"{key}: {before} -> {after}")
    if old.command != new.command:
        yield Cause("code", f"command: {old.command} -> {new.command}")
    for key, (before, after) in _leaf_changes(old.environment, new.environment):
        yield Cause("environment", f"{key}: {before} -> {after}")
    if old.source["changed_files"] != new.source["changed_files"]:
        yield Cause("code", f"uncommitted: {_uncommitted(old)} -> {_uncommitted(new)}")


def _kind(path: str) -> str:
    if path.endswith(WEIGHTS):
        return "weights"
    return "code" if path.endswith((".py", ".jinja", ".yaml", ".toml")) else "data"


def _uncommitted(statement: Statement) -> str:
    return ", ".join(statement.source["changed_files"]) or "nothing"


def _verdict(causes: Sequence[Cause], outs: Sequence[str], old: Statement, new: Statement) -> str:
    kinds = list(dict.fromkeys(cause.kind for cause in causes))
    if not outs:
        return f"same result, though {' and '.join(kinds)} changed"
    if kinds:
        return f"other result after a change of {' and '.join(kinds)}"
    if new.not_reproducible:
        return f"other result from the same inputs, as its statement allows: {new.not_reproducible}"
    commits = [str(statement.source["commit"])[:12] for statement in (old, new)]
    if commits[0] != commits[1]:
        return (
            f"other result from the same declared inputs; the commit differs ({' -> '.join(commits)}): undeclared code?"
        )
    return "OTHER RESULT FROM THE SAME INPUTS, though its statement promises the same bytes"


def _numbers(root: Path, old: str, new: str, before: Ledger, after: Ledger) -> Iterator[NumberChange]:
    files = sorted(p for p in before.producers.keys() | after.producers.keys() if p.startswith("reports/"))
    for file in (file for file in files if file.endswith(".json")):
        a, b = (dict(numbers.leaves(_content(root, revision, file))) for revision in (old, new))
        for keys in [*b, *(k for k in a if k not in b)]:
            if a.get(keys) != b.get(keys):
                yield NumberChange(f"{file}:{'.'.join(map(str, keys))}", a.get(keys), b.get(keys))


def _content(root: Path, revision: str, file: str) -> Any:
    if revision == WORKSPACE:
        path = root / file
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    text = git(root, "show", f"{revision}:./{file}")
    return json.loads(text) if text else None


def _statement_bytes(root: Path, name: str, md5: str, stores: Sequence[ObjectStore]) -> bytes | None:
    for store in stores:
        source = store.open(md5)
        if source:
            with source:
                return source.read()
    path = root / FOLDER / f"{name}.json"
    data = path.read_bytes() if path.exists() else b""
    return data if hashlib.md5(data, usedforsecurity=False).hexdigest() == md5 else None


def _behind(ledger: Ledger, name: str) -> set[str]:
    found, queue = set(), [name]
    while queue:
        stage = queue.pop()
        if stage not in found:
            found.add(stage)
            queue += ledger.upstream(stage)
    return found


def _differs(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]], path: str) -> bool:
    return old.get(path, {}).get("sha256") != new.get(path, {}).get("sha256")


def _leaf_changes(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(old.keys() | new.keys()):
            yield from _leaf_changes(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        yield key, (old, new)
