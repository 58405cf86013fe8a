"""Someone's own rows as a source: JSON Lines, JSON, CSV, Parquet, or a dataset of the Hugging Face hub.

How the paper's rules, which need two sources, apply to one file (docs/data.md has a worked example): instructions with
several inputs play Self-Instruct's part, so they give `seen`; instructions with one input play Alpaca's, so they give
`unseen`, where, unlike in the paper's data, a row needs no input. If the second kind has too few rows for the `unseen`
that is asked for, whole instructions of the first kind change sides: at most half of them, chosen by the SHA-256 of
instruction and seed."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from gist_core.data.parse import (
    FIELDS,
    MAX_FIELD_CHARACTERS,
    Locate,
    Record,
    Source,
    check_records,
    read_json_records,
    read_text,
)
from gist_core.data.sources import Manifest, SourceFile, copy_file, describe_file, write_manifest

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


def gather_own(
    folder: Path,
    work_dir: Path,
    *,
    file: Path | None = None,
    sha256: str | None = None,
    human_file: Path | None = None,
    dataset: str | None = None,
    revision: str | None = None,
    dataset_split: str = "train",
) -> Manifest:
    """Copies `file` (or the rows of a hub dataset, as Parquet) and the optional `human_file` into the sources folder.

    sha256: if given, the hash that `file` must have. revision: the commit of the hub dataset. work_dir: for the hub's
    cache.

    Raises:
        ValueError: a file is missing, of an unknown kind, or not the pinned one; the dataset cannot be loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[SourceFile] = []
    if dataset is not None:
        name = "own.parquet"
        _save_hub_dataset(dataset, revision, dataset_split, folder / name, work_dir)
        files.append(describe_file(folder / name, "own", f"hub dataset {dataset} at {revision}, split {dataset_split}"))
    for role, path in (("own", file), ("own_human", human_file)):
        if path is None:
            continue
        if not path.is_file():
            problem = "is no file" if path.exists() else "does not exist"
            raise ValueError(
                f"{path} {problem}; set data.rows.{'file' if role == 'own' else 'human_file'} to your file"
            )
        _suffix(path)
        refuse_same_name(path, [other.name for other in files])
        copy_file(path, folder / path.name)
        files.append(describe_file(folder / path.name, role, f"own file {path.name}"))
        if role == "own" and sha256 is not None and files[-1].sha256 != sha256:
            raise ValueError(
                f"{path} has the SHA-256 {files[-1].sha256}, but data.rows.sha256 is {sha256}; "
                "use the file that you meant, or pin the new one"
            )
    return write_manifest(folder, "rows", files)


def refuse_same_name(path: Path, others: Iterable[str]) -> None:
    """Raises ValueError if one of the other files has this file's name: all of them are copied into one folder."""
    if path.name in others:
        raise ValueError(f"{path} has the name of another source file; give it a name of its own")


def read_own(path: Path, columns: Mapping[str, str | None]) -> Source:
    """Reads rows from a file by its suffix.

    columns: what instruction, input and output are called in the file; input None = the rows have none. A null input
    (in JSON also a missing one) means no input.

    Raises:
        ValueError: the file is of an unknown kind, is not well-formed, has no rows, lacks a column, or a row breaks a rule of
            gist_core.data.parse; or one column is to be two fields.
    """
    names = {field: columns[field] for field in FIELDS}
    if twice := [name for name, count in Counter(names.values()).items() if name is not None and count > 1]:
        raise ValueError(f"the column {twice[0]!r} is mapped to two fields under data.rows.columns; map one to each")
    if _suffix(path) == ".parquet":
        raw, locate, has = _read_parquet(path, [name for name in names.values() if name is not None])
    else:
        raw, locate = (_read_csv if _suffix(path) == ".csv" else read_json_records)(path)
        has = [name for name in raw[0] if name] if raw else []
    if not raw:
        raise ValueError(f"{path.name} has no rows")
    missing = [name for field, name in names.items() if name is not None and name not in has and field != "input"]
    if missing:
        raise ValueError(
            f"{locate(0)}: no field {', '.join(map(repr, missing))}; it has {', '.join(map(repr, has))}. "
            "Map the names under data.rows.columns"
        )
    if names["input"] is not None and not any(names["input"] in record for record in raw):
        raise ValueError(f"{path.name} has no field {names['input']!r}; map it, or set data.rows.columns.input to null")
    records: list[Record] = []
    for record in raw:
        row = {field: record[name] for field, name in names.items() if name is not None and name in record}
        if row.get("input") is None:
            row["input"] = ""
        records.append(row)
    check_records(records, locate, called=names)
    return Source(path.name, records)


