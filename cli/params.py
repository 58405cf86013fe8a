"""`gist params`: compose conf/ into params.yaml."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

PARAMS = Path("params.yaml")


def compose(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Hydra overrides, e.g. model=llama-7b train.steps=10")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where to write the composed parameters")] = PARAMS,
) -> None:
    """Compose conf/ (with overrides) into params.yaml and check the result.

    Every call starts from conf/: what an earlier call overrode is not kept, so give all of it in one call, or change conf/.
    An unknown group, key or value leaves the old params.yaml as it was.
    """
    from tasks.compose import compose_params
    from tasks.only_run import only_run
    from tasks.params import load_params
    from tasks.pins import not_here

    existed = output.exists()
    # The parameters of a run must not change while its stages run.
    with only_run(Path()) if output == PARAMS else nullcontext():
        changes = compose_params(overrides or [], output=output)
    for path in not_here(load_params(output), Path()):
        typer.echo(f"note: {path} is not here, and a stage that has to read it will say so", err=True)
    typer.echo(f"{output} composed from conf/" + (f" with {' '.join(overrides)}" if overrides else ""))
    if existed:
        for line in changes or ["nothing in it is different"]:
            typer.echo(f"  {line}")
