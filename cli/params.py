"""`gist params`: compose conf/ into params.yaml, as `dvc exp run -S` does, but without running anything."""

from pathlib import Path
from typing import Annotated

import typer


def compose(
    overrides: Annotated[list[str] | None, typer.Argument(help="Hydra overrides, e.g. model=llama-7b train.steps=10")] = None,
    output: Annotated[Path, typer.Option(help="Where to write the composed parameters")] = Path("params.yaml"),
) -> None:
    """Compose conf/ (with overrides) into params.yaml and check the result.

    An unknown group, key or value leaves the old params.yaml as it was.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException

    from tasks.params import load_params

    composed = output.with_suffix(".new.yaml")
    try:
        compose_and_dump(composed, str(Path("conf").resolve()), None, "config", "", overrides or [])
        load_params(composed)
    except (DvcException, HydraException, ValueError) as error:
        composed.unlink(missing_ok=True)
        raise ValueError(f"{error}") from None
    composed.replace(output)
    typer.echo(f"{output} composed from conf/" + (f" with {' '.join(overrides)}" if overrides else ""))
