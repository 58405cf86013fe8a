"""One row of Alpaca+: its identity, and its form on disk (Parquet, one file per split).

A row's id depends on the row's content alone, so it is the same on every machine, in every order and for every split
size; what later stages write (generations, scores, verdicts) is joined to the rows on it."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    import pyarrow

VALIDATION_SPLITS = ("seen", "unseen", "human")
SPLITS = ("train", *VALIDATION_SPLITS)


@dataclass(frozen=True, slots=True)
class Row:
    """One example: an instruction, the input it is applied to (may be empty) and the reference output (may be empty).

    row_id: 32 hex digits, see `row_id`. split: train, dev, seen, unseen or human.
    source: "self_instruct" or "alpaca"; "own" for someone's own data.
    source_file, source_index: the file that the row was read from, and its 0-based position there (for the human split:
    of the instance, counted over the whole file).
    """

    row_id: str
    split: str
    instruction: str
    input: str
    output: str
    source: str
    source_file: str
    source_index: int


COLUMNS = tuple(field.name for field in fields(Row))


def row_id(source: str, instruction: str, input: str, output: str, occurrence: int) -> str:
    """First 32 hex digits of the SHA-256 of the canonical JSON of [source, instruction, input, output, occurrence].

    Canonical: UTF-8, only the necessary escapes, no spaces. This is the only form that orjson writes, and
    `json.dumps(..., ensure_ascii=False, separators=(",", ":"))` writes the same.
    occurrence: 0 for the first row of the sources with this content, 1 for the next, ... Sources are counted in the
    order self_instruct, alpaca, user_oriented, each from its beginning, whatever split a row ends in.

    Raises:
        TypeError: a text holds a lone surrogate, which UTF-8 cannot write.
    """
    return hashlib.sha256(orjson.dumps((source, instruction, input, output, occurrence))).hexdigest()[:32]


def row_ids(
    sources: Sequence[str], instructions: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]
) -> list[str]:
    """`row_id` of every row, with its occurrence counted.

    Raises:
        TypeError: a text holds a lone surrogate, which UTF-8 cannot write.
    """
    columns = (sources, instructions, inputs, outputs)
    ids = [row_id(*texts, occurrence=0) for texts in zip(*columns, strict=True)]
    if len(set(ids)) == len(ids):
        return ids
    times: Counter[str] = Counter()
    for n, identity in enumerate(ids):
        if times[identity]:
            ids[n] = row_id(sources[n], instructions[n], inputs[n], outputs[n], times[identity])
        times[identity] += 1
    return ids


def schema() -> "pyarrow.Schema":
    """The Arrow schema of a split's file: all strings but source_index (int64); no nulls."""
    import pyarrow as pa

    return pa.schema([pa.field(name, pa.int64() if name == "source_index" else pa.string()) for name in COLUMNS])


def read_rows(path: Path) -> list[Row]:
    """All rows of a split's Parquet file, in the order of the split.

    Raises:
        ValueError: the file is missing, is not Parquet, or lacks a column.
    """
    table = read_table(path)
    return [Row(*values) for values in zip(*(table.column(name).to_pylist() for name in COLUMNS), strict=True)]


def read_table(path: Path) -> "pyarrow.Table":
    """A split's Parquet file as one Arrow table, with the columns of `Row`.

    Raises:
        ValueError: the file is missing, is not Parquet, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise ValueError(f"{path} does not exist; `dvc repro alpaca_plus` makes it")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    return table.select(COLUMNS)


def write_table(path: Path, table: "pyarrow.Table") -> None:
    """Writes a split's table as Parquet through `datasets`, so that `datasets.load_dataset` reads back its features."""
    import datasets

    path.parent.mkdir(parents=True, exist_ok=True)
    # A fingerprint of our own: by default `datasets` would hash the whole table for its cache, which is not used here.
    dataset = datasets.Dataset(table, fingerprint=path.stem)
    was_disabled = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        # Content-defined chunks help stores that keep parts of files; DVC keeps whole ones. Statistics help searches by
        # the least and greatest text, which nobody makes.
        dataset.to_parquet(path, use_content_defined_chunking=False, write_statistics=False)
    finally:
        if not was_disabled:
            datasets.enable_progress_bars()
