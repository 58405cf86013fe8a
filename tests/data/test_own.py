"""Someone's own rows: four formats, mapped columns, and a split by the same rules."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gist_core.data.assemble import build_from_folder, build_own, write_data_folder
from gist_core.data.build import build, hold_out_human
from gist_core.data.own import divide, gather_own, read_own
from gist_core.data.parse import Source
from gist_core.data.rows import read_rows
from tests.data.literal_rules import Record
from tests.data.random_sources import RECORDS

PLAIN: dict[str, str | None] = {"instruction": "instruction", "input": "input", "output": "output"}
MAPPED: dict[str, str | None] = {"instruction": "prompt", "input": "text", "output": "answer"}
ROWS = [
    {"prompt": "Reply\nto this", "text": 'a "quoted", \u2028 text', "answer": "NA"},
    {"prompt": "Sum up.", "text": "", "answer": ""},
]
EXPECTED = [{"instruction": row["prompt"], "input": row["text"], "output": row["answer"]} for row in ROWS]


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        import csv

        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    assert read_own(write(tmp_path / f"own{suffix}", ROWS), MAPPED).records == EXPECTED


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_a_missing_column_is_told_with_the_ones_there_are(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"own{suffix}", ROWS)
    with pytest.raises(
        ValueError, match=rf"own\{suffix}.*'instruction'.*it has 'prompt', 'text', 'answer'.*rows\.columns"
    ):
        read_own(path, PLAIN)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_a_mistyped_input_column_is_not_taken_for_no_input(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"own{suffix}", ROWS)
    with pytest.raises(ValueError, match=r"has no field 'txt'.*data\.rows\.columns\.input to null"):
        read_own(path, {**MAPPED, "input": "txt"})
    assert [record["input"] for record in read_own(path, {**MAPPED, "input": None}).records] == ["", ""]


def test_a_null_input_means_none_but_a_null_output_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(
        '{"instruction": "a", "input": "x", "output": "b"}\n{"instruction": "a", "input": null, "output": "b"}\n'
    )
    assert [record["input"] for record in read_own(path, PLAIN).records] == ["x", ""]
    path.write_text('{"instruction": "a", "input": "x", "output": null}\n')
    with pytest.raises(ValueError, match=r"own\.jsonl, line 1, field 'output': is null"):
        read_own(path, PLAIN)
    path.write_text('{"question": "a", "reply": 7}\n')
    with pytest.raises(ValueError, match=r"line 1, field 'reply': is a number"):
        read_own(path, {"instruction": "question", "input": None, "output": "reply"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "own.csv is empty"),
        ("instruction,input,output\na,b\n", "own.csv, line 2: 2 values for 3 columns"),
        ('instruction,input,output\n"a\nb",c,d\nx,y\n', "own.csv, line 4: 2 values for 3 columns"),
        ("instruction,input,input\na,b,c\n", "own.csv, line 1: a column name occurs twice"),
        ('instruction,input,output\n"a,b,c\n', "own.csv, the row that begins in line 2: not valid CSV"),
        (
            'instruction,input,output\n\n"a\nb",c,d\na,<GIST>,c\n',
            "own.csv, line 5, field 'input': holds the literal gist",
        ),
        (f"instruction,input,output\na,b,{'x' * 1_000_001}\n", "line 2: not valid CSV: field larger"),
        ("instruction;input;output\na;b;c\n", "own.csv, line 1: the columns are separated by ';'; save it with commas"),
        ("instruction,input,output\n,,\n", "own.csv has no rows"),
    ],
)
def test_a_bad_csv_is_told_by_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "own.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_own(tmp_path / "own.csv", PLAIN)


def test_rows_and_columns_that_a_spreadsheet_left_empty_are_no_rows_or_columns(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("instruction,input,output,,\na,b,c,,\n,,,,\n,\nd,e,f,,x\n")
    records = read_own(tmp_path / "own.csv", PLAIN).records
    assert [record["output"] for record in records] == ["c", "f"]


def test_a_column_for_two_fields_and_a_column_twice_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", ROWS)
    with pytest.raises(ValueError, match="the column 'prompt' is mapped to two fields"):
        read_own(path, {"instruction": "prompt", "input": None, "output": "prompt"})
    table = pa.table([["a"], ["b"], ["c"], ["d"]], names=["instruction", "input", "output", "output"])
    pq.write_table(table, tmp_path / "own.parquet")
    with pytest.raises(ValueError, match=r"own\.parquet has more than one column 'output'"):
        read_own(tmp_path / "own.parquet", PLAIN)


def test_json_lines_in_a_file_called_json_are_told_from_a_broken_file(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", ROWS).rename(tmp_path / "own.json")
    with pytest.raises(ValueError, match=r"Extra data.*; if it has one object a line, let its name end in \.jsonl"):
        read_own(path, PLAIN)


def test_a_csv_with_byte_order_mark_and_crlf_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(b"\xef\xbb\xbfinstruction,input,output\r\na,b,c\r\n")
    assert read_own(tmp_path / "own.csv", PLAIN).records == [{"instruction": "a", "input": "b", "output": "c"}]


@pytest.mark.parametrize("name", ["own.tsv", "own.xlsx", "own.txt", "own"])
def test_a_file_of_another_kind_is_refused_by_its_ending_not_as_bad_json(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("instruction\tinput\toutput\na\tb\tc\n")
    with pytest.raises(ValueError, match=rf"{name} ends in .*; a file with rows ends in \.jsonl, \.json, \.csv"):
        read_own(tmp_path / name, PLAIN)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_a_suffix_in_capitals_is_the_same_suffix(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"own{suffix}", ROWS).rename(tmp_path / f"OWN{suffix.upper()}")
    assert read_own(path, MAPPED).records == EXPECTED
    manifest = gather_own(tmp_path / "sources", tmp_path / "work", file=path)
    assert [file.name for file in manifest.files] == [path.name]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("own.jsonl", '{{"output": "7"}}\n{{"n": {n}}}\n'),
        ("own.json", '[{{"output": "7"}},\n{{"n": {n}}}]'),
        ("own.json", '{{"output": "7",\n"n": -{n}}}'),
    ],
)
def test_a_number_with_too_many_digits_for_python_is_told_by_line(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content.format(n="7" * 5000))
    with pytest.raises(ValueError, match=rf"{name}, line 2: not valid JSON: a number of 5,00\d digits"):
        read_own(tmp_path / name, PLAIN)


def test_text_in_parquet_that_is_not_utf8_is_told_by_row_and_field(tmp_path: Path) -> None:
    bad = pa.array([b"a", "Gr\u00fc\u00dfe".encode("latin-1")]).view(pa.string())
    pq.write_table(pa.table({"instruction": ["a", "b"], "input": ["", ""], "output": bad}), tmp_path / "own.parquet")
    with pytest.raises(ValueError, match=r"own\.parquet, row 1 .*, field 'output': bytes that are not UTF-8"):
        read_own(tmp_path / "own.parquet", PLAIN)


def test_columns_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    far = pa.array([10**9], pa.int32()).cast(pa.date32())  # a date that Python has none for
    table = pa.table({"instruction": ["a"], "input": [""], "output": ["b"], "day": far})
    pq.write_table(table, tmp_path / "own.parquet")
    assert read_own(tmp_path / "own.parquet", PLAIN).records == [{"instruction": "a", "input": "", "output": "b"}]
    with pytest.raises(ValueError, match=r"no field 'text'; it has 'instruction', 'input', 'output', 'day'"):
        read_own(tmp_path / "own.parquet", PLAIN | {"output": "text"})


def test_a_file_called_as_the_list_of_sources_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "manifest.json", ROWS)
    with pytest.raises(ValueError, match=r"called manifest\.json, as the list of sources is"):
        gather_own(tmp_path / "sources", tmp_path / "work", file=path)


def test_a_broken_parquet_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"own\.parquet cannot be read as Parquet"):
        read_own(tmp_path / "own.parquet", PLAIN)


@given(RECORDS, st.integers(1, 8), st.integers(0, 3))
def test_dividing_keeps_every_row_whole_instructions_and_the_order(
    rows: list[Record], num_unseen: int, seed: int
) -> None:
    parts = divide(Source("own.jsonl", rows), num_unseen, seed)
    indices = [part.indices or [] for part in parts]
    assert sorted([*indices[0], *indices[1]]) == list(range(len(rows)))
    assert all(found == sorted(found) for found in indices)
    assert all(part.records == [rows[i] for i in found] for part, found in zip(parts, indices, strict=True))
    instructions = [{record["instruction"] for record in part.records} for part in parts]
    assert not instructions[0] & instructions[1]
    # Instructions with several inputs: at least half of them stay where `seen` is drawn from.
    pairs = {(r["instruction"], r["input"]) for r in rows}
    several = {instruction for instruction, _ in pairs if sum(instruction == other for other, _ in pairs) > 1}
    assert 2 * len(several & instructions[0]) >= len(several)


def test_several_answers_to_a_prompt_are_no_several_inputs() -> None:
    """Every second task has one input and two answers: nothing is lost, and `seen` comes from the others."""
    tasks = [(f"Task {n}", text) for n in range(60) for text in (("a", "a") if n % 2 else ("a", "b", "c"))]
    rows = [{"instruction": task, "input": text, "output": str(n)} for n, (task, text) in enumerate(tasks)]
    splits = build_own(Source("own.jsonl", rows), None, num_seen=10, num_unseen=10).splits
    assert splits.dropped == {}
    assert len(splits.seen) == 10
    assert {rows[position]["input"] for position in splits.train} == {"a", "b", "c"}


@given(RECORDS, st.integers(1, 5), st.integers(1, 5))
def test_own_splits_mean_what_they_say(rows: list[Record], num_seen: int, num_unseen: int) -> None:
    parts = divide(Source("own.jsonl", rows), num_unseen, 0)
    built = build(*parts, Source("", []), num_seen=num_seen, num_unseen=num_unseen, source_names=("own", "own", "own"))
    found = {
        name: [(built.instructions[p], built.inputs[p]) for p in getattr(built.splits, name)]
        for name in ("train", "seen", "unseen")
    }
    trained = {instruction for instruction, _ in found["train"]}
    assert {i for i, _ in found["seen"]} <= trained
    assert not {i for i, _ in found["unseen"]} & trained
    assert not set(found["seen"]) & set(found["train"])

    before = built.splits.unseen
    hold_out_human(built, 0)
    human, unseen = (
        {(built.instructions[p], built.inputs[p]) for p in positions}
        for positions in (built.splits.human, built.splits.unseen)
    )
    assert sorted([*built.splits.human, *built.splits.unseen]) == sorted(before)
    assert not human & unseen
    assert len(human) == (len(human) + len(unseen)) // 2


def test_few_prompts_with_many_inputs_get_seen_and_unseen(tmp_path: Path) -> None:
    rows = [{"prompt": f"Prompt {p}", "text": f"text {t}", "answer": str(t)} for p in range(6) for t in range(10)]
    human = [{"prompt": "Quite new", "text": "x", "answer": "y"}]
    manifest = gather_own(
        tmp_path / "sources",
        tmp_path / "work",
        file=write(tmp_path / "own.csv", rows),
        human_file=write(tmp_path / "mine.jsonl", human),
    )
    _, built = build_from_folder(tmp_path / "sources", num_seen=4, num_unseen=15, columns=MAPPED)
    facts = write_data_folder(tmp_path / "out", manifest, built, {})
    splits = {name: read_rows(tmp_path / "out" / f"{name}.parquet") for name in ("train", "seen", "unseen", "human")}
    # Two prompts are held out for unseen: 15 rows of theirs are taken, the other 5 may not be trained on.
    assert {name: len(found) for name, found in splits.items()} == {"train": 36, "seen": 4, "unseen": 15, "human": 1}
    assert facts["dropped"] == {
        "instruction_in_unseen": {"rows": 5, "meaning": "a train row whose instruction is in unseen"}
    }
    assert len({row.instruction for row in splits["unseen"]}) == 2
    assert {row.source for found in splits.values() for row in found} == {"own"}
    for row in (row for name in ("train", "seen", "unseen") for row in splits[name]):
        source = rows[row.source_index]
        assert (row.instruction, row.input, row.output) == (source["prompt"], source["text"], source["answer"])
    assert facts["label"] == "not the paper's data: own rows (own file own.csv)"


def test_own_rows_without_inputs_give_unseen_and_human_but_never_seen(tmp_path: Path) -> None:
    rows = [{"prompt": f"Prompt {n}", "answer": str(n)} for n in range(600)]
    gather_own(tmp_path / "sources", tmp_path / "work", file=write(tmp_path / "own.csv", rows))
    columns = {**MAPPED, "input": None}
    _, built = build_from_folder(tmp_path / "sources", num_seen=100, num_unseen=100, columns=columns)
    sizes = {name: len(getattr(built.splits, name)) for name in ("train", "seen", "unseen", "human")}
    assert sizes == {"train": 500, "seen": 0, "unseen": 50, "human": 50}


def test_one_prompt_for_all_rows_is_refused_until_human_has_rows_of_its_own(tmp_path: Path) -> None:
    rows = [{"prompt": "Prompt", "text": str(n), "answer": str(n)} for n in range(20)]
    own = write(tmp_path / "own.csv", rows)
    gather_own(tmp_path / "sources", tmp_path / "work", file=own)
    with pytest.raises(
        ValueError, match=r"no row is left for human.*1 rows are seen, 0 unseen.*data\.rows\.human_file"
    ):
        build_from_folder(tmp_path / "sources", num_seen=5, num_unseen=5, columns=MAPPED)
    human = write(tmp_path / "human.csv", [{"prompt": "Prompt", "text": "new", "answer": "new"}])
    gather_own(tmp_path / "both", tmp_path / "work", file=own, human_file=human)
    _, built = build_from_folder(tmp_path / "both", num_seen=5, num_unseen=5, columns=MAPPED)
    assert (len(built.splits.train), len(built.splits.human)) == (19, 1)


def test_a_pinned_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", ROWS)
    with pytest.raises(ValueError, match=r"has the SHA-256 .* but data\.rows\.sha256 is 000"):
        gather_own(tmp_path / "sources", tmp_path / "work", file=path, sha256="0" * 64)


@pytest.mark.parametrize(
    ("name", "message"), [("none.csv", "does not exist"), ("", "is no file"), ("own.xlsx", "a file with rows ends in")]
)
def test_a_file_that_is_no_table_is_told(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "own.xlsx").write_bytes(b"x")
    with pytest.raises(ValueError, match=message):
        gather_own(tmp_path / "sources", tmp_path / "work", file=tmp_path / name)


def test_a_dataset_becomes_a_parquet_file_with_its_revision_in_the_manifest(tmp_path: Path) -> None:
    # `datasets` takes a folder wherever it takes a hub id; the rest of the path is the same.
    (tmp_path / "hub").mkdir()
    write(tmp_path / "hub" / "train.jsonl", ROWS)
    revision = "a" * 40
    manifest = gather_own(
        tmp_path / "sources", tmp_path / "work", dataset=str(tmp_path / "hub"), revision=revision, dataset_split="train"
    )
    (own,) = manifest.files
    assert f"at {revision}, split train" in own.origin
    assert read_own(tmp_path / "sources" / own.name, MAPPED).records == EXPECTED
    with pytest.raises(ValueError, match="split nothing, cannot be had"):
        gather_own(
            tmp_path / "s2", tmp_path / "w2", dataset=str(tmp_path / "hub"), revision=revision, dataset_split="nothing"
        )
