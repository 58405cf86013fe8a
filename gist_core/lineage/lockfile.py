"""dvc.lock as a file format: what each stage ran, read and made, as DVC records it (MD5 only)."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from gist_core.lineage.yaml12 import parse_yaml

LOCK = Path("dvc.lock")
_EXPONENT = re.compile(r"(.*[:-] )([-+.0-9]+e[-+]?[0-9]+)")

_KEYS = {"path", "hash", "md5", "size", "nfiles", "isexec"}
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class LockedPath:
    """A dependency or out. md5 ends in `.dir` for a folder; size in bytes; nfiles is None for a file; isexec: whether it
    is a file that may be executed."""

    md5: str
    size: int | None
    nfiles: int | None
    isexec: bool

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "LockedPath":
        return cls(str(entry["md5"]), entry.get("size"), entry.get("nfiles"), entry.get("isexec", False))


@dataclass(frozen=True)
class LockedStage:
    """deps, outs: by path. params: by dotted key of params.yaml."""

    cmd: str
    deps: Mapping[str, LockedPath]
    outs: Mapping[str, LockedPath]
    params: Mapping[str, Any]


def parse_lock(text: str) -> dict[str, LockedStage]:
    """The stages of a dvc.lock.

    Raises:
        ValueError: it is not a dvc.lock of schema 2.0; the message says where.
    """
    raw = parse_yaml(text)
    if not isinstance(raw, dict) or set(raw) != {"schema", "stages"} or raw["schema"] != "2.0":
        raise ValueError("it has not the keys `schema: '2.0'` and `stages` alone")
    if not isinstance(raw["stages"], dict):
        raise ValueError("its `stages` are not a mapping")
    return {str(name): _stage(str(name), stage) for name, stage in raw["stages"].items()}


def form_problems(text: str) -> list[str]:
    """The first line that DVC would have written otherwise: a comment, say, which does not change the meaning. text: a
    dvc.lock that `parse_lock` accepts."""
    written = io.StringIO()
    yaml_of_dvc = YAML()
    yaml_of_dvc.default_flow_style = False
    yaml_of_dvc.dump(parse_yaml(text), written)
    lines = zip_longest(text.split("\n"), written.getvalue().split("\n"))
    return [
        f"line {number} is {_shown(line)}, where DVC writes {_shown(as_dvc)}"
        for number, (line, as_dvc) in enumerate(lines, 1)
        if line != as_dvc and not _is_same_float(line, as_dvc)
    ][:1]


def uncached_outs(root: Path) -> list[str]:
    """Regular expressions for the outs that dvc.yaml keeps out of the cache (`cache: false`); git keeps those.

    Raises:
        ValueError: dvc.yaml cannot be read.
    """
    path = root / "dvc.yaml"
    try:
        stages = (parse_yaml(path.read_text(encoding="utf-8")) or {}).get("stages", {}) if path.exists() else {}
        entries = [
            entry
            for stage in stages.values()
            for kind in ("outs", "metrics", "plots")
            for entry in stage.get("do", stage).get(kind) or []
        ]
        uncached = [
            out for entry in entries if isinstance(entry, dict) for out in entry if entry[out].get("cache") is False
        ]
    except (AttributeError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as stages and their outs: {' '.join(str(error).split())}") from None
    return ["[^/]+".join(map(re.escape, re.split(r"\$\{[^}]*\}", out))) for out in uncached]


def _is_same_float(line: str | None, other: str | None) -> bool:
    """Whether two lines end in the same number, written with an exponent: when DVC writes another stage's entry, it takes
    over this one's numbers with their notation, and may write their last digit otherwise."""
    one, two = _EXPONENT.fullmatch(line or ""), _EXPONENT.fullmatch(other or "")
    return one is not None and two is not None and one[1] == two[1] and float(one[2]) == float(two[2])


def _shown(line: str | None) -> str:
    return "nothing" if line is None else f"{line!r:.80}"


def _stage(name: str, stage: Any) -> LockedStage:
    if not isinstance(stage, dict) or not set(stage) <= {"cmd", "deps", "params", "outs"} or "cmd" not in stage:
        raise ValueError(f"stage {name} has keys other than cmd, deps, params, outs, or no cmd")
    params = stage.get("params") or {}
    if not isinstance(params, dict) or not set(params) <= {"params.yaml"} or not all(map(_is_mapping, params.values())):
        raise ValueError(f"stage {name} has parameters of another file than params.yaml")
    if not all(isinstance(key, str) for key in params.get("params.yaml", {})):
        raise ValueError(f"stage {name} has a parameter whose name is not a text")
    return LockedStage(
        str(stage["cmd"]),
        _paths(name, stage.get("deps") or []),
        _paths(name, stage.get("outs") or []),
        params.get("params.yaml") or {},
    )


def _paths(name: str, entries: Any) -> dict[str, LockedPath]:
    for entry in entries if isinstance(entries, list) else [entries]:
        if not _is_mapping(entry) or not set(entry) <= _KEYS or entry.get("hash") != "md5" or not _is_typed(entry):
            raise ValueError(f"stage {name} has an entry that DVC does not write: {entry!r:.120}")
    return {str(entry["path"]): LockedPath.of(entry) for entry in entries}


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_typed(entry: Mapping[str, Any]) -> bool:
    texts = isinstance(entry.get("path"), str) and bool(_MD5.fullmatch(str(entry.get("md5"))))
    return (
        texts
        and all(type(entry.get(key, 0)) is int for key in ("size", "nfiles"))
        and entry.get("isexec", True) is True
    )
