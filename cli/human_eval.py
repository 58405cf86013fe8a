"""`gist human-eval`: take in what annotators sent back, and look at what it says so far."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tasks import paths

app = typer.Typer(no_args_is_help=True, help="Human evaluation: import the annotators' answers, show the results.")

Folder = Annotated[Path, typer.Option("--package", help="The package that the stage human_package wrote")]
Annotations = Annotated[Path, typer.Option(help="Where the checked answers are kept, in git")]
Verdicts = Annotated[
    Path | None, typer.Option(help="The judge's verdicts (JSON Lines); default: those of the run, if there")
]


@app.command("import")
def import_files(
    files: Annotated[list[Path], typer.Argument(help="Exports of the page, CSV files, Label Studio exports; any mix")],
    package_folder: Folder = paths.HUMAN_EVAL,
    annotations: Annotations = paths.ANNOTATIONS,
    replace: Annotated[
        bool, typer.Option(help="Let answers that differ from stored ones replace them, also in smaller packages")
    ] = False,
    remove_missing: Annotated[
        bool, typer.Option(help="Remove stored answers of these annotators that the files lack: they were withdrawn")
    ] = False,
) -> None:
    """Check answer files against the package and keep them under data/annotations.

    Nothing is kept unless all files are right: another package, an unknown item or annotator, and an item answered
    twice are refused with their places; items without an answer are counted.
    """
    from gist_core.scoring.human_eval.files import read_package
    from gist_core.scoring.human_eval.store import import_answers

    package = read_package(package_folder)
    imported = import_answers(package, files, annotations, replace=replace, remove_missing=remove_missing)
    if not imported:
        typer.echo("No answers in these files; nothing was imported.")
        return
    for one in imported:
        changes = [f", {n} {what}" for n, what in ((one.replaced, "replaced"), (one.removed, "removed")) if n]
        state = "complete" if one.missing == 0 else f"{one.missing} of {len(package.pairs)} items without an answer"
        typer.echo(f"{one.annotator}: {one.new} new, {one.known} known{''.join(changes)}; {state}")
        if one.left_alone:
            typer.echo(
                f"  {one.left_alone} imported before are not in these files and stay; if they were withdrawn, import with "
                "--remove-missing"
            )
    typer.echo(f"Kept in {annotations / package.id}. Next: gist human-eval results, then dvc repro human_eval report")


@app.command()
def results(
    package_folder: Folder = paths.HUMAN_EVAL,
    annotations: Annotations = paths.ANNOTATIONS,
    verdicts: Verdicts = None,
    resamples: Annotated[int, typer.Option(min=1, help="Of the bootstrap over items")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap")] = 0,
    output: Annotated[Path | None, typer.Option(help="Also write all figures to this JSON file")] = None,
) -> None:
    """Show win rates and agreement from the answers imported so far; with the same resamples and seed
    the stage human_eval writes the same figures."""
    from gist_core.scoring.human_eval.files import read_package
    from gist_core.scoring.human_eval.judge import read_judge_ratings
    from gist_core.scoring.human_eval.results import evaluate
    from gist_core.scoring.human_eval.store import load_answers

    if not annotations.is_dir():
        raise ValueError(f"{annotations} does not exist; name the folder with the imported answers by --annotations")
    package = read_package(package_folder)
    found = verdicts or paths.VERDICTS / package.run / "human.jsonl"
    judge = read_judge_ratings(found) if verdicts or found.exists() else None
    figures = evaluate(package, load_answers(package, annotations), judge=judge, resamples=resamples, seed=seed)
    for line in _summary(figures):
        typer.echo(line)
    if output:
        output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _summary(figures: dict[str, Any]) -> list[str]:
    numbers, answers, agreement = figures["num_annotators"], figures["num_answers"], figures["agreement"]
    lines = [
        f"Package {figures['package']}: {figures['run']} against {figures['against']}, "
        f"{figures['items']['drawn']} items",
        f"{answers['given']} of {answers['expected']} answers, "
        f"{numbers['complete']} of {numbers['planned']} annotators complete",
    ]
    for name, one in [*figures["annotators"].items(), ("all", figures["win_rate"])]:
        counts = f"{one['wins']} won, {one['ties']} tied, {one['losses']} lost, {one['unknown']} unknown"
        lines.append(f"  {name:<14} win rate {_figure(one, 'win_rate_pct', 'ci95_pct', ' %', 1)}   ({counts})")
    rows: list[tuple[str, dict[str, Any] | None]] = [
        ("Agreement among annotators", None),
        ("Cohen's kappa (linear, mean of pairs)", agreement["cohen_kappa_linear"]),
        ("Fleiss' kappa", agreement["fleiss_kappa"]),
        ("Krippendorff's alpha (nominal)", agreement["krippendorff_alpha_nominal"]),
        ("Krippendorff's alpha (ordinal)", agreement["krippendorff_alpha_ordinal"]),
        ("same choice", agreement["percent_agreement"]),
    ]
    if judge := figures["judge"]:
        rows += [
            (f"Agreement with the judge: {judge['model'] or judge['provider']} ({judge['n']} comparisons)", None),
            ("Cohen's kappa (linear, mean)", judge["cohen_kappa_linear"]),
            ("same choice", judge["percent_agreement"]),
        ]
    for label, one in rows:
        if one is None:
            lines.append(label)
        elif "mean_pct" in one:
            lines.append(f"  {label:<38} {_figure(one, 'mean_pct', 'ci95_pct', ' %', 1)}")
        else:
            lines.append(f"  {label:<38} {_figure(one, 'value', 'ci95', '', 3)}")
    return lines


def _figure(one: dict[str, Any], value: str, interval: str, unit: str, digits: int) -> str:
    if one[value] is None:
        return "not defined yet"
    ends = f" [{one[interval][0]:.{digits}f}, {one[interval][1]:.{digits}f}]" if one[interval] else ""
    return f"{one[value]:.{digits}f}{unit}{ends}"
