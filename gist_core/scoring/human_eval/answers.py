"""What comes back from annotators: any mix of the page's export, Label Studio's export and the CSV, as one list of
entries, and the checks against the package. Nothing is guessed: what does not fit is refused with its place, what is
missing is counted (results.py)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gist_core.scoring.human_eval.label_studio import ASSIGNED_TO, Found, read_export
from gist_core.scoring.human_eval.package import CHOICE_LABELS, CHOICES, Choice, Package
from gist_core.scoring.human_eval.spreadsheet import read_csv

PAGE_FORMAT = "gist-human-eval-answers"
FIELDS = ("package", ASSIGNED_TO, "item", "choice")
MAX_PROBLEMS_SHOWN = 20

Answers = dict[str, dict[str, Choice]]
"""Per annotator, the choice by row id; what is not there was not answered. An annotator whose files hold no answer has none."""

_BY_NAME: dict[str, Choice] = {c.lower(): c for c in CHOICES} | {CHOICE_LABELS[c].lower(): c for c in CHOICES}


@dataclass(frozen=True)
class Entry:
    """One answer in a file. `choice` is None if nothing was chosen; `row_id` is empty if the file names no item at all.
    `place` says where in the file it is."""

    package: str
    annotator: str
    row_id: str
    choice: Choice | None
    file: str
    place: str


def read_answer_files(paths: Iterable[Path]) -> tuple[list[Entry], list[str]]:
    """The entries of the files, whose kinds are recognised by their content, and the problems, which `check_answers`
    reports with its own: a file that cannot be read or is of no known kind, an entry that lacks a field or has an unknown
    choice."""
    entries: list[Entry] = []
    problems: list[str] = []
    for path in paths:
        try:
            found = _read(path.read_bytes())
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}")
            continue
        except ValueError as error:
            problems.append(f"{path}: {error}")
            continue
        for place, fields in found:
            try:
                entries.append(_entry(fields, path, place))
            except ValueError as error:
                problems.append(f"{path}: {error}")
    return entries, problems


def check_answers(package: Package, entries: Iterable[Entry], unread: Iterable[str] = ()) -> Answers:
    """The answers, if all entries fit the package and no item was answered twice by one annotator.

    unread: the problems that `read_answer_files` found.

    Raises:
        ValueError: naming every problem (the first MAX_PROBLEMS_SHOWN): those of reading, another package, an unknown
            annotator or item, an item answered twice (both places and both choices).
    """
    problems = dict.fromkeys(unread)
    first: dict[tuple[str, str], Entry] = {}
    known = set(package.row_ids)
    answers: Answers = {}
    for entry in entries:
        if entry.package != package.id and entry.package not in package.contained_ids:
            problems[f"{entry.file} belongs to package {entry.package}; this is package {package.id}"] = None
        elif entry.annotator not in package.annotators:
            names = ", ".join(package.annotators)
            problems[f"{entry.file} names the annotator {entry.annotator!r}; this package has {names}"] = None
        elif entry.row_id not in known and (entry.row_id or entry.choice):
            problems[f"{_where(entry)}: item {entry.row_id!r} is not in this package"] = None
        elif entry.choice is None:
            answers.setdefault(entry.annotator, {})
        else:
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
    for (annotator, row_id), entry in first.items():
        assert entry.choice is not None
        answers.setdefault(annotator, {})[row_id] = entry.choice
    return answers


def _where(entry: Entry) -> str:
    return f"{entry.file} ({entry.place})"


def _entry(fields: dict[str, Any] | str, path: Path, place: str) -> Entry:
    if isinstance(fields, str):
        raise ValueError(f"{place}: {fields}")
    for name in FIELDS:
        if not isinstance(fields.get(name), str):
            raise ValueError(f"{place} has no text under {name!r}; keep all columns and fields as they were handed out")
    written = fields["choice"].strip()
    choice = _BY_NAME.get(written.lower())
    if written and choice is None:
        raise ValueError(f"{place}: the choice is {written!r}; it must be one of {', '.join(CHOICES)}, or left empty")
    return Entry(fields["package"], fields[ASSIGNED_TO], fields["item"], choice, str(path), place)


def _read(content: bytes) -> list[Found]:
    """Every entry of a file of any kind, without the empty rows of a spreadsheet."""
    start = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start not in (b"{", b"["):
        rows = enumerate(read_csv(content, needed=FIELDS), start=2)
        return [(f"row {number}", row) for number, row in rows if any(row.values())]
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also of too many digits or brackets
        raise ValueError(f"is not valid JSON: {error}") from None
    if isinstance(value, list):
        return read_export(value)
    if value.get("format") != PAGE_FORMAT or not isinstance(value.get("answers"), list):
        raise ValueError(
            "is none of the known kinds: an export of the page, a Label Studio export (JSON, JSON-MIN or CSV), the CSV"
        )
    shared = {"package": value.get("package"), ASSIGNED_TO: value.get("annotator")}
    if not value["answers"]:
        return [("no answers", shared | {"item": "", "choice": ""})]
    return [
        (
            f"answer {number}",
            shared | answer if isinstance(answer, dict) else f"is {answer!r:.60}, not an object with item and choice",
        )
        for number, answer in enumerate(value["answers"], start=1)
    ]
