"""How `gist lineage` shows its answers on a terminal: as trees."""

import json
from collections.abc import Iterable
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from cli.terminal import printable
from gist_core.lineage.hashing import dir_hash


def pedigree_tree(pedigree: Any, runs: dict[str, list[dict[str, Any]]], files: bool) -> Tree:
    value = "" if pedigree.value is None else f" = [bold]{_plain(pedigree.value)}[/]"
    tree = Tree(f"{_plain(pedigree.name)}{value}")
    _add_problems(tree, pedigree.problems)
    tree.add(f"{_plain(pedigree.file)}  [dim]sha256 {pedigree.sha256}[/]")
    again = pedigree.recounted
    if again:
        same = f"; counted again from them: {again.value}" if again.value is not None else ""
        tree.add(f"{len(again.row_ids)} rows of {_plain(again.file)}{same}")
    _add_stage(tree, next(iter(pedigree.origins)), pedigree, runs, files, set())
    return tree


def _add_stage(
    tree: Tree, name: str, pedigree: Any, runs: dict[str, list[dict[str, Any]]], files: bool, shown: set[str]
) -> None:
    if name in shown:
        tree.add(f"[bold]{_plain(name)}[/] [dim](above)[/]")
        return
    shown.add(name)
    origin = pedigree.origins[name]
    branch = tree.add(f"[bold]{_plain(name)}[/]  [dim]{_plain(origin.command)}[/]")
    dirty = (
        f" + {len(origin.changed_files)} uncommitted file(s): {', '.join(origin.changed_files)}"
        if origin.changed_files
        else ""
    )
    branch.add(f"commit {origin.commit or 'none (outside git)'}{_plain(dirty)}")
    branch.add(f"parameters {_plain(json.dumps(origin.parameters, sort_keys=True))}")
    around = origin.environment
    lock = (around["lock_file"] or {"digest": {"sha256": "none"}})["digest"]["sha256"][:16]
    gpus = ", ".join(gpu["name"] for gpu in around["hardware"]["gpus"]) or "no GPU"
    packages = f"{len(around['packages'])} packages, lock file {lock}"
    branch.add(_plain(f"environment {around['python']}, {packages}, {around['hardware']['cpu']}, {gpus}"))
    if origin.facts:
        branch.add(f"facts {_plain(json.dumps(origin.facts, sort_keys=True))}")
    if origin.not_reproducible:
        branch.add(f"not the same bytes in another run: {_plain(origin.not_reproducible)}")
    for run in runs[name]:
        branch.add(_plain(f"run {run['started']} for {run.get('duration_s')} s on {run.get('host')}"))
    code = {path: sha256 for path, sha256, maker in origin.inputs if maker is None and path.endswith(".py")}
    if code and not files:
        branch.add(f"code {len(code)} files, dirHash [dim]{dir_hash(code)}[/]")
    for path, sha256, maker in origin.inputs:
        if path in code and not files:
            continue
        rows = pedigree.origins[maker].rows.get(path) if maker in pedigree.origins else None
        count = f" {rows[0]} rows, ids {rows[1][:16]}" if rows else ""
        branch.add(f"input {_plain(path)}{count}  [dim]sha256 {sha256}[/]")
    if not origin.upstream:
        for path, sha256 in origin.outputs:
            branch.add(f"source {_plain(path)}  [dim]sha256 {sha256}[/]")
    for other in origin.upstream:
        _add_stage(branch, other, pedigree, runs, files, shown)


def row_tree(found: Any) -> Tree:
    tree = Tree(f"[bold]{_plain(found.row_id)}[/]")
    _add_problems(tree, found.problems)
    for file, columns in found.rows.items():
        branch = tree.add(f"in {_plain(file)}")
        for key, value in columns.items():
            branch.add(f"{_plain(key)}: {_plain(value)}")
    for path, sha256 in found.source.items():
        tree.add(f"source {_plain(path)}  [dim]{sha256}[/]")
    for event in found.events:
        where = f"{event.file}:{event.line}" if event.line else event.file
        branch = tree.add(f"[bold]{_plain(event.stage)}[/] {_plain(where)}")
        for key, value in (event.record or {}).items():
            if key != "row_id":
                branch.add(f"{_plain(key)}: {_plain(value)}")
    return tree


def diff_tree(found: Any, old: str, new: str) -> Tree:
    tree = Tree(f"[bold]{_plain(old)} -> {_plain(new)}[/]")
    _add_problems(tree, found.problems)
    roots = {change.stage for change in found.roots}
    changed = tree.add(f"{len(found.numbers)} numbers changed")
    for value in found.numbers[:40]:
        changed.add(f"{_plain(value.name)}: {_plain(value.old)} -> {_plain(value.new)}")
    for change in found.stages:
        mark = " [bold](it began here)[/]" if change.stage in roots else ""
        branch = tree.add(f"[bold]{_plain(change.stage)}[/]: {_plain(change.verdict)}{mark}")
        for cause in change.causes:
            branch.add(f"{cause.kind}: {_plain(cause.what)}")
    for label, names in (("only in " + old, found.only_in_old), ("only in " + new, found.only_in_new)):
        if names:
            tree.add(f"{_plain(label)}: {_plain(', '.join(names))}")
    if not found.stages:
        tree.add("no statement differs")
    return tree


def _add_problems(tree: Tree, problems: Iterable[str]) -> None:
    for problem in problems:
        tree.add(f"[bold red]{_plain(problem)}[/]")


def _plain(value: object) -> str:
    """A text taken literally: no markup, and nothing that would control the terminal."""
    return escape(printable(value))
