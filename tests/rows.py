"""Files of rows for tests."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gist_core.data.rows import COLUMNS, Row, schema


def table_of(rows: Iterable[Row]) -> pa.Table:
    return pa.Table.from_pylist([{name: getattr(row, name) for name in COLUMNS} for row in rows], schema=schema())


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """As the pipeline writes them, but without importing `datasets`, which takes longer than many a stage."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(rows), path)
