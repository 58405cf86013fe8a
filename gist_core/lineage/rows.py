"""Everything that ever happened to one row: its source, the trainings that used it, every generation, score and verdict."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gist_core.lineage.intact import Intact, NotIntactError
from gist_core.lineage.ledger import Ledger
from gist_core.lineage.rowids import json_object

if TYPE_CHECKING:
    import pyarrow as pa

SHORTEST_PREFIX = 6
TEXT = (".jsonl", ".json", ".csv", ".html", ".md")


@dataclass(frozen=True)
class RowEvent:
    """One mention of the row. stage: the stage that wrote it; line: from 1; record: the line's content (None: only
    mentioned)."""

    stage: str
    file: str
    line: int | None
    record: dict[str, Any] | None


@dataclass(frozen=True)
class RowHistory:
    """rows: its columns, for each split file that holds it. source: SHA-256 by path of the source file it came from.
    problems: why the history cannot be trusted; empty if it can."""

    row_id: str
    rows: dict[str, dict[str, Any]]
    source: dict[str, str]
    events: tuple[RowEvent, ...]
    problems: tuple[str, ...]


def history(root: Path, row_id: str) -> RowHistory:
    """The history of a row in the artifacts of the workspace. row_id: 32 hex digits, or at least the first six.

    Raises:
        ValueError: no row or more than one has this id.
    """
    if len(row_id) < SHORTEST_PREFIX:
        raise ValueError(f"{row_id!r} is too short for a row id; give at least its first {SHORTEST_PREFIX} digits")
    ledger = Ledger.of_workspace(root)
    intact = Intact(root, ledger)
    splits = [path.relative_to(root).as_posix() for path in sorted((root / "data/alpaca_plus").glob("*.parquet"))]
    searched = [
        file for name in ledger.in_order() for file in ledger.statements[name].outputs if _searchable(root, file)
    ]
    problems = list(intact.problems(intact.stages, dict.fromkeys([*splits, *searched])))
    found = [(file, row) for file in splits for row in _data_rows(root, file, row_id, problems)]
    ids = sorted({row["row_id"] for _, row in found})
    if not ids:
        message = f"no row of data/alpaca_plus has an id that begins with {row_id!r}"
        raise NotIntactError([message, *problems]) if problems else ValueError(message)
    if len(ids) > 1:
        raise ValueError(f"{len(ids)} rows have an id that begins with {row_id!r}: {', '.join(ids[:5])}")
    rows = dict(found)
    events = [
        event
        for file in searched
        if file not in rows
        for event in _events(root, file, ledger.producers[file], ids[0], problems)
    ]
    source = {path: sha256 for row in rows.values() for path, sha256 in _source(ledger, row).items()}
    return RowHistory(ids[0], rows, source, tuple(events), tuple(dict.fromkeys(problems)))


def _searchable(root: Path, file: str) -> bool:
    return file.endswith((".parquet", *TEXT)) and (root / file).is_file()


def _data_rows(root: Path, file: str, prefix: str, problems: list[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.compute as pc

    table = _table(root, file, problems)
    if table is not None:
        yield from table.filter(pc.starts_with(table["row_id"], prefix)).to_pylist()


def _source(ledger: Ledger, row: dict[str, Any]) -> dict[str, str]:
    """The source file of the row: among the outs of the stages, or among what a stage read from the repository."""
    known = {p: d["sha256"] for s in ledger.statements.values() for p, d in {**s.inputs, **s.outputs}.items()}
    name = Path(str(row.get("source_file", ""))).name
    if (gathered := f"data/sources/{name}") in known:
        return {gathered: known[gathered]}  # and not what a later stage made under the same name
    return {path: sha256 for path, sha256 in sorted(known.items()) if Path(path).name == name}


def _events(root: Path, file: str, stage: str, row_id: str, problems: list[str]) -> Iterator[RowEvent]:
    if file.endswith(".parquet"):
        yield from _in_parquet(root, file, stage, row_id, problems)
    else:
        yield from _in_text(root / file, file, stage, row_id)


def _in_parquet(root: Path, file: str, stage: str, row_id: str, problems: list[str]) -> Iterator[RowEvent]:
    import pyarrow.compute as pc

    table = _table(root, file, problems)
    if table is None:
        return
    for index in pc.indices_nonzero(pc.equal(table["row_id"], row_id)).to_pylist():
        yield RowEvent(stage, file, index + 1, table.slice(index, 1).to_pylist()[0])


def _table(root: Path, file: str, problems: list[str]) -> "pa.Table | None":
    """A Parquet file with row ids; None if it has none, or if it cannot be read, which is added to `problems`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(root / file) if "row_id" in pq.read_schema(root / file).names else None
    except (pa.ArrowException, OSError) as error:
        problems.append(f"{file} cannot be read as Parquet, so its rows are left out: {error}")
        return None


def _in_text(path: Path, file: str, stage: str, row_id: str) -> Iterator[RowEvent]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if row_id in line:
                yield RowEvent(stage, file, number, json_object(line) if path.suffix == ".jsonl" else None)
