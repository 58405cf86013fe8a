"""`gist lineage`: where a number came from, what happened to a row, whether anything was changed, and why a number
moved."""

import dataclasses
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from gist_core.lineage.hashing import dir_hash, sha256_of_path
from gist_core.lineage.store import ObjectStore, cache_of

app = typer.Typer(no_args_is_help=True, help="Where every number came from, and whether anything was changed.")

UNFOLDED = 100_000  # columns
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable, on standard output")]


@app.command()
def why(
    number: Annotated[
        str, typer.Argument(help="FILE:dotted.path, e.g. reports/metrics.json:human.rouge_l.gist-1, or FILE")
    ],
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(help="Write a page instead of a tree")] = None,
    files: Annotated[
        bool, typer.Option("--files", help="Name every file of code instead of their common hash")
    ] = False,
) -> None:
    """Walk from a number to its rows, generations, weights, data, sources, commits and parameters."""
    from gist_core.lineage.page import page
    from gist_core.lineage.runlog import runs_of
    from gist_core.lineage.why import Tracer

    root = _root()
    pedigree = Tracer(root).why(number)
    if as_json:
        _print_json(dataclasses.asdict(pedigree) | {"keys": list(pedigree.keys)})
    elif html:
        html.write_text(page(pedigree), encoding="utf-8")
        typer.echo(f"{html} written")
    else:
        from gist_core.lineage.statement import FOLDER

        runs = {
            stage: [
                run for run in runs_of(root, sha256_of_path(root / FOLDER / f"{stage}.json"))[-1:] if "started" in run
            ]
            for stage in pedigree.origins
        }
        _console().print(_tree(pedigree, runs, files))
    if pedigree.problems:
        raise typer.Exit(1)


@app.command()
def row(
    row_id: Annotated[str, typer.Argument(help="Row id, or its first six digits or more")], as_json: AsJson = False
) -> None:
    """Everything that ever happened to one row."""
    from gist_core.lineage.rows import history

    found = history(_root(), row_id)
    if as_json:
        _print_json(dataclasses.asdict(found))
    else:
        _console().print(_row_tree(found))
    if found.problems:
        raise typer.Exit(1)


def _row_tree(found: Any) -> Tree:
    tree = Tree(f"[bold]{found.row_id}[/]")
    _add_problems(tree, found.problems)
    for file, columns in found.rows.items():
        branch = tree.add(f"in {escape(file)}")
        for key, value in columns.items():
            branch.add(f"{escape(str(key))}: {escape(str(value))}")
    for path, sha256 in found.source.items():
        tree.add(f"source {escape(path)}  [dim]{sha256}[/]")
    for stage in found.trained:
        tree.add(f"{escape(stage)} trained on it")
    for event in found.events:
        where = f"{event.file}:{event.line}" if event.line else event.file
        branch = tree.add(f"[bold]{escape(event.stage)}[/] {escape(where)}")
        for key, value in (event.record or {}).items():
            if key != "row_id":
                branch.add(f"{escape(str(key))}: {escape(str(value))}")
    return tree


