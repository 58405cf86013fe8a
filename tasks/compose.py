"""Composes conf/ into params.yaml with Hydra, with pins (tasks/pins.py). `gist params` and the flow's `overrides` both come
here. DVC does not compose it (its `hydra.enabled` is off): `dvc exp run` would then begin with conf/ and not with params.yaml,
and leave out, without a word, the user's own data and model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gist_core.lineage.yaml12 import parse_yaml
from tasks.params import load_params
from tasks.pins import as_written, pins


def compose_params(
    overrides: Sequence[str] = (),
    *,
    conf: Path = Path("conf"),
    output: Path = Path("params.yaml"),
    pinned: bool = True,
) -> list[str]:
    """Composes `conf`/config.yaml with Hydra overrides ("model=llama-7b", "train.steps=10") into `output`.

    pinned: note the content of local files beside their names (tasks/pins.py).

    Returns: what has changed, one line for each key, e.g. "train.steps: 200 -> 10".

    Raises:
        ValueError: an unknown group, key or value, or `output` cannot be written; it is left as it was.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException, OverrideParseException

    if not (conf / "config.yaml").is_file():
        raise ValueError(
            f"{conf / 'config.yaml'} does not exist, so there is nothing that {' '.join(overrides)} could override"
        )
    if output.is_dir() or not output.parent.is_dir() or output.resolve().is_relative_to(conf.resolve()):
        raise ValueError(
            f"{output} cannot be written: it is a folder, or in none, or in {conf}/, from which it is composed"
        )
    composed = output.with_suffix(".new.yaml")
    try:
        compose_and_dump(composed, str(conf.resolve()), None, "config", "", list(overrides))
        params = load_params(composed, called="what this composes")
        if pinned and (found := pins(params, conf.parent)):
            compose_and_dump(composed, str(conf.resolve()), None, "config", "", [*overrides, *found])
        after = _leaves(parse_yaml(composed.read_text("utf-8")))
        before = _leaves(as_written(output))  # empty if there was none, or one that could not be read
        composed.replace(output)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"a file in {conf} cannot be read as YAML: {' '.join(str(error).split())}") from None
    except OverrideParseException as error:
        if not error.override.isascii() or "'" in error.override:
            hint = "a value with a letter beyond ASCII or an apostrophe needs quotes of its own: 'KEY=\"VALUE\"'"
        else:
            hint = "an override is KEY=VALUE, +KEY=VALUE for a new key, or ~KEY to take one out"
        raise ValueError(f"{error}\n{hint}") from None
    except (DvcException, HydraException) as error:
        raise ValueError(str(error)) from None
    finally:
        composed.unlink(missing_ok=True)
    return [
        f"{key}: {before.get(key, 'not there')} -> {after.get(key, 'not there')}"
        for key in dict.fromkeys([*before, *after])
        if key not in before or key not in after or before[key] != after[key]
    ]


def _leaves(value: Any, key: str = "") -> dict[str, Any]:
    """The values of nested mappings by dotted key."""
    if not isinstance(value, dict) or (not value and key):
        return {key: value}
    return {name: leaf for k, v in value.items() for name, leaf in _leaves(v, f"{key}.{k}" if key else str(k)).items()}
