"""dvc.lock as a file format: what DVC says that each stage ran, read and made (MD5 only)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

LOCK = Path("dvc.lock")
# One line of dvc.lock as DVC writes it. A tab, a second space after a colon or a blank at the end would leave the parsed
# content as it is, and so would a comment (see `_comments`), and yet the file would not be DVC's. Only where a long text goes
# on below, deeper, its line ends with the blank at which it is broken.
_LINE = re.compile(r"^ *(- )?(?! )[^\t\r]*[^\s]$")
_WIDE_COLON = re.compile(r"^ *(- )?[^ '\"]+: {2,}")

_KEYS = {"path", "hash", "md5", "size", "nfiles", "isexec"}
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class LockedPath:
    """A dependency or out. md5 ends in `.dir` for a folder; size in bytes; nfiles is None for a file; isexec: a file
    that may be executed."""

    md5: str
    size: int | None
    nfiles: int | None
    isexec: bool

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "LockedPath":
        return cls(str(entry["md5"]), entry.get("size"), entry.get("nfiles"), entry.get("isexec", False))


@dataclass(frozen=True)
class LockedStage:
    """deps, outs: by path. params: by dotted key, of params.yaml."""

    cmd: str
    deps: Mapping[str, LockedPath]
    outs: Mapping[str, LockedPath]
    params: Mapping[str, Any]


def parse_lock(text: str) -> dict[str, LockedStage]:
    """The stages of a dvc.lock.

    Raises:
        ValueError: it is not a dvc.lock of schema 2.0; the message says where.
    """
    try:
        raw = yaml.load(text, _AsDvc)
    except (yaml.YAMLError, RecursionError, OverflowError) as error:
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict) or set(raw) != {"schema", "stages"} or raw["schema"] != "2.0":
        raise ValueError("it has not the keys `schema: '2.0'` and `stages` alone")
    if not isinstance(raw["stages"], dict):
        raise ValueError("its `stages` are not a mapping")
    return {str(name): _stage(str(name), stage) for name, stage in raw["stages"].items()}


def form_problems(text: str) -> list[str]:
    """Lines that DVC would not have written so, though their meaning may be unchanged. text: a dvc.lock that
    `parse_lock` accepts."""
    lines = text.split("\n")
    problems = [] if lines[-1] == "" else ["its last line does not end"]
    lines = lines[:-1] if lines[-1] == "" else lines
    text_goes_on = False  # whether the line before was broken at its last blank
    for number, (line, following) in enumerate(zip_longest(lines, lines[1:], fillvalue=""), 1):
        deeper = _indent(following) - _indent(line)
        text_goes_on = line.endswith(" ") and (deeper > 0 or (text_goes_on and deeper == 0))
        written = line[:-1] if text_goes_on else line
        if not _LINE.match(written) or _WIDE_COLON.match(written):
            problems.append(f"line {number} is not as DVC writes it: {line[:60]!r}")
    return problems + [f"line {number} has a comment, which DVC does not write" for number in _comments(text)]


def uncached_outs(root: Path) -> list[str]:
    """Regular expressions for the outs that dvc.yaml keeps out of the cache (`cache: false`); git keeps those.

    Raises:
        ValueError: dvc.yaml cannot be read.
    """
    path = root / "dvc.yaml"
    try:
        stages = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("stages", {}) if path.exists() else {}
        entries = [
            entry
            for stage in stages.values()
            for kind in ("outs", "metrics", "plots")
            for entry in stage.get("do", stage).get(kind) or []
        ]
        uncached = [
            out for entry in entries if isinstance(entry, dict) for out in entry if entry[out].get("cache") is False
        ]
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} cannot be read as stages and their outs: {' '.join(str(error).split())}") from None
    return ["[^/]+".join(map(re.escape, re.split(r"\$\{[^}]*\}", out))) for out in uncached]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


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


class _AsDvc(yaml.SafeLoader):
    """YAML 1.2's core schema, as DVC writes it: `on`, `12:30` and `2026-01-05` are texts, `1e-05` is a number. Two equal
    keys, of which YAML keeps the last, would hide a stage behind another one of its name."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands there twice", key_node.start_mark)
            seen.append(key)
        return super().construct_mapping(node, deep)


_AsDvc.yaml_implicit_resolvers = {}
for _tag, _form, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _AsDvc.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_form})$"), list(_first))


def _comments(text: str) -> Iterator[int]:
    """Numbers of the lines with a comment: a `#` that is no part of a value."""
    if "#" not in text:
        return
    values = [token for token in yaml.scan(text) if isinstance(token, yaml.ScalarToken)]
    spans = [(value.start_mark.index, value.end_mark.index) for value in values]
    for sign in re.finditer("(?:^|(?<=[ \n]))#", text):
        if not any(start <= sign.start() < end for start, end in spans):
            yield text.count("\n", 0, sign.start()) + 1


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_typed(entry: Mapping[str, Any]) -> bool:
    texts = isinstance(entry.get("path"), str) and bool(_MD5.fullmatch(str(entry.get("md5"))))
    return (
        texts
        and all(type(entry.get(key, 0)) is int for key in ("size", "nfiles"))
        and entry.get("isexec", True) is True
    )