def divide(own: Source, num_unseen: int, seed: int) -> tuple[Source, Source]:
    """Splits own rows into those that play Self-Instruct's part and those that play Alpaca's, as the module's docstring
    says. Both keep the order and the indices of the file."""
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for index, record in enumerate(own.records):
        positions[record["instruction"]].append(index)
    held = {i for i, found in positions.items() if len({own.records[n]["input"] for n in found}) == 1}
    several = [instruction for instruction in positions if instruction not in held]
    enough = len(held)
    several.sort(key=lambda instruction: sha256(f"{instruction} {seed}".encode()).digest())
    for instruction in several[: len(several) // 2]:
        if enough >= num_unseen:
            break
        held.add(instruction)
        enough += len(positions[instruction])

    def part(is_alpaca: bool) -> Source:
        chosen = [n for n, record in enumerate(own.records) if (record["instruction"] in held) == is_alpaca]
        return Source(own.file, [own.records[n] for n in chosen], chosen)

    return part(False), part(True)


def _suffix(path: Path) -> str:
    if (suffix := path.suffix.lower()) not in SUFFIXES:
        raise ValueError(f"{path} ends in {path.suffix!r}; a file with rows ends in {', '.join(SUFFIXES)}")
    return suffix


def _read_csv(path: Path) -> tuple[list[Record], Locate]:
    lines: list[int] = []
    records: list[Record] = []
    limit = csv.field_size_limit(MAX_FIELD_CHARACTERS)
    first = 1
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise ValueError(f"{path.name} is empty; its first line must name the columns")
        named = [name for name in header if name]  # spreadsheets leave nameless columns after the last one
        if len(set(named)) < len(named):
            raise ValueError(f"{path.name}, line 1: a column name occurs twice: {', '.join(header)}")
        if len(header) == 1 and (other := next((sign for sign in ";\t" if sign in header[0]), None)):
            raise ValueError(f"{path.name}, line 1: the columns are separated by {other!r}; save it with commas")
        first = reader.line_num + 1
        for values in reader:
            if any(values) and len(values) != len(header):
                raise ValueError(f"{path.name}, line {first}: {len(values)} values for {len(header)} columns")
            if any(values):
                records.append(dict(zip(header, values, strict=True)))
                lines.append(first)
            first = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path.name}, the row that begins in line {first}: not valid CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)
    return records, lambda index: f"{path.name}, line {lines[index]}"


def _read_parquet(path: Path, columns: list[str]) -> tuple[list[Record], Locate, list[str]]:
    """The rows with those of `columns` that the file has, a function that locates a row, and the names of all columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        if twice := [name for name, count in Counter(names).items() if count > 1 and name in columns]:
            raise ValueError(f"{path.name} has more than one column {twice[0]!r}; leave one of them")
        table = pq.read_table(path, columns=[name for name in columns if name in names])
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path.name} cannot be read as Parquet: {error}") from None

    def locate(index: int) -> str:
        return f"{path.name}, row {index} (counted from 0)"

    try:
        return table.to_pylist(), locate, names
    except UnicodeDecodeError:
        row, name = next(_not_utf8(table))
        raise ValueError(f"{locate(row)}, field {name!r}: bytes that are not UTF-8; write the text as UTF-8") from None


def _not_utf8(table: "pa.Table") -> Iterator[tuple[int, str]]:
    """(row, column) of each text that is not UTF-8. Only used to write a message, so it may be slow."""
    for row in range(table.num_rows):
        for name in table.column_names:
            try:
                table[name][row].as_py()
            except UnicodeDecodeError:
                yield row, name


def _save_hub_dataset(dataset: str, revision: str | None, split: str, target: Path, work_dir: Path) -> None:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        rows = datasets.load_dataset(dataset, revision=revision, split=split, cache_dir=str(work_dir / "hub"))
    except (DatasetsError, OSError, ValueError) as error:
        raise (ConnectionError if isinstance(error, ConnectionError) else ValueError)(
            f"the hub dataset {dataset} at revision {revision}, split {split}, cannot be had: {error}. Check "
            "data.rows.dataset, revision and dataset_split, or download it and use data.rows.file"
        ) from None
    rows.to_parquet(target)
