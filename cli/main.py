"""`gist`: everything that a person types which is not a stage. One module per group of commands."""

import sys

import typer

from cli import cache, data, flow, human_eval, judge, lineage, params, plan

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("params")(params.compose)
app.command("plan")(plan.plan)
app.command("compress")(cache.compress)
app.command("generate")(cache.generate)
app.add_typer(data.app, name="data")
app.add_typer(flow.app, name="flow")
app.add_typer(human_eval.app, name="human-eval")
app.add_typer(judge.app, name="judge")
app.add_typer(lineage.app, name="lineage")


@app.callback()
def gist() -> None:
    """Compress prompts into gist tokens, and audit the results."""


def main() -> None:
    """Console entry point. A user's mistake (ValueError) is one message and exit code 2."""
    try:
        app()
    except ValueError as error:
        print(f"gist: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
