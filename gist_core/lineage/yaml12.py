"""YAML as DVC reads it: by version 1.2 (`010` is ten, `yes` a text, `2e-05` a number) and with each key only once. So a
stage runs with exactly the values that dvc.lock has."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError


def parse_yaml(text: str) -> Any:
    """The value of a document; None for an empty one.

    Raises:
        ValueError: it is not YAML; the message says where.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)  # in C, deep nesting would end the process
    except MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ValueError(f"it is not YAML: {error.problem or error.context}{line}") from None
    except (YAMLError, ValueError, LookupError, RecursionError, OverflowError) as error:
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())}") from None
