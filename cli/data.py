"""`gist data`: look at the data that the pipeline trains on."""

import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks import paths

if TYPE_CHECKING:
    from gist_core.data.describe import Table

app = typer.Typer(no_args_is_help=True, help="Look at the data: facts, lengths, proof, and a check of your own file.")


@app.command()
def describe(
    folder: Annotated[Path, typer.Option(help="The built data")] = paths.ALPACA_PLUS,
    tokenizer: Annotated[
        Path | None, typer.Option(help="A model folder, e.g. data/base_model: adds lengths in its tokens")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the lengths into this .svg, .png or .pdf")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables, e.g. for a data card")] = False,
) -> None:
    """Print the facts of the data: sizes, lengths, overlap, what was left out and why, sources and proof."""
    from gist_core.data.assemble import read_facts
    from gist_core.data.describe import tables_of, token_lengths
    from gist_core.data.plot import plot_lengths

    facts = read_facts(folder)
    splits = list(facts["splits"])
    tokens = token_lengths(folder, splits, tokenizer) if tokenizer is not None else None
    if plot is not None:
        plot_lengths(folder, splits, plot)
    tables = tables_of(facts, tokens)
    if markdown:
        typer.echo("\n".join(table.markdown() for table in tables))
    else:
        _print(tables)
    if plot is not None:
        typer.echo(f"lengths drawn into {plot}", err=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Your own file: .jsonl, .json, .csv or .parquet")],
    instruction: Annotated[str, typer.Option(help="The column with instructions")] = "instruction",
    input_column: Annotated[str, typer.Option("--input", help="The column with inputs; '' = there is none")] = "input",
    output: Annotated[str, typer.Option(help="The column with reference outputs")] = "output",
    human_file: Annotated[
        Path | None, typer.Option(help="A file like it with the rows for human; without it, half of unseen")
    ] = None,
    num_seen: Annotated[int, typer.Option(help="Rows wanted for seen", min=1)] = 100,
    num_unseen: Annotated[int, typer.Option(help="Rows wanted for unseen", min=1)] = 100,
) -> None:
    """Read your own file as the pipeline would, and print how it would be split, without writing anything."""
    from gist_core.data.assemble import build_own
    from gist_core.data.own import read_own, refuse_same_name
    from gist_core.data.rows import SPLITS, VALIDATION_SPLITS

    names = {"instruction": instruction, "input": input_column or None, "output": output}
    own = read_own(file, names)
    human = read_own(human_file, names) if human_file is not None else None
    if human_file is not None:
        refuse_same_name(human_file, [file.name])
    built = build_own(own, human, num_seen=num_seen, num_unseen=num_unseen)
    splits = built.splits
    report = {name: len(getattr(splits, name)) for name in SPLITS}
    for name in VALIDATION_SPLITS:
        pairs = {(built.instructions[p], built.inputs[p]) for p in getattr(splits, name)}
        if repeated := report[name] - len(pairs):
            typer.echo(
                f"{name}: {repeated} of {report[name]} rows repeat the instruction and input of another, so its intervals will "
                "be too narrow; leave one of each",
                err=True,
            )
    held_out = report["unseen"] + (report["human"] if human is None else 0)
    for name, found, wanted, source in (
        ("seen", report["seen"], num_seen, "instructions with several inputs"),
        ("unseen", held_out, num_unseen, "instructions with one input, and at most half of those with several"),
    ):
        if found < wanted:
            typer.echo(f"{name}: {found} rows, where {wanted} were wanted; they come from {source}", err=True)
    left_out = {"left_out": len(splits.dropped), **Counter(splits.dropped.values())}
    typer.echo(json.dumps({"rows": len(own.records), **report, **left_out}))
    columns = ", ".join(f"{field}: {_hydra_value(name)}" for field, name in names.items())
    overrides = [
        "data=own",
        f"data.rows.file={_hydra_value(str(file))}",
        *([f"+data.rows.human_file={_hydra_value(str(human_file))}"] if human_file is not None else []),
        f"data.rows.columns={{{columns}}}",
        f"data.num_seen={num_seen}",
        f"data.num_unseen={num_unseen}",
    ]
    typer.echo(f"Use it: gist params {shlex.join(overrides)}")


def _hydra_value(text: str | None) -> str:
    """The text as a value in an override: quoted unless it is plainly a word or a path."""
    from hydra.core.override_parser.types import Quote, QuotedString

    if text is None:
        return "null"
    if re.fullmatch(r"[A-Za-z_/][A-Za-z0-9_./-]*", text) and text.lower() not in (
        "null",
        "true",
        "false",
        "nan",
        "inf",
    ):
        return text
    if "${" in text:
        raise ValueError(f"the name {text!r} holds '${{', which begins a reference in parameters; rename it")
    return QuotedString(text, Quote.single).with_quotes()


def _print(tables: "list[Table]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Shown

    # Without a terminal, the console is wide enough that nothing is cut.
    console = Console(width=None if Console().is_terminal else 200, markup=False, emoji=False)
    for table in tables:
        shown = Shown(title=table.title, box=box.SIMPLE_HEAD, title_justify="left")
        for number, head in enumerate(table.heads):
            shown.add_column(head, justify="left" if number == 0 else "right")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
