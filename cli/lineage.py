"""`gist lineage`: where a number came from, what happened to a row, whether anything was changed, and why a number
moved."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.dvc_project import cache_of, declared_outs, remotes_of
from cli.lineage_trees import diff_tree, pedigree_tree, row_tree
from cli.terminal import printable
from gist_core.lineage.hashing import sha256_of_path
from gist_core.lineage.store import ObjectStore

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
    if html:
        _refuse_what_a_stage_made(root, html)
    pedigree = Tracer(root).why(number)
    if as_json:
        _print_json(dataclasses.asdict(pedigree))
    elif html:
        html.write_text(page(pedigree), encoding="utf-8", errors="backslashreplace")
        typer.echo(f"{html} written")
    else:
        from gist_core.lineage.statement import FOLDER

        runs = {
            stage: [
                run for run in runs_of(root, sha256_of_path(root / FOLDER / f"{stage}.json"))[-1:] if "started" in run
            ]
            for stage in pedigree.origins
        }
        _console().print(pedigree_tree(pedigree, runs, files))
    if pedigree.problems:
        raise typer.Exit(1)


@app.command()
def audit(as_json: AsJson = False) -> None:
    """Follow every number of every result to its sources, as `why` does for one. Exit code 1 if one has a problem."""
    from tqdm import tqdm

    from gist_core.lineage.audit import every_number

    root = _root()
    audited = [*tqdm(every_number(root), unit="number", disable=None, desc="audit", leave=False)]
    problems = [(number.name, problem) for number in audited for problem in number.problems]
    if as_json:
        _print_json([dataclasses.asdict(number) for number in audited])
    else:
        for name, problem in problems:
            typer.echo(printable(f"{name}: {problem}"))
        state = f"{len({name for name, _ in problems})} with a problem" if problems else "no problem"
        typer.echo(f"{len(audited):,} numbers followed to their sources: {state}")
    if problems:
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
        _console().print(row_tree(found))
    if found.problems:
        raise typer.Exit(1)


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
        stores += remotes_of(root, remote)
    with tqdm(unit="B", unit_scale=True, disable=None, desc="verify", leave=False) as bar:
        allowed = signers.resolve() if signers else None
        result = check(root, stores, declared_outs, signers=allowed, progress=bar.update)
    if as_json:
        _print_json(dataclasses.asdict(result) | {"ok": result.ok})
    else:
        for finding in result.findings:
            typer.echo(printable(f"{finding.place}: {finding.path}: {finding.problem}"))
        for note in result.notes:
            typer.echo(printable(f"note: {note}"), err=True)
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
        _console().print(diff_tree(found, old, new))
    if found.problems:
        raise typer.Exit(1)


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

    root = _root()
    if output:
        _refuse_what_a_stage_made(root, output)
    text = write(root, form, run)
    if output:
        output.write_text(text, encoding="utf-8")
        typer.echo(f"{output} written")
    else:
        sys.stdout.write(text)


def _root() -> Path:
    """The current folder, to which every path is relative. Raises ValueError if it is not the root of a DVC project."""
    root = Path.cwd()
    if not any((root / name).is_file() for name in ("dvc.yaml", "dvc.lock")):
        raise ValueError(f"{root} is not the root of the project: it has neither dvc.yaml nor dvc.lock; change to that")
    return root


def _refuse_what_a_stage_made(root: Path, output: Path) -> None:
    """Raises ValueError if a page or an export would overwrite, or land inside, what the lineage itself rests on."""
    own = ["dvc.yaml", "dvc.lock", "params.yaml", *(out for outs in declared_outs(root).values() for out in outs)]
    places = (output.absolute(), output.resolve())  # the path as given, and where a link leads
    outs = [(name, (root / name).absolute(), (root / name).resolve()) for name in own]
    if name := next((name for name, *of in outs if any(at.is_relative_to(out) for at in places for out in of)), None):
        raise ValueError(f"{output} is, or is in, {name}, which the lineage rests on; write it elsewhere")


def _console() -> Console:
    """Folds lines on a terminal; in a pipe or file each line stays whole, hashes included."""
    console = Console(highlight=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, width=UNFOLDED)


def _print_json(value: Any) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False, default=str)
    # Half of a surrogate pair is written as its escape, which is valid JSON too.
    typer.echo(text.encode(errors="backslashreplace").decode())
