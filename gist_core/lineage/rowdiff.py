"""Which rows of a changed file differ from an intact copy of it (in the cache or a remote)."""

import io
import json
from pathlib import Path
from typing import Any, BinaryIO

NAMED = 3


def differing_rows(changed: Path, intact: BinaryIO) -> str | None:
    """In words, e.g. "row 2 (row_id 30…) differs in prediction"; None if the file holds no rows or cannot be read as
    such (a tampered file may hold anything, and that it differs is found without this)."""
    if changed.suffix not in (".jsonl", ".parquet"):
        return None
    import pyarrow as pa

    try:
        new, old = _rows(changed.suffix, changed.read_bytes()), _rows(changed.suffix, intact.read())
        return _differences(old, new)
    except (ValueError, OverflowError, RecursionError, KeyError, OSError, pa.ArrowException):  # KeyError: a time zone
        return None


def _differences(old: list[Any], new: list[Any]) -> str | None:
    if len(new) != len(old):
        return f"it has {len(new)} rows instead of {len(old)}"
    found = [(index, a, b) for index, (a, b) in enumerate(zip(old, new, strict=True), 1) if a != b]
    named = [_name(*difference) for difference in found[:NAMED]]
    return "; ".join(named) + (f"; and {len(found) - NAMED} more rows" if len(found) > NAMED else "") if found else None


def _rows(suffix: str, data: bytes) -> list[Any]:
    if suffix == ".jsonl":
        # Not splitlines(): an answer may hold U+2028, which JSON does not escape.
        return [json.loads(line) for line in data.decode("utf-8").split("\n") if line]
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(data)).to_pylist()


def _name(index: int, old: Any, new: Any) -> str:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return f"row {index} differs"
    columns = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
    identity = f" (row_id {old['row_id']})" if "row_id" in old else ""
    return f"row {index}{identity} differs in {', '.join(sorted(columns))}"
