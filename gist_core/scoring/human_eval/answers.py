"""What comes back from annotators: any mix of the page's export, Label Studio's export and the CSV, as one list of
entries, and the checks against the package. Nothing is guessed: what does not fit is refused with its place, what is
missing is counted (results.py)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gist_core.scoring.human_eval.label_studio import ASSIGNED_TO, read_export
from gist_core.scoring.human_eval.package import CHOICE_LABELS, CHOICES, Choice, Package
from gist_core.scoring.human_eval.spreadsheet import read_csv

PAGE_FORMAT = "gist-human-eval-answers"
MAX_PROBLEMS_SHOWN = 20

Answers = dict[str, dict[str, Choice]]
"""Per annotator, the choice by row id; what is not there was not answered."""

_BY_NAME: dict[str, Choice] = {c.lower(): c for c in CHOICES} | {CHOICE_LABELS[c].lower(): c for c in CHOICES}


@dataclass(frozen=True)
class Entry:
    """One line of an answer file. `choice` is None where nothing was chosen. `place` says where it stands."""

    package: str
    annotator: str
    row_id: str
    choice: Choice | None
    file: str
    place: str


def read_answer_file(path: Path) -> list[Entry]:
    """The entries of one file; its kind is found from its content.

    Raises:
        ValueError: it cannot be read, is none of the known kinds, or an entry lacks a field or has an unknown choice.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return [_entry(fields, path, place) for place, fields in _read(content)]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_answers(package: Package, entries: Iterable[Entry]) -> Answers:
    """The answers, if all entries fit the package and no item was answered twice by one annotator.

    Raises:
        ValueError: naming every problem: another package, an unknown annotator or item, an item answered twice (both
            places and both choices).
    """
    problems: dict[str, None] = {}
    first: dict[tuple[str, str], Entry] = {}
    known = set(package.row_ids)
    for entry in entries:
        if entry.package != package.id and entry.package not in package.contained_ids:
            problems[f"{entry.file} belongs to package {entry.package}; this is package {package.id}"] = None
        elif entry.annotator not in package.annotators:
            names = ", ".join(package.annotators)
            problems[f"{entry.file} names the annotator {entry.annotator!r}; this package has {names}"] = None
        elif entry.row_id not in known:
            problems[f"{_where(entry)}: item {entry.row_id!r} is not in this package"] = None
        elif entry.choice is not None:
            earlier = first.setdefault((entry.annotator, entry.row_id), entry)
            if earlier is not entry:
                problems[
                    f"item {entry.row_id} was answered twice by {entry.annotator}: {earlier.choice} in "
                    f"{_where(earlier)}, and {entry.choice} in {_where(entry)}; hand in one of the two"
                ] = None
    if problems:
        shown = list(problems)[:MAX_PROBLEMS_SHOWN]
        more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
        raise ValueError(f"{len(problems)} problem(s) in the answers:\n" + "\n".join(f"  {p}" for p in shown + more))
    answers: Answers = {}
    for (annotator, row_id), entry in first.items():
        assert entry.choice is not None
        answers.setdefault(annotator, {})[row_id] = entry.choice
    return answers


def _where(entry: Entry) -> str:
    return f"{entry.file} ({entry.place})"


def _entry(fields: dict[str, Any], path: Path, place: str) -> Entry:
    for name in ("package", ASSIGNED_TO, "item", "choice"):
        if not isinstance(fields.get(name), str):
            raise ValueError(f"{place} has no text under {name!r}; keep all columns and fields as they were handed out")
    written = fields["choice"].strip()
    choice = _BY_NAME.get(written.lower())
    if written and choice is None:
        raise ValueError(f"{place}: the choice is {written!r}; it must be one of {', '.join(CHOICES)}, or left empty")
    return Entry(fields["package"], fields[ASSIGNED_TO], fields["item"], choice, str(path), place)


def _read(content: bytes) -> list[tuple[str, dict[str, Any]]]:
    """(place, fields) of every entry of a file of any kind."""
    start = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start not in (b"{", b"["):
        return [(f"row {number}", row) for number, row in enumerate(read_csv(content), start=2)]
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"is not valid JSON: {error}") from None
    if isinstance(value, list):
        return read_export(value)
    if value.get("format") != PAGE_FORMAT or not isinstance(value.get("answers"), list):
        raise ValueError(
            "is none of the known kinds: an export of the page, a Label Studio export (JSON, JSON-MIN or CSV), the CSV"
        )
    shared = {"package": value.get("package"), ASSIGNED_TO: value.get("annotator")}
    entries = []
    for number, answer in enumerate(value["answers"], start=1):
        if not isinstance(answer, dict):
            raise ValueError(f"answer {number} is {answer!r}, not an object with item and choice")
        entries.append((f"answer {number}", shared | answer))
    return entries
