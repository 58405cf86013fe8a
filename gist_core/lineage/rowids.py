"""The rows of an artifact, as a statement names them: how many, and the hash of their ids in order."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def row_annotations(path: Path) -> dict[str, Any]:
    """{"rows": n, "row_ids_sha256": SHA-256 of the ids in order, one per line} for a Parquet or JSON Lines file that
    has a `row_id` in every row; {} for any other file."""
    digest, count = hashlib.sha256(), 0
    for row_id in row_ids(path):
        if row_id is None:
            return {}
        digest.update(f"{row_id}\n".encode())
        count += 1
    return {"rows": count, "row_ids_sha256": digest.hexdigest()} if count else {}


def row_ids(path: Path) -> Iterator[str | None]:
    """The `row_id` of each row in order. Ends with None at the first JSON line without one; empty for a file that holds
    no rows."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as table:
            if "row_id" in table.schema_arrow.names:
                for batch in table.iter_batches(columns=["row_id"]):
                    yield from batch.column(0).to_pylist()
    elif path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row_id = (json_object(line) or {}).get("row_id")
                yield row_id
                if row_id is None:
                    return


def json_object(line: str | bytes) -> dict[str, Any] | None:
    """The JSON object in a line; None if the line holds anything else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
