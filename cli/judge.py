"""`gist judge`: what judging would cost, and what stored answers say under today's parser. Neither makes a call."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Pairwise judging: estimate its price, parse stored answers again.")


@app.command("dry-run")
def dry_run(
    run: Annotated[str | None, typer.Option(help="One of judged_runs; default: all of them")] = None,
) -> None:
    """Print the calls that judging would make and their estimated price. Needs no key and makes no call."""
    from gist_core.scoring.judge import openai_judge
    from gist_core.scoring.judge.store import CallStore
    from tasks.judge import STORE, openai_settings, pairs_by_split
    from tasks.params import load_params

    params = load_params()
    options = params.judge
    if run is not None and run not in params.judged_runs:
        raise ValueError(f"--run {run} is not among judged_runs ({', '.join(params.judged_runs)})")
    if options.provider != "openai":
        typer.echo(f"judge.provider is {options.provider}: no calls, no price.")
        return
    settings = openai_settings(options)
    total: float | None = 0.0
    with CallStore(STORE) as store:
        for name in [run] if run else params.judged_runs:
            found = openai_judge.estimate(
                pairs_by_split(_existing, name), options.protocol, options.seed, settings, store
            )
            total = None if total is None or found.cost_usd is None else total + found.cost_usd
            typer.echo(
                f"{name}: {found.rows} rows, {found.identical_rows} identical; {found.calls} calls "
                f"({options.protocol}), {found.calls_in_store} already answered ({found.spent_usd:.4f} USD), "
                + (f"{found.calls_lost} lost in a kill (judge.lost_calls=ask_again), " if found.calls_lost else "")
                + f"{found.calls_to_make} to make: about {found.input_tokens} tokens in, {found.output_tokens} out, "
                + ("no price known" if found.cost_usd is None else f"{found.cost_usd:.4f} USD")
            )
    if settings.prices is None:
        typer.echo("judge.prices is not set, so there is no estimate in dollars.")
    else:
        assert total is not None
        limit = "none" if settings.budget_usd is None else f"{settings.budget_usd:g} USD per run"
        typer.echo(
            f"Together about {total:.4f} USD with {settings.model} in {settings.mode} mode at the prices of "
            f"{settings.prices.as_of}. Tokens are estimated as UTF-8 bytes / 4. Budget: {limit}."
        )


@app.command("reparse")
def reparse(
    file: Annotated[Path, typer.Argument(help="A file of verdicts, e.g. data/verdicts/gist-1/human.jsonl")],
) -> None:
    """Parse the raw answers of a verdict file again and print what changed.

    It changes nothing by itself: `dvc repro --single-item --force judge@RUN` writes new verdicts from the stored answers.
    """
    from gist_core.scoring.judge.reply import parse_content

    changed: Counter[tuple[str, str]] = Counter()
    calls = 0
    for number, line in enumerate(_existing(file, "judge").read_text(encoding="utf-8").split("\n"), start=1):
        if not line:
            continue
        try:
            record = json.loads(line)
            asked = [call for call in record["calls"] if call["status"] in ("ok", "unparsable")]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{file}, line {number} is not a verdict ({error!r})") from None
        if not record["is_language_model"]:
            raise ValueError(f"{file} holds the verdicts of {record['provider']}, which gave no answers to parse")
        for call in asked:
            calls += 1
            reply = parse_content(call["raw"])
            before, after = _named(call["status"], call["choice"]), _named(reply.status, reply.choice)
            if before != after:
                changed[before, after] += 1
    typer.echo(f"{calls} answers parsed again, {changed.total()} changed")
    for (before, after), times in sorted(changed.items()):
        typer.echo(f"  {before} -> {after}: {times}")


def _named(status: str, choice: str | None) -> str:
    return f"{status} {choice}" if choice else status


def _existing(path: Path, stage: str = "generate") -> Path:
    if not path.exists():
        raise ValueError(f"{path} does not exist here; run this from the project's root, after `dvc repro {stage}`")
    return path