@app.command()
def verify(
    remote: Annotated[
        str | None, typer.Option(help="DVC remote to check too; default: the project's default remote")
    ] = None,
    no_remote: Annotated[bool, typer.Option("--no-remote", help="Check workspace and cache only")] = False,
    signers: Annotated[Path | None, typer.Option(help="Allowed signers; every statement must be signed by one")] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every hash in workspace, cache and remote against the statements and dvc.lock. Exit code 1 if one
    differs."""
    from tqdm import tqdm

    from gist_core.lineage.verify import verify as check

    root = _root()
    stores: list[ObjectStore] = [cache_of(root)]
    if not no_remote:
        stores += _remotes(root, remote)
    with tqdm(unit="B", unit_scale=True, disable=None, desc="verify", leave=False) as bar:
        allowed = signers.resolve() if signers else None
        result = check(root, stores, declared_outs, signers=allowed, progress=bar.update)
    if as_json:
        _print_json(dataclasses.asdict(result) | {"ok": result.ok})
    else:
        for finding in result.findings:
            typer.echo(f"{finding.place}: {finding.path}: {finding.problem}")
        for note in result.notes:
            typer.echo(f"note: {note}", err=True)
        state = "nothing differs" if result.ok else f"{len(result.findings)} finding(s)"
        places = ", ".join(["workspace", *(store.label for store in stores)])
        if result.unstated:
            state += f"; {result.unstated} of {result.stages} stages could not be checked against a statement"
        typer.echo(f"{result.files_read} files, {result.bytes_read / 1e6:.1f} MB read in {places}: {state}")
    if not result.ok:
        raise typer.Exit(1)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="Git revision")],
    new: Annotated[str, typer.Argument(help="Git revision, or `workspace`")] = "workspace",
    number: Annotated[
        str | None, typer.Argument(help="Only this number (FILE:dotted.path) or file, and what it rests on")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Why a number changed: data, code, parameters, environment, weights, or nothing that was stated."""
    from gist_core.lineage.diff import difference

    root = _root()
    found = difference(root, old, new, [cache_of(root)], number)
    if as_json:
        _print_json(dataclasses.asdict(found) | {"roots": [change.stage for change in found.roots]})
    else:
        _console().print(_diff_tree(found, old, new))
    if found.problems:
        raise typer.Exit(1)


def _diff_tree(found: Any, old: str, new: str) -> Tree:
    tree = Tree(f"[bold]{escape(old)} -> {escape(new)}[/]")
    _add_problems(tree, found.problems)
    roots = {change.stage for change in found.roots}
    changed = tree.add(f"{len(found.numbers)} numbers changed")
    for value in found.numbers[:40]:
        changed.add(f"{escape(value.name)}: {value.old} -> {value.new}")
    for change in found.stages:
        mark = " [bold](it began here)[/]" if change.stage in roots else ""
        branch = tree.add(f"[bold]{escape(change.stage)}[/]: {escape(change.verdict)}{mark}")
        for cause in change.causes:
            branch.add(f"{cause.kind}: {escape(cause.what)}")
    for label, names in (("only in " + old, found.only_in_old), ("only in " + new, found.only_in_new)):
        if names:
            tree.add(f"{escape(label)}: {escape(', '.join(names))}")
    if not found.stages:
        tree.add("no statement differs")
    return tree


@app.command()
def sign(
    key: Annotated[Path, typer.Option(help="Private SSH key, or a public one whose private half an agent holds")],
    stages: Annotated[list[str] | None, typer.Argument(help="Stages; default: all")] = None,
) -> None:
    """Sign statements with an SSH key, as git signs commits. `gist lineage verify --signers FILE` checks them."""
    from gist_core.lineage import signing
    from gist_core.lineage.statement import FOLDER

    root = _root()
    names = stages or sorted(path.stem for path in (root / FOLDER).glob("*.json"))
    if not names:
        raise ValueError(f"there are no statements under {FOLDER} to sign; `dvc pull` or `dvc repro` brings them")
    for name in names:
        statement = root / FOLDER / f"{name}.json"
        if not statement.exists():
            raise ValueError(f"there is no statement of {name!r} ({FOLDER / name}.json)")
        signing.sign(statement, key, root / signing.FOLDER / f"{name}.json.sig")
    typer.echo(f"{len(names)} statement(s) signed in {signing.FOLDER}")


@app.command()
def export(
    form: Annotated[str, typer.Argument(help="openlineage, prov, model-card or croissant")],
    output: Annotated[Path | None, typer.Option(help="File to write; default: standard output")] = None,
    run: Annotated[str | None, typer.Option(help="Run of a model card, e.g. gist-1")] = None,
) -> None:
    """Export the lineage as OpenLineage events, W3C PROV (PROV-JSON), a model card, or Croissant."""
    from gist_core.lineage.export import export as write

    text = write(_root(), form, run)
    if output:
        output.write_text(text, encoding="utf-8")
        typer.echo(f"{output} written")
    else:
        sys.stdout.write(text)


class RemoteStore:
    """A DVC remote, of any kind that DVC reads.

    Raises:
        ValueError: it cannot be reached, now or at an object. An object that it does not have is none.
    """

    def __init__(self, odb: Any, name: str) -> None:
        self._odb, self.label = odb, f"remote {name}"
        self._local = odb.fs.protocol == "local"
        if self._local and not Path(odb.path).is_dir():
            raise ValueError(
                f"{self.label} is {odb.path}, which does not exist: `dvc push` makes it; "
                "is its disk mounted? `--no-remote` checks workspace and cache only"
            )
        source = self.open("0" * 32)
        if source:
            source.close()

    def path(self, md5: str) -> Path | None:
        file = Path(self._odb.oid_to_path(md5))
        return file if self._local and file.is_file() else None

    def open(self, md5: str) -> BinaryIO | None:
        try:
            return self._odb.fs.open(self._odb.oid_to_path(md5), "rb")
        except FileNotFoundError as error:
            # HTTP's says so of everything; why, stands in its cause: a status other than 404, or no connection.
            cause = error.__cause__
            if not isinstance(cause, OSError) and getattr(cause, "status", 404) == 404:
                return None
            reason = cause
        except OSError as error:
            reason = error
        raise ValueError(
            f"{self.label} ({self._odb.path}) cannot be reached: {reason}; `--no-remote` checks workspace and cache only"
        )


def declared_outs(root: Path) -> dict[str, list[str]]:
    """The outs of every stage as dvc.yaml declares them, templates resolved. dvc.lock, which may be broken, is not read.

    Raises:
        ValueError: dvc.yaml, or a file that its templates name, cannot be read.
    """
    import yaml
    from dvc.dvcfile import load_file
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        for name in ("dvc.yaml", "params.yaml"):
            # DVC's parser is C and ends the process where this one raises RecursionError.
            yaml.safe_load((root / name).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise ValueError(f"{name} cannot be read: {' '.join(str(error).split())}") from None
    try:
        with Repo(str(root)) as repo:
            stages = load_file(repo, str(root / "dvc.yaml")).resolver.resolve().get("stages")
    except (DvcException, OSError) as error:
        raise ValueError(f"its stages cannot be read: {' '.join(str(error).split())}") from None
    if not stages:
        raise ValueError("it declares no stage")
    return {
        name: [
            out if isinstance(out, str) else next(iter(out))
            for kind in ("outs", "metrics", "plots")
            for out in stage.get(kind) or []
        ]
        for name, stage in stages.items()
    }


def _remotes(root: Path, name: str | None) -> list[ObjectStore]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            chosen = name or repo.config["core"].get("remote")
            return [RemoteStore(repo.cloud.get_remote_odb(chosen, "verify"), chosen)] if chosen else []
    except DvcException as error:
        raise ValueError(f"the remote cannot be opened: {error}") from None


def _tree(pedigree: Any, runs: dict[str, list[dict[str, Any]]], files: bool) -> Tree:
    value = "" if pedigree.value is None else f" = [bold]{escape(str(pedigree.value))}[/]"
    tree = Tree(f"{escape(pedigree.name)}{value}")
    _add_problems(tree, pedigree.problems)
    tree.add(f"{escape(pedigree.file)}  [dim]sha256 {pedigree.sha256}[/]")
    again = pedigree.recounted
    if again:
        same = f"; counted again from them: {again.value}" if again.value is not None else ""
        tree.add(f"{len(again.row_ids)} rows of {escape(again.file)}{same}")
    _add_stage(tree, next(iter(pedigree.origins)), pedigree, runs, files, set())
    return tree


def _add_problems(tree: Tree, problems: Iterable[str]) -> None:
    for problem in problems:
        tree.add(f"[bold red]{escape(problem)}[/]")


def _add_stage(
    tree: Tree, name: str, pedigree: Any, runs: dict[str, list[dict[str, Any]]], files: bool, shown: set[str]
) -> None:
    if name in shown:
        tree.add(f"[bold]{escape(name)}[/] [dim](above)[/]")
        return
    shown.add(name)
    origin = pedigree.origins[name]
    branch = tree.add(f"[bold]{escape(name)}[/]  [dim]{escape(origin.command)}[/]")
    dirty = (
        f" + {len(origin.changed_files)} uncommitted file(s): {', '.join(origin.changed_files)}"
        if origin.changed_files
        else ""
    )
    branch.add(f"commit {origin.commit or 'none (outside git)'}{escape(dirty)}")
    branch.add(f"parameters {escape(json.dumps(origin.parameters, sort_keys=True))}")
    around = origin.environment
    lock = (around["lock_file"] or {"digest": {"sha256": "none"}})["digest"]["sha256"][:16]
    gpus = ", ".join(gpu["name"] for gpu in around["hardware"]["gpus"]) or "no GPU"
    packages = f"{len(around['packages'])} packages, lock file {lock}"
    branch.add(escape(f"environment {around['python']}, {packages}, {around['hardware']['cpu']}, {gpus}"))
    if origin.facts:
        branch.add(f"facts {escape(json.dumps(origin.facts, sort_keys=True))}")
    if origin.not_reproducible:
        branch.add(f"not the same bytes in another run: {escape(origin.not_reproducible)}")
    for run in runs[name]:
        branch.add(escape(f"run {run['started']} for {run.get('duration_s')} s on {run.get('host')}"))
    code = {path: sha256 for path, sha256, maker in origin.inputs if maker is None and path.endswith(".py")}
    if code and not files:
        branch.add(f"code {len(code)} files, dirHash [dim]{dir_hash(code)}[/]")
    for path, sha256, maker in origin.inputs:
        if path in code and not files:
            continue
        rows = pedigree.origins[maker].rows.get(path) if maker in pedigree.origins else None
        count = f" {rows[0]} rows, ids {rows[1][:16]}" if rows else ""
        branch.add(f"input {escape(path)}{count}  [dim]sha256 {sha256}[/]")
    if not origin.upstream:
        for path, sha256 in origin.outputs:
            branch.add(f"source {escape(path)}  [dim]sha256 {sha256}[/]")
    for other in origin.upstream:
        _add_stage(branch, other, pedigree, runs, files, shown)


def _root() -> Path:
    """The current folder. Raises ValueError if it is not the root of a DVC project: every path is relative to that."""
    root = Path.cwd()
    if not any((root / name).is_file() for name in ("dvc.yaml", "dvc.lock")):
        raise ValueError(f"{root} is not the root of the project: it has neither dvc.yaml nor dvc.lock; change to that")
    return root


def _console() -> Console:
    """Lines are folded for a terminal; in a pipe or file each stays whole, hashes included."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=UNFOLDED)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))
