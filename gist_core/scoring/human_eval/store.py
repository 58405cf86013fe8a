"""The checked answers as they are kept in git: `ANNOTATIONS/PACKAGE_ID/ANNOTATOR.jsonl`, one line per answer.

A line says what was chosen and which run was behind A and B, so it can be read without the key. Answers to a smaller
package that this one begins with count for this one too. Answers to any other package (other weights give other texts)
stay in their own folder and are never mixed in."""

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gist_core.data.json_lines import read_json_lines
from gist_core.scoring.human_eval.answers import MAX_PROBLEMS_SHOWN, Answers, Entry, check_answers, read_answer_files
from gist_core.scoring.human_eval.package import CHOICES, Choice, Package


@dataclass(frozen=True)
class Imported:
    """What an import did for one annotator: how many answers are new, were there already, were replaced or removed, how many
    stored ones are not in the files and were left alone, and how many of the package's items have no answer."""

    annotator: str
    new: int
    known: int
    replaced: int
    removed: int
    left_alone: int
    missing: int


def import_answers(
    package: Package, files: Sequence[Path], annotations: Path, *, replace: bool = False, remove_missing: bool = False
) -> list[Imported]:
    """Checks the files and adds their answers to the stored ones; nothing is written unless every file is right.

    An answer that is stored with the same choice is left alone, so a later and fuller file of the same annotator can be
    imported after an earlier one. An answer that differs from the stored one is refused, naming both, unless `replace`.

    remove_missing: whether the files hold all that their annotators say, so that a stored answer that they lack was
        withdrawn. What is replaced or removed is also taken out of the answers to smaller packages that this one begins with.

    Raises:
        ValueError: a file is wrong (answers.py), or contradicts a stored answer.
    """
    new = check_answers(package, *read_answer_files(files))
    stored = load_answers(package, annotations)
    changed = [
        f"  item {row_id} by {annotator}: stored {stored[annotator][row_id]}, now {choice}"
        for annotator, choices in new.items()
        for row_id, choice in choices.items()
        if stored.get(annotator, {}).get(row_id, choice) != choice
    ]
    if changed and not replace:
        more = [f"  and {len(changed) - MAX_PROBLEMS_SHOWN} more"] * (len(changed) > MAX_PROBLEMS_SHOWN)
        raise ValueError(
            f"{len(changed)} answer(s) differ from those imported before:\n"
            + "\n".join([*changed[:MAX_PROBLEMS_SHOWN], *more])
            + "\nimport with --replace to take the new ones"
        )
    report = []
    written: dict[Path, str] = {}
    for annotator in package.annotators:
        if annotator not in new:
            continue
        before, now = stored.get(annotator, {}), new[annotator]
        if not before and not now:
            continue
        not_there = before.keys() - now.keys()
        removed = not_there if remove_missing else set()
        merged = {row_id: choice for row_id, choice in (before | now).items() if row_id not in removed}
        written[annotations / package.id / f"{annotator}.jsonl"] = _lines(package, annotator, merged)
        replaced = {row_id for row_id, choice in now.items() if before.get(row_id, choice) != choice}
        for smaller in _stored_ids(package, annotations) if replaced | removed else []:
            if smaller != package.id and (file := annotations / smaller / f"{annotator}.jsonl").is_file():
                written[file] = _without(file, replaced | removed)
        new_ones = len(now.keys() - before.keys())
        report.append(
            Imported(
                annotator,
                new=new_ones,
                known=len(now) - new_ones - len(replaced),
                replaced=len(replaced),
                removed=len(removed),
                left_alone=len(not_there) - len(removed),
                missing=len(package.pairs) - len(merged),
            )
        )
    _write_all(written)
    return report


def load_answers(package: Package, annotations: Path) -> Answers:
    """The stored answers to this package and to those that it begins with, checked as an import checks them. If an
    annotator answered the same item in two packages, the answer to the larger one counts.

    Raises:
        ValueError: a file is not as `import_answers` wrote it.
    """
    answers: Answers = {}
    for package_id in _stored_ids(package, annotations):
        files = sorted((annotations / package_id).glob("*.jsonl"))
        for annotator, choices in check_answers(package, [entry for file in files for entry in _read(file)]).items():
            answers.setdefault(annotator, {}).update(choices)
    return answers


def other_packages(package: Package, annotations: Path) -> dict[str, int]:
    """Number of stored answers to packages that this one does not begin with, by package id."""
    own = _stored_ids(package, annotations)
    folders = [folder for folder in sorted(annotations.iterdir()) if folder.is_dir() and folder.name not in own]
    return {
        folder.name: sum(len(file.read_bytes().splitlines()) for file in sorted(folder.glob("*.jsonl")))
        for folder in folders
    }


def _stored_ids(package: Package, annotations: Path) -> list[str]:
    """Ids of this package and of those that it begins with, if they have stored answers, the largest last."""
    stored = {folder.name for folder in annotations.iterdir() if folder.is_dir()} if annotations.exists() else set()
    if stored <= {package.id}:  # the usual case; needs no ids of smaller packages
        return list(stored)
    return [package_id for package_id in package.contained_ids if package_id in stored]


def _read(file: Path) -> list[Entry]:
    entries = []
    for number, value in read_json_lines(file):
        try:
            package, annotator, row_id, choice = (value[k] for k in ("package", "annotator", "row_id", "choice"))
            if not all(isinstance(field, str) for field in (package, annotator, row_id)):
                raise TypeError("not a text")
        except (KeyError, TypeError) as error:
            raise ValueError(f"{file}, line {number} is not a stored answer ({error!r})") from None
        if choice not in CHOICES:
            raise ValueError(f"{file}, line {number}: the choice is {choice!r}; it must be one of {', '.join(CHOICES)}")
        entries.append(Entry(package, annotator, row_id, choice, str(file), f"line {number}"))
    return entries


def _without(file: Path, row_ids: set[str]) -> str:
    """The lines of a file of stored answers but those to these items."""
    return "".join(json.dumps(value) + "\n" for _, value in read_json_lines(file) if value["row_id"] not in row_ids)


def _lines(package: Package, annotator: str, choices: dict[str, Choice]) -> str:
    lines = []
    for row_id in package.row_ids:
        if row_id not in choices:
            continue
        a, b = package.run, package.against
        if row_id not in package.run_is_a[annotator]:
            a, b = b, a
        line = {
            "package": package.id,
            "annotator": annotator,
            "row_id": row_id,
            "choice": choices[row_id],
            "a": a,
            "b": b,
        }
        lines.append(json.dumps(line) + "\n")
    return "".join(lines)


def _write_all(contents: dict[Path, str]) -> None:
    """Writes all files or, if there is no room or no permission to write one of them, none."""
    with ExitStack() as undo:
        temporary = {target: target.with_suffix(".tmp") for target in contents}
        for target, content in contents.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            undo.callback(temporary[target].unlink, missing_ok=True)
            temporary[target].write_text(content, encoding="utf-8")
        for target in contents:
            os.replace(temporary[target], target)
