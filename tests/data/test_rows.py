import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gist_core.data.rows import COLUMNS, Row, read_rows, row_id, row_ids, write_table
from tests.rows import table_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ROW = Row("0" * 32, "train", "Name a fruit.", "", "pear", "alpaca", "alpaca_data.json", 7)


@given(TEXT, TEXT, TEXT, TEXT, st.integers(0, 10**6))
def test_row_id_is_the_sha256_of_canonical_json(source: str, instruction: str, input: str, output: str, n: int) -> None:
    canonical = json.dumps([source, instruction, input, output, n], ensure_ascii=False, separators=(",", ":"))
    assert row_id(source, instruction, input, output, n) == hashlib.sha256(canonical.encode()).hexdigest()[:32]


def test_every_character_has_one_canonical_form() -> None:
    test = test_row_id_is_the_sha256_of_canonical_json.hypothesis.inner_test  # type: ignore[attr-defined]
    every = "".join(chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    test("alpaca", every, "", "", 0)


FEW = st.sampled_from(["", "a", "b"])  # so that equal rows occur


@given(st.lists(st.tuples(FEW, FEW, FEW, FEW)))
def test_the_ids_of_many_rows_count_their_occurrences(rows: list[tuple[str, str, str, str]]) -> None:
    columns = list(map(list, zip(*rows, strict=True))) or [[], [], [], []]
    assert row_ids(*columns) == [row_id(*row, rows[:n].count(row)) for n, row in enumerate(rows)]


def test_a_lone_surrogate_has_no_row_id() -> None:
    with pytest.raises(TypeError, match="surrogate"):
        row_ids(["s"], ["a"], ["\ud800"], ["a"])


def test_row_id_golden() -> None:
    # Fixed once: a change here orphans every generation, score and verdict ever made.
    assert row_id("alpaca", "Name a fruit.", "", "pear", 0) == "c23e5126e88883163ed657ae718c5860"


def test_row_id_keeps_fields_apart() -> None:
    assert row_id("s", "a", "bc", "d", 0) != row_id("s", "ab", "c", "d", 0)
    assert row_id("s", 'a","b', "c", "d", 0) != row_id("s", "a", 'b","c', "d", 0)


def test_rows_come_back_as_written_in_order(tmp_path: Path) -> None:
    rows = [
        replace(ROW, source_index=n, input=text) for n, text in enumerate(["", "None", "NA", "é\n\t\U0001f600", "null"])
    ]
    write_table(tmp_path / "train.parquet", table_of(rows))
    assert read_rows(tmp_path / "train.parquet") == rows


def test_an_empty_split_is_a_file_with_all_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "human.parquet", table_of([]))
    assert read_rows(tmp_path / "human.parquet") == []


def test_a_datasets_user_reads_the_same_rows(tmp_path: Path) -> None:
    import datasets

    write_table(tmp_path / "train.parquet", table_of([ROW]))
    dataset = datasets.Dataset.from_parquet(str(tmp_path / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert dataset.column_names == list(COLUMNS)
    assert Row(**dataset[0]) == ROW


@pytest.mark.parametrize("content", [None, b"", b"not parquet"])
def test_a_missing_or_broken_file_is_the_readers_to_know(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "seen.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"seen\.parquet"):
        read_rows(path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"row_id": ["x"]}), tmp_path / "seen.parquet")
    with pytest.raises(ValueError, match="instruction"):
        read_rows(tmp_path / "seen.parquet")
