"""Bad input is told with file, line and field, or follows a documented rule."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gist_core.data.parse import MAX_FIELD_CHARACTERS, read_instances, read_user_oriented
from gist_core.data.prompt import GIST_TOKEN

GOOD = {"instruction": "Add one.", "input": "1", "output": "2"}


def line(**changes: object) -> str:
    record = {**GOOD, **changes}
    return json.dumps({name: value for name, value in record.items() if value is not ...})


BAD_RECORDS = {
    "missing field": (line(output=...), r"field 'output': is missing"),
    "null": (line(input=None), r"field 'input': is null"),
    "number": (line(input=3), r"field 'input': is a number, not a string: 3"),
    "list": (line(instruction=["x"]), r"field 'instruction': is an array"),
    "boolean": (line(output=True), r"field 'output': is a boolean"),
    "NUL": (line(input="a\0b"), r"field 'input': holds a NUL character at position 1"),
    "lone surrogate": (line(output="ab\ud83d"), r"field 'output': holds the lone surrogate U\+D83D at position 2"),
    "gist token": (
        line(input=f"x {GIST_TOKEN}"),
        r"field 'input': holds the literal gist token '<GIST>' at position 2",
    ),
    "10 MB field": (line(output="x" * 10_000_000), r"field 'output': has 10,000,000 characters, more than 1,000,000"),
    "empty instruction": (line(instruction=""), r"field 'instruction': is empty"),
    "blank instruction": (line(instruction=" \n"), r"field 'instruction': is only white space"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_bad_field_is_named_with_its_line_in_json_lines(tmp_path: Path, bad: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{line()}\n\n{bad}\n{line()}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3, " + message):
        read_instances(path)


@pytest.mark.parametrize(("bad", "message"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_bad_field_is_named_with_its_line_in_a_json_array(tmp_path: Path, bad: str, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(f"[\n {line()},\n {line()} ,\n\n {bad}\n]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows\.json, line 5 \(record 2, counted from 0\), " + message):
        read_instances(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{line()}\n{{oops}}\n", r"line 2: not valid JSON"),
        (f"{line()}\n{line()[:-9]}", r"line 2: not valid JSON: .*looks cut off"),
        (f"{line()}\n[1]\n", r"line 2: a JSON object is needed"),
        (f"{line()} {line()}\n", r"line 1: not valid JSON"),
        ("[" * 100_000 + "\n", r"line 1: not valid JSON"),
    ],
)
def test_broken_json_lines_are_told_by_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows\.jsonl, " + message):
        read_instances(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"[{line()},\n{line()}", r"rows\.json, line 2: not valid JSON: .*looks cut off"),
        (f"[{line()},\n{{oops}}]", r"rows\.json, line 2: not valid JSON"),
        (f"[{line()},\n3]", r"rows\.json, line 2 \(record 1, counted from 0\): a JSON object is needed, not a number"),
        ('{"data": []}', r"rows\.json: a JSON array of objects is needed, not an object"),
        ("[" * 100_000, r"rows\.json"),
    ],
)
def test_a_broken_json_array_is_told_by_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_instances(path)


def test_bytes_that_are_not_utf8_are_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(line().encode() + b"\n" + line(input="caf\u00e9").encode().replace(b"\\u00e9", b"\xe9") + b"\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: byte \d+ \(0xe9\) is not UTF-8"):
        read_instances(path)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_byte_order_mark_and_crlf_change_nothing(tmp_path: Path, name: str) -> None:
    text = (
        f"{line()}\r\n{line(input='2')}\r\n"
        if name == "rows.jsonl"
        else f"[\r\n{line()},\r\n{line(input='2')}\r\n]\r\n"
    )
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_instances(tmp_path / name).records == [GOOD, {**GOOD, "input": "2"}]


def test_empty_input_and_output_are_kept(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(line(input="", output=""), encoding="utf-8")
    assert read_instances(tmp_path / "rows.jsonl").records == [{**GOOD, "input": "", "output": ""}]


def test_the_longest_field_allowed_is_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(line(output="x" * MAX_FIELD_CHARACTERS), encoding="utf-8")
    assert len(read_instances(tmp_path / "rows.jsonl").records[0]["output"]) == MAX_FIELD_CHARACTERS


def test_a_proved_file_is_read_whatever_it_holds_and_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(line(input="\ud83dx", output="a\0b", instruction=" "), encoding="utf-8")
    source = read_instances(tmp_path / "rows.jsonl", exact=True)
    assert {field: source.column(field) for field in GOOD} == {
        "instruction": [" "],
        "input": ["\ufffdx"],
        "output": ["a\0b"],
    }
    # The proof is about what the file holds.
    assert source.records == [{"instruction": " ", "input": "\ud83dx", "output": "a\0b"}]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.jsonl cannot be read"):
        read_instances(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"instruction": "x"}, r"line 2, field 'instances'"),
        ({"instruction": "x", "instances": ["a"]}, r"line 2, field 'instances'"),
        ({"instances": [{"input": "", "output": ""}]}, r"line 2, field 'instruction': is missing"),
        ({"instruction": "x", "instances": [{"input": ""}]}, r"line 2, field 'output': is missing"),
    ],
)
def test_a_bad_user_oriented_task_is_told_by_line(tmp_path: Path, task: dict[str, object], message: str) -> None:
    path = tmp_path / "tasks.jsonl"
    good = {"instruction": "x", "instances": [{"input": "", "output": ""}] * 2}
    path.write_text(f"{json.dumps(good)}\n{json.dumps(task)}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"tasks\.jsonl, " + message):
        read_user_oriented(path)


@given(st.lists(st.fixed_dictionaries({name: st.text(min_size=1) for name in GOOD}), max_size=5))
def test_whatever_json_writes_is_read_back_or_told(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("json")
    (folder / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    (folder / "b.json").write_text(json.dumps(records, indent=1), encoding="utf-8")
    try:
        expected = read_instances(folder / "a.jsonl").records
    except ValueError:
        with pytest.raises(ValueError, match=r"a\.jsonl, line"):
            read_instances(folder / "a.jsonl")
        with pytest.raises(ValueError, match=r"b\.json, line"):
            read_instances(folder / "b.json")
        return
    assert expected == records == read_instances(folder / "b.json").records
