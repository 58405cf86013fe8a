"""`gist judge`: what judging would cost, and what stored answers say under today's parser. Neither makes a call."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

PARSED = ("ok", "unparsable")  # statuses of a call whose answer went through the parser

app = typer.Typer(no_args_is_help=True, help="Pairwise judging: estimate its price, parse stored answers again.")


@app.command("dry-run")
def dry_run(
    run: Annotated[str | None, typer.Option(help="One of judged_runs; default: all of them")] = None,
) -> None:
    """Print the calls that judging would make and their estimated price. Needs no key and makes no call."""
    from gist_core.scoring.judge import openai_judge
    from gist_core.scoring.judge.pair import Pair
    from gist_core.scoring.judge.store import CallStore
    from tasks import paths
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
    asked = {name: pairs_by_split(_existing, name) for name in ([run] if run else params.judged_runs)}
    with CallStore(paths.project_of(Path.cwd()) / STORE) as store:

        def estimate(pairs: dict[str, list[Pair]]) -> openai_judge.Estimate:
            return openai_judge.estimate(pairs, options.protocol, options.seed, settings, store)

        for name, splits in asked.items():
            found = estimate(splits)
            not_asked = (
                (found.calls_lost, "lost in a kill (judge.lost_calls=ask_again)"),
                (found.calls_under_way, "in a batch that has not been collected"),
            )
            typer.echo(
                f"{name}: {found.rows} rows, {found.identical_rows} identical; {found.calls} calls "
                f"({options.protocol}), {found.calls_in_store} already answered ({found.spent_usd:.4f} USD), "
                + "".join(f"{calls} {what}, " for calls, what in not_asked if calls)
                + f"{found.calls_to_make} to make: about {found.input_tokens} tokens in, {found.output_tokens} out, "
                + ("no price known" if found.cost_usd is None else f"{found.cost_usd:.4f} USD")
            )
        # A call that runs share is made once.
        total = estimate(
            {f"{name} {s}": pairs for name, splits in asked.items() for s, pairs in splits.items()}
        ).cost_usd
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
    from gist_core.data.json_lines import read_json_lines
    from gist_core.scoring.judge.reply import parse_content

    changed: Counter[tuple[str, str]] = Counter()
    calls = 0
    for number, record in read_json_lines(_existing(file, "judge")):
        try:
            is_language_model, provider = record["is_language_model"], record["provider"]
            asked = [(c["raw"], _named(c["status"], c["choice"])) for c in record["calls"] if c["status"] in PARSED]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{file}, line {number} is not a verdict ({error!r})") from None
        if not is_language_model:
            raise ValueError(f"{file} holds the verdicts of {provider}, which gave no answers to parse")
        for raw, before in asked:
            calls += 1
            reply = parse_content(raw)
            after = _named(reply.status, reply.choice)
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
