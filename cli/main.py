"""`gist`: every command for people that is not a stage. One module per group of commands."""

import sys

import typer

from cli import cache, data, human_eval, judge, lineage, params, plan
from cli.terminal import printable
from flows import app as flow
from gist_core.lineage.intact import NotIntactError
from tasks.collector import collect_rarely

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
    """Console entry point. A user's mistake (ValueError, or a file that cannot be read or written) gives one message and
    exit code 2; files that are not what their statements say give one message per problem and exit code 1."""
    collect_rarely()
    try:
        app()
    except NotIntactError as error:
        for problem in error.problems:
            print(f"gist: {printable(problem)}", file=sys.stderr)
        raise SystemExit(1) from None
    except ValueError as error:
        print(f"gist: {printable(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"gist: {printable(said)}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
