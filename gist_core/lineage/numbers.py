"""Numbers in result files, and the dotted paths that name them: `reports/metrics.json:human.rouge_l.gist-1.mean_pct`.

A part of a path is a key, or an index (from 0) into a list. Keys may hold dots (`llama-7b-v1.5`), so a path is split in
the way that fits the file. In a `.jsonl` file the first part is the line, from 0."""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

RESULTS = ("reports/**/*.json", "reports/**/*.jsonl", "data/alpaca_plus/facts.json")


def load(path: Path) -> Any:
    """The content of a .json file, or the list of lines of a .jsonl file. Raises ValueError if it is neither."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder, so no number can be looked up in it; name one of its files")
    if not path.exists():
        raise ValueError(f"{path} does not exist; give the path from the project's root, e.g. reports/metrics.json")
    return parse(path.read_bytes(), path.as_posix())


def parse(data: bytes, name: str) -> Any:
    """Like `load`, from bytes. name: of the file, for its suffix and for messages."""
    try:
        text = data.decode("utf-8")
        if name.endswith(".json"):
            return json.loads(text)
        # Not splitlines(): a text may hold U+2028, which JSON does not escape.
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} holds no JSON, so no number can be looked up in it: {error}") from None


def is_result(file: str) -> bool:
    """Whether a path, relative to the root, is one of RESULTS."""
    return any(fnmatchcase(file, pattern.replace("**/", "*")) for pattern in RESULTS)


def lookup(content: Any, dotted: str) -> tuple[tuple[str | int, ...], Any]:
    """The keys that `dotted` stands for, and the value there.

    Raises:
        ValueError: there is nothing there; the message names what there is at the last place that the path reaches.
    """
    if not dotted:
        return (), content
    for keys, value in _matches(content, dotted.split(".")):
        return keys, value
    where, there = _furthest(content, dotted.split("."))
    options = list(there) if isinstance(there, dict) else [f"0 to {len(there) - 1}"] if isinstance(there, list) else []
    place = f"under {where!r}" if where else "at the top"
    inside = f"{place} there are: {', '.join(map(str, options[:20]))}" if options else f"{where!r} is a value"
    raise ValueError(f"there is no {dotted!r} here; {inside}")


def leaves(content: Any, keys: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], int | float]]:
    """Every number in a JSON value with its keys. Truth values do not count as numbers."""
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            yield from leaves(value, (*keys, key))
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield keys, content


def _matches(content: Any, parts: list[str]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if not parts:
        yield (), content
    elif isinstance(content, list):
        if parts[0].isdigit() and int(parts[0]) < len(content):
            for keys, value in _matches(content[int(parts[0])], parts[1:]):
                yield (int(parts[0]), *keys), value
    elif isinstance(content, dict):
        for length in range(1, len(parts) + 1):
            key = ".".join(parts[:length])
            if key in content:
                for keys, value in _matches(content[key], parts[length:]):
                    yield (key, *keys), value


def _furthest(content: Any, parts: list[str]) -> tuple[str, Any]:
    best: tuple[int, str, Any] = (0, "", content)
    for end in range(1, len(parts)):
        for _, value in _matches(content, parts[:end]):
            best = max(best, (end, ".".join(parts[:end]), value), key=lambda found: found[0])
    return best[1], best[2]
