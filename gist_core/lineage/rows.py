"""Everything that ever happened to one row: its source, who trained on it, every generation, score and verdict."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gist_core.lineage.ledger import Ledger, Statement

SHORTEST_PREFIX = 6
TEXT = (".jsonl", ".json", ".csv", ".html", ".md")


@dataclass(frozen=True)
class RowEvent:
    """One mention of the row. stage: who wrote it; line: from 1; record: the line's content (None: only
    mentioned)."""

    stage: str
    file: str
    line: int | None
    record: dict[str, Any] | None


@dataclass(frozen=True)
class RowHistory:
    """row: its columns. source: SHA-256 by path of the upstream file it came from. trained: training stages that
    read it."""

    row_id: str
    row: dict[str, Any]
    row_file: str
    source: dict[str, str]
    trained: tuple[str, ...]
    events: tuple[RowEvent, ...]


def history(root: Path, row_id: str) -> RowHistory:
    """The history of a row in the artifacts of the workspace. row_id: 32 hex digits, or at least the first six.

    Raises:
        ValueError: no row or more than one has this id.
    """
    ledger = Ledger.of_workspace(root)
    if len(row_id) < SHORTEST_PREFIX:
        raise ValueError(f"{row_id!r} is too short for a row id; give at least its first {SHORTEST_PREFIX} digits")
    found = {(file, row["row_id"]): row for file, row in _data_rows(root, ledger, row_id)}
    ids = sorted({identity for _, identity in found})
    if not ids:
        raise ValueError(f"no row of data/alpaca_plus has an id that begins with {row_id!r}")
    if len(ids) > 1:
        raise ValueError(f"{len(ids)} rows have an id that begins with {row_id!r}: {', '.join(ids[:5])}")
    (file, full_id), row = next(iter(found.items()))
    events = [event for name in ledger.in_order() for event in _events(root, ledger.statements[name], full_id, file)]
    return RowHistory(full_id, row, file, _source(ledger, row), _trained(ledger, file), tuple(events))


def _data_rows(root: Path, ledger: Ledger, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in sorted((root / "data/alpaca_plus").glob("*.parquet")):
        table = pq.read_table(path)
        for row in table.filter(pc.starts_with(table["row_id"], prefix)).to_pylist():
            yield path.relative_to(root).as_posix(), row


def _source(ledger: Ledger, row: dict[str, Any]) -> dict[str, str]:
    """The upstream file of the row: among the outs of the stages, or among what a stage read from the repository."""
    known = {p: d["sha256"] for s in ledger.statements.values() for p, d in {**s.inputs, **s.outputs}.items()}
    name = Path(str(row.get("source_file", ""))).name
    return {path: sha256 for path, sha256 in sorted(known.items()) if Path(path).name == name}


def _trained(ledger: Ledger, file: str) -> tuple[str, ...]:
    if Path(file).stem != "train":
        return ()
    return tuple(
        name for name in ledger.in_order() if name.startswith("train@") and file in ledger.statements[name].inputs
    )


def _events(root: Path, statement: Statement, row_id: str, row_file: str) -> Iterator[RowEvent]:
    for file in statement.outputs:
        path = root / file
        if file == row_file or not path.is_file():
            continue
        if path.suffix == ".parquet":
            yield from _in_parquet(path, file, statement.stage, row_id)
        elif path.suffix in TEXT:
            yield from _in_text(path, file, statement.stage, row_id)


def _in_parquet(path: Path, file: str, stage: str, row_id: str) -> Iterator[RowEvent]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if "row_id" not in pq.read_schema(path).names:
        return
    table = pq.read_table(path)
    for index in pc.indices_nonzero(pc.equal(table["row_id"], row_id)).to_pylist():
        yield RowEvent(stage, file, index + 1, table.slice(index, 1).to_pylist()[0])


def _in_text(path: Path, file: str, stage: str, row_id: str) -> Iterator[RowEvent]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if row_id in line:
                yield RowEvent(stage, file, number, _record(line) if path.suffix == ".jsonl" else None)


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
