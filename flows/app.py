"""`gist flow`, also `python -m flows`: run the pipeline, here or on a Prefect server."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from flows.settings import configure_prefect, require_server, require_server_if_set  # none of which imports Prefect
from tasks.collector import collect_rarely

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run the pipeline as a Prefect flow.",
)

Root = Annotated[Path, typer.Option(help="Folder of the project (with dvc.yaml)")]


@app.command()
def run(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages to make, e.g. report, train, train@gist-1")
    ] = None,
    runs: Annotated[list[str] | None, typer.Option("--run", help="Keep to this run of the matrix stages")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", "-S", help="Override as for `gist params`, e.g. train.steps=10")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Run stages although they are up to date")] = False,
    pull: Annotated[bool, typer.Option(help="Fetch what is missing from the DVC remote")] = False,
    push: Annotated[bool, typer.Option(help="Send what each stage made to the DVC remote")] = False,
    limits: Annotated[
        list[str] | None,
        typer.Option("--limit", help="Stages at a time, by resource, e.g. cpu=4 (default gpu=1 cpu=2 net=1 api=1)"),
    ] = None,
    timeouts: Annotated[
        list[str] | None,
        typer.Option("--timeout", help="Seconds until a stage is stopped, e.g. gpu=7200 or judge@gist-1=600"),
    ] = None,
    dispatch: Annotated[
        str, typer.Option(help="'here', or 'pools': each stage on the work pool of its resource")
    ] = "here",
    plan: Annotated[
        bool, typer.Option("--plan", help="Only print the stages in order, with what each waits for")
    ] = False,
    root: Root = Path("."),
) -> None:
    """Run all stages, or TARGETS with what they depend on. Stages that are up to date are skipped."""
    from flows.parameters import PipelineParameters, make_plan

    root = root.resolve()
    asked = PipelineParameters.checked(
        targets=targets or [],
        runs=runs or [],
        overrides=overrides or [],
        force=force,
        pull=pull,
        push=push,
        limits=_pairs("--limit", limits),
        timeouts_s=_pairs("--timeout", timeouts),
        dispatch=dispatch,
    )
    made = make_plan(root, asked)
    if plan:
        for stage in made.graph.stages.values():
            typer.echo(
                f"{stage.name}  [{stage.resource}]" + (f"  after {', '.join(stage.upstream)}" if stage.upstream else "")
            )
        return
    from tasks.only_run import only_run

    with only_run(root):
        pass  # refuses a second run now, not after Prefect has started; the flow itself holds the lock while it runs
    configure_prefect(root)
    require_server_if_set("a run (PREFECT_API_URL is set)")
    from flows.local import run_here

    raise typer.Exit(run_here(root, asked))


@app.command()
def deploy(root: Root = Path(".")) -> None:
    """Put prefect.yaml on the Prefect server: work pools, deployments, schedules."""
    configure_prefect(root.resolve())
    require_server("a deployment")
    from flows.deploy import deploy as deploy_all

    for line in deploy_all(root.resolve()):
        typer.echo(line)


@app.command()
def worker(
    pools: Annotated[list[str], typer.Argument(help="Work pools to take stages from, e.g. cpu gpu api")],
    limit: Annotated[int | None, typer.Option(help="Flow runs at a time on this machine, per pool", min=1)] = None,
    root: Root = Path("."),
) -> None:
    """Start a worker for each of POOLS that runs its stages in this clone. Ctrl-C ends them and what they run."""
    _require_clone(root)
    configure_prefect(root.resolve())
    require_server("a worker")
    from flows.services import run_workers

    raise typer.Exit(run_workers(pools, root.resolve(), limit))


@app.command()
def serve(
    cron: Annotated[str | None, typer.Option(help='Also run by this schedule, e.g. "0 2 * * *" (UTC)')] = None,
    root: Root = Path("."),
) -> None:
    """Serve the pipeline from this process, without pools or workers: runs started in Prefect's UI or by `cron` run
    here, one at a time. Ctrl-C ends it."""
    _require_clone(root)
    configure_prefect(root.resolve())
    require_server("serving the pipeline")
    from flows.services import serve_pipeline

    raise typer.Exit(serve_pipeline(root.resolve(), cron))


@app.command()
def status(
    limit: Annotated[int, typer.Option(help="How many runs to show, the latest first", min=1, max=200)] = 5,
    root: Root = Path("."),
) -> None:
    """Show the latest runs and how far their stages are."""
    configure_prefect(root.resolve())
    require_server_if_set("looking at runs")
    from flows.runs import describe_runs, give_up_killed_runs

    give_up_killed_runs(root.resolve())
    for line in describe_runs(limit):
        typer.echo(line)


@app.command()
def cancel(
    run: Annotated[
        str, typer.Argument(help="Id (or its first characters) or name of the flow run; see `gist flow status`")
    ],
    root: Root = Path("."),
) -> None:
    """Cancel a run: its stages are stopped with everything they started, what was finished stays."""
    configure_prefect(root.resolve())
    require_server_if_set("cancelling a run")
    from flows.runs import cancel_run, give_up_killed_runs

    give_up_killed_runs(root.resolve())
    typer.echo(cancel_run(run))


def _require_clone(root: Path) -> None:
    if not all((root / name).exists() for name in ("dvc.yaml", "flows/worker.py")):
        raise ValueError(f"{root.resolve()} is no clone of the project; start this in one, or name it with --root")


def _pairs(option: str, values: list[str] | None) -> dict[str, str]:
    pairs = {}
    for value in values or []:
        key, equals, number = value.partition("=")
        if not equals or not number:
            raise ValueError(f"{option} {value!r} is not NAME=NUMBER")
        pairs[key] = number
    return pairs


def main(prefix: list[str] | None = None) -> NoReturn:
    """Entry point of `python -m flows` and `python -m flows.pipeline`. A user's mistake: one message, exit code 2."""
    collect_rarely()
    arguments = [*(prefix or []), *sys.argv[1:]]
    try:
        app(arguments, prog_name="python -m flows")
    except ValueError as error:
        print(f"flows: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(0)
