"""Reads source files into records, and refuses what would do harm later, with file, line and field.

Rules (docs/data.md has the same list for readers):
- JSON Lines are split at line feeds only; a carriage return before one is white space; blank lines are skipped.
- A byte order mark at the start of a file is skipped. Bytes that are not UTF-8 are refused.
- instruction, input and output must be present and be strings. Input and output may be empty, the instruction may not.
- NUL characters, lone surrogates, the literal gist token and fields above MAX_FIELD_CHARACTERS are refused.
- In a file that is proved to be the upstream one, no text is refused for its content, because its hash vouches for it.
  There a lone surrogate becomes U+FFFD in the rows, because Parquet cannot hold it; the records, which the proof is
  about, keep it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gist_core.data.prompt import GIST_TOKEN
from gist_core.lineage.hashing import is_utf8

FIELDS = ("instruction", "input", "output")
MAX_FIELD_CHARACTERS = 1_000_000
_TEXTS_AT_ONCE = 1000  # small enough for the processor's cache
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

Record = dict[str, Any]
Locate = Callable[[int], str]


@dataclass(slots=True)
class Source:
    """One parsed file, or a part of it: its name and its records, in the order of the file, each with the three fields.

    indices: positions of the records in the file; None = they are the whole file.
    columns: the three fields of all records as the rows get them, if already computed.
    """

    file: str
    records: list[Record]
    indices: list[int] | None = None
    columns: dict[str, list[str]] | None = None

    def column(self, field: str) -> list[str]:
        """One field of every record, as the rows get it."""
        return self.columns[field] if self.columns else [record[field] for record in self.records]


def read_instances(path: Path, *, exact: bool = False) -> Source:
    """Reads records with instruction, input and output from JSON Lines (`.jsonl`) or a JSON array (`.json`).

    exact: the file is proved to be the upstream one, see the module's rules.

    Raises:
        ValueError: the file is not well-formed, or a record breaks a rule; names file, line and field.
    """
    records, locate = read_json_records(path)
    return Source(path.name, records, columns=check_records(records, locate, exact=exact))


def read_user_oriented(path: Path, *, exact: bool = False) -> Source:
    """Reads Self-Instruct's human evaluation file, one record for each (instruction, instance), in order.

    Raises:
        ValueError: as `read_instances`, and where `instances` is not a list of objects.
    """
    tasks, locate = read_json_records(path)
    records: list[Record] = []
    task_of: list[int] = []
    for number, task in enumerate(tasks):
        instances = task.get("instances")
        if not isinstance(instances, list) or not all(isinstance(instance, dict) for instance in instances):
            raise ValueError(f"{locate(number)}, field 'instances': a list of objects with input and output is needed")
        for instance in instances:
            shared = {"instruction": task["instruction"]} if "instruction" in task else {}
            records.append({**shared, **{name: instance[name] for name in ("input", "output") if name in instance}})
            task_of.append(number)
    return Source(path.name, records, columns=check_records(records, lambda n: locate(task_of[n]), exact=exact))


def read_json_records(path: Path) -> tuple[list[Record], Locate]:
    """Objects of a JSON Lines file or a JSON array, and a function from a record's index to `FILE, line N`.

    Raises:
        ValueError: not UTF-8, not JSON, cut off, or something other than objects.
    """
    text = read_text(path)
    if path.suffix.lower() == ".json":
        return _read_array(path.name, text)
    return _read_lines(path.name, text)


def _read_lines(name: str, text: str) -> tuple[list[Record], Locate]:
    records: list[Record] = []
    blank: list[int] = []  # numbers of the lines without a record
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            record = _loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            if not line.strip():
                blank.append(number)
                continue
            is_last = number == text.count("\n") + 1
            hint = "; the file ends here without a line feed, so it looks cut off" if is_last else ""
            raise ValueError(f"{name}, line {number}: not valid JSON: {error}{hint}") from None
        if type(record) is not dict:
            raise ValueError(f"{name}, line {number}: a JSON object is needed, not {line.strip()!r:.60}")
        records.append(record)

    def locate(index: int) -> str:
        number = index + 1
        for skipped in blank:
            number += skipped <= number
        return f"{name}, line {number}"

    return records, locate


def _loads(text: str) -> Any:
    """`json.loads`, but twice as fast if orjson accepts the text. orjson is stricter (NaN, lone surrogates) and its errors
    say less, so `json` decides about the texts that it rejects."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:

        def integer(digits: str) -> int:
            try:
                return int(digits)
            except ValueError:  # more digits than Python reads; its message names no position
                raise json.JSONDecodeError(f"a number of {len(digits):,} digits", text, text.index(digits)) from None

        return json.loads(text, parse_int=integer)


