"""Why a number changed between two revisions: the data, the code, the parameters, the environment, the weights.

For each stage whose statement differs, its own causes are told from those it inherits: an input that changed because an
earlier stage made something else points to that stage. A result that changed although nothing it depends on did is
reported as such."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gist_core.lineage import numbers
from gist_core.lineage.intact import NotIntactError
from gist_core.lineage.ledger import Ledger, Statement
from gist_core.lineage.revision import Side, ledger_at
from gist_core.lineage.store import ObjectStore
from gist_core.lineage.walk import Walk

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


@dataclass(frozen=True)
class Cause:
    """kind: data, code, parameters, environment, weights (of an upstream model), or upstream (made by another stage)."""

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
    """problems: result files that were not compared because their bytes are not here; empty if all were."""

    numbers: tuple[NumberChange, ...]
    stages: tuple[StageChange, ...]
    only_in_old: tuple[str, ...]
    only_in_new: tuple[str, ...]
    problems: tuple[str, ...] = ()

    @property
    def roots(self) -> tuple[StageChange, ...]:
        """The stages where the change began: with a cause of their own, or with none at all."""
        return tuple(s for s in self.stages if (s.outs and any(c.kind != "upstream" for c in s.causes)) or not s.causes)


@dataclass(frozen=True)
class Basis:
    """What a number rests on in either revision. inputs: the paths that count, by stage. outs: all of them, and the
    number's own file. moved: the stage that made that file, if the number has changed."""

    inputs: Mapping[str, frozenset[str]]
    outs: frozenset[str]
    moved: str | None


def compare(old: Ledger, new: Ledger, basis: Basis | None = None) -> tuple[StageChange, ...]:
    """The stages whose statements differ, in the order of the graph. basis: what a number rests on; everything else is
    left out."""
    both = [name for name in new.in_order() if name in old.statements and (basis is None or name in basis.inputs)]
    changes = (_stage_change(name, old.statements[name], new.statements[name], new, basis) for name in both)
    return tuple(change for change in changes if change.causes or change.outs)


def difference(root: Path, old: str, new: str, stores: Sequence[ObjectStore], only: str | None = None) -> Difference:
    """Compares two revisions. only: a number (`FILE:dotted.path`) or file; what it does not rest on, by the walk of
    `why`, is left out.

    Raises:
        ValueError: see `ledger_at`; or `only` is in neither revision.
        NotIntactError: see `ledger_at`; or the file of `only` is not here as its statement names it.
    """
    sides = [Side(root, revision, ledger_at(root, revision, stores), stores) for revision in (old, new)]
    before, after = (side.ledger for side in sides)
    names_old, names_new = set(before.statements), set(after.statements)
    if only:
        changed, basis = _narrowed(sides, only)
        problems: list[str] = []
        names_old, names_new = names_old & basis.inputs.keys(), names_new & basis.inputs.keys()
    else:
        (changed, problems), basis = _all_numbers(sides), None
    gone, added = (
        tuple(sorted(names_old - after.statements.keys())),
        tuple(sorted(names_new - before.statements.keys())),
    )
    return Difference(tuple(changed), compare(before, after, basis), gone, added, tuple(problems))


def _narrowed(sides: Sequence[Side], only: str) -> tuple[list[NumberChange], Basis]:
    """The changes of a number or of the numbers of a file, and what it rests on in the revisions that have it."""
    file, _, dotted = only.partition(":")
    having = [side for side in sides if file in side.ledger.producers]
    revisions = " or ".join(side.revision for side in sides)
    if not having:
        raise ValueError(f"no statement of {revisions} accounts for {file}")
    contents = [side.content(file) if dotted or file.endswith((".json", ".jsonl")) else None for side in sides]
    places: dict[str, tuple[str | int, ...]] = {}
    reason = ""
    for side, content in zip(sides, contents, strict=True):
        try:
            if side in having:
                places[side.revision], _ = numbers.lookup(content, dotted)
        except ValueError as error:
            reason = str(error)
    if not places:
        raise ValueError(f"{file} of {revisions}: {reason}")
    found = [
        change for keys in dict.fromkeys(places.values()) for change in _changes(file, contents[0], contents[1], keys)
    ]
    inputs: dict[str, frozenset[str]] = {}
    for side, content in zip(sides, contents, strict=True):
        if side.revision in places:
            walk = Walk(side.ledger)
            runs, splits = walk.concerns(file, places[side.revision], content)
            for name, origin in walk.behind(side.ledger.producers[file], runs, splits).items():
                inputs[name] = inputs.get(name, frozenset()) | {path for path, _, _ in origin.inputs}
    outs = frozenset({file}.union(*inputs.values()))
    return found, Basis(inputs, outs, having[-1].ledger.producers[file] if found else None)


def _all_numbers(sides: Sequence[Side]) -> tuple[list[NumberChange], list[str]]:
    """The changes of every number of the result files, and why files were not compared."""
    changes: list[NumberChange] = []
    problems: list[str] = []
    for file in sorted({file for side in sides for file in side.ledger.producers if numbers.is_result(file)}):
        try:
            old, new = (side.content(file) for side in sides)
            changes += _changes(file, old, new, ())
        except NotIntactError as error:
            problems += error.problems
    return changes, problems


def _changes(file: str, old: Any, new: Any, under: tuple[str | int, ...]) -> Iterator[NumberChange]:
    a, b = (dict(numbers.leaves(content)) for content in (old, new))
    for keys in [*b, *(k for k in a if k not in b)]:
        if a.get(keys) != b.get(keys) and keys[: len(under)] == under:
            yield NumberChange(f"{file}:{'.'.join(map(str, keys))}", a.get(keys), b.get(keys))


def _stage_change(name: str, old: Statement, new: Statement, ledger: Ledger, basis: Basis | None) -> StageChange:
    causes = tuple(_causes(old, new, ledger))
    outs = tuple(sorted(p for p in old.outputs.keys() | new.outputs.keys() if _differs(old.outputs, new.outputs, p)))
    if basis is not None:
        here = tuple(_causes(old, new, ledger, basis.inputs[name]))
        outs = tuple(path for path in outs if path in basis.outs)
        if causes and not here and name != basis.moved:
            outs = ()  # they differ because of what the number does not rest on
        causes = here or (causes if name == basis.moved else ())
    return StageChange(name, causes, outs, _verdict(causes, outs, old, new))


def _causes(old: Statement, new: Statement, ledger: Ledger, read: Collection[str] | None = None) -> Iterator[Cause]:
    """read: the only inputs that count; default: all."""
    for path in sorted(old.inputs.keys() | new.inputs.keys()):
        if _differs(old.inputs, new.inputs, path) and (read is None or path in read):
            maker = ledger.maker(path)
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


def _differs(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]], path: str) -> bool:
    return old.get(path, {}).get("sha256") != new.get(path, {}).get("sha256")


def _leaf_changes(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(old.keys() | new.keys()):
            yield from _leaf_changes(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        yield key, (old, new)
