"""conf/ composed into params.yaml, as `dvc exp run -S` does it, but without running anything.
The one way in which overrides reach the pipeline: `gist params` and the flow's `overrides` both come here."""

from collections.abc import Sequence
from pathlib import Path

from tasks.params import load_params


def compose_params(
    overrides: Sequence[str] = (), *, conf: Path = Path("conf"), output: Path = Path("params.yaml")
) -> None:
    """Composes `conf`/config.yaml with Hydra overrides ("model=llama-7b", "train.steps=10") into `output`.

    Raises:
        ValueError: an unknown group, key or value; `output` is left as it was.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException

    if not (conf / "config.yaml").is_file():
        raise ValueError(
            f"{conf / 'config.yaml'} does not exist, so there is nothing that {' '.join(overrides)} could override"
        )
    composed = output.with_suffix(".new.yaml")
    try:
        compose_and_dump(composed, str(conf.resolve()), None, "config", "", list(overrides))
        load_params(composed)
    except (DvcException, HydraException, ValueError) as error:
        composed.unlink(missing_ok=True)
        raise ValueError(f"{error}") from None
    composed.replace(output)