def read_text(path: Path) -> str:
    """The file as text, without a byte order mark. Raises ValueError if it is missing, unreadable or not UTF-8."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path.name}, line {line}: byte {error.start} ({raw[error.start]:#04x}) is not UTF-8; "
            "save the file as UTF-8"
        ) from None


def check_records(
    records: list[Record], locate: Locate, *, exact: bool = False, called: Mapping[str, str | None] | None = None
) -> dict[str, list[str]]:
    """Checks the three text fields of every record. `locate` says where a record is in the file, `called` what the file
    calls the fields, if that differs.

    Returns:
        The fields, column by column; with `exact`, lone surrogates are replaced there and stay in the records.

    Raises:
        ValueError: the first record that breaks a rule, with its place and field.
    """
    columns = {field: _clean_column(records, field) for field in FIELDS}
    if all(column is not None for column in columns.values()):
        return columns  # type: ignore[return-value]
    for number, record in enumerate(records):
        for field in FIELDS:
            value, name = record.get(field), (called or {}).get(field) or field
            if type(value) is not str:
                found = "is missing" if field not in record else f"is {_json_type(value)}, not a string: {value!r:.60}"
                raise ValueError(f"{locate(number)}, field {name!r}: {found}")
            if not exact and (problem := _problem(field, value)):
                raise ValueError(f"{locate(number)}, field {name!r}: {problem}")
    return {field: [_LONE_SURROGATE.sub("\ufffd", record[field]) for record in records] for field in FIELDS}


def _clean_column(records: list[Record], field: str) -> list[str] | None:
    """The field of every record; None if `_problem` may have something to say about one. Checks many texts at once, in C
    instead of a loop."""
    column: list[Any] = []
    for start in range(0, len(records), _TEXTS_AT_ONCE):
        texts = [record.get(field) for record in records[start : start + _TEXTS_AT_ONCE]]
        try:
            joined = "\n".join(texts)  # type: ignore[arg-type]  # the gist token has no line feed
        except TypeError:
            return None
        if "\0" in joined or GIST_TOKEN in joined or not is_utf8(joined):
            return None
        if field == "instruction" and not all(map(str.strip, texts)):  # type: ignore[arg-type]
            return None
        if len(joined) > MAX_FIELD_CHARACTERS and max(map(len, texts)) > MAX_FIELD_CHARACTERS:  # type: ignore[arg-type]
            return None
        column += texts
    return column


def _problem(field: str, value: str) -> str | None:
    if not value:
        return "is empty: there is nothing to compress" if field == "instruction" else None
    if len(value) > MAX_FIELD_CHARACTERS:
        return f"has {len(value):,} characters, more than {MAX_FIELD_CHARACTERS:,}; shorten it or remove the record"
    if "\0" in value:
        return f"holds a NUL character at position {value.index(chr(0))}; remove it"
    if GIST_TOKEN in value:
        return (
            f"holds the literal gist token {GIST_TOKEN!r} at position {value.index(GIST_TOKEN)}; write it differently"
        )
    if not value.isascii() and (found := _LONE_SURROGATE.search(value)):
        code = f"U+{ord(found[0]):04X}"
        return f"holds the lone surrogate {code} at position {found.start()}, half of a character; remove it"
    if field == "instruction" and value.isspace():
        return "is only white space: there is nothing to compress"
    return None


def _read_array(name: str, text: str) -> tuple[list[Record], Locate]:
    try:
        records = _loads(text)
    except json.JSONDecodeError as error:
        hint = "; the file ends here, so it looks cut off" if not text[error.pos :].strip() else ""
        if error.msg == "Extra data":
            hint = "; if it has one object a line, let its name end in .jsonl"
        raise ValueError(f"{name}, line {error.lineno}: not valid JSON: {error}{hint}") from None
    except RecursionError:
        raise ValueError(f"{name}: not a JSON array of objects: nested too deeply to be read") from None
    if not isinstance(records, list):
        raise ValueError(f"{name}: a JSON array of objects is needed, not {_json_type(records)}")

    def locate(index: int) -> str:
        start = next(position for n, position in enumerate(_element_starts(text)) if n == index)
        return f"{name}, line {text.count(chr(10), 0, start) + 1} (record {index}, counted from 0)"

    for index, record in enumerate(records):
        if type(record) is not dict:
            raise ValueError(f"{locate(index)}: a JSON object is needed, not {_json_type(record)}")
    return records, locate


def _element_starts(text: str) -> Iterator[int]:
    """Where each element of a valid JSON array begins. Only used to write a message, so it may be slow."""
    white = re.compile(r"[ \t\r\n]*")
    decoder = json.JSONDecoder()
    position = white.match(text, text.index("[") + 1).end()  # type: ignore[union-attr]
    while text[position] != "]":
        yield position
        _, position = decoder.raw_decode(text, position)
        position = white.match(text, position).end()  # type: ignore[union-attr]
        if text[position] == ",":
            position = white.match(text, position + 1).end()  # type: ignore[union-attr]


def _json_type(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "an array",
        dict: "an object",
        str: "a string",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)
