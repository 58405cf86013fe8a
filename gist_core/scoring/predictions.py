"""The answers of several runs to the same rows, checked before anything is counted.

Generations are JSON Lines (`data/generations/RUN/SPLIT.jsonl`) and hold no reference: they are joined with the split on
`row_id`. Two runs are only comparable on the same rows, so a row that one of them lacks is an error, never skipped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gist_core.data.json_lines import read_json_lines
from gist_core.data.rows import VALIDATION_SPLITS, Row
from gist_core.lineage.hashing import is_utf8


def read_predictions(path: Path) -> dict[str, str]:
    """Prediction by row id, in the order of the file. An empty prediction is a valid answer.

    Raises:
        ValueError: the file is missing or damaged, or a line lacks a key or repeats a row.
    """
    predictions: dict[str, str] = {}
    if not path.exists():
        raise ValueError(f"{path} does not exist; generate the answers of this run first (`dvc repro generate`)")
    for number, record in read_json_lines(path):
        try:
            row_id, prediction = record["row_id"], record["prediction"]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: not a generation with row_id and prediction ({error!r}); generate it again"
            ) from None
        if not isinstance(row_id, str) or not isinstance(prediction, str):
            raise ValueError(f"{path}, line {number}: row_id and prediction must be strings, got {record!r:.120}")
        if not is_utf8(prediction):
            raise ValueError(f"{path}, line {number}: the prediction holds half a surrogate pair, which is not Unicode")
        if row_id in predictions:
            raise ValueError(f"{path}, line {number}: row {row_id} is answered twice")
        predictions[row_id] = prediction
    if not predictions:
        raise ValueError(f"{path} holds no answers; generate them again, or take the split out of generate.splits")
    return predictions


def model_of(path: Path) -> str:
    """The fingerprint of the model that gave the answers in a file that `read_predictions` accepts.

    Raises:
        ValueError: the file does not name it.
    """
    model = next((record.get("model") for _, record in read_json_lines(path)), None)
    if not isinstance(model, str):
        raise ValueError(f"{path} does not say which model gave its answers; generate them again")
    return model


def count_cut(path: Path) -> int:
    """How many of the answers in a file that `read_predictions` accepts ended at the limit of new tokens."""
    return sum(record.get("finish_reason") == "length" for _, record in read_json_lines(path))


def answered_splits(folders: Mapping[str, Path]) -> list[str]:
    """The validation splits that all runs have answered. folders: those of their generations, by run.

    Raises:
        ValueError: a run has answered none, or runs differ in their splits.
    """
    found = {
        run: [split for split in VALIDATION_SPLITS if (folder / f"{split}.jsonl").exists()]
        for run, folder in folders.items()
    }
    splits = next(iter(found.values()))
    if not splits or any(others != splits for others in found.values()):
        listing = "; ".join(f"{run}: {', '.join(splits) or 'none'}" for run, splits in found.items())
        raise ValueError(
            f"the runs have not answered the same splits ({listing}); `dvc repro generate` makes what is missing"
        )
    return splits


def rows_answered_by_all(rows: Sequence[Row], by_run: Mapping[str, Mapping[str, str]], split: str) -> list[Row]:
    """The rows of the split that the runs have answered, in the order of the split.

    by_run: predictions by row id, for every run. Fewer rows than the split are fine (`generate.max_rows`), but every
    run must have answered the same ones.

    Raises:
        ValueError: runs differ in their rows, or an answered row is not in the split; names runs, counts and a row.
    """
    known = {row.row_id for row in rows}
    first = next(iter(by_run))
    problems = []
    for run, predictions in by_run.items():
        foreign = [row_id for row_id in predictions if row_id not in known]
        missing = [row_id for row_id in by_run[first] if row_id not in predictions]
        extra = [row_id for row_id in predictions if row_id not in by_run[first]]
        if foreign:
            problems.append(f"{run} has {len(foreign)} answer(s) to rows that are not in the split, e.g. {foreign[0]}")
        elif missing:
            problems.append(
                f"{run} lacks {len(missing)} of the {len(by_run[first])} rows of {first}, e.g. {missing[0]}"
            )
        elif extra:
            problems.append(f"{run} has {len(extra)} row(s) that {first} lacks, e.g. {extra[0]}")
    if problems:
        raise ValueError(
            f"the runs cannot be compared on {split}: {'; '.join(problems)}. Generate them again from the same data"
        )
    return [row for row in rows if row.row_id in by_run[first]]


def exactly_equal(prediction: str, other: str) -> bool:
    """Exact match: the same characters, ignoring white space at both ends (the paper's exact match with pos_control)."""
    return prediction.strip() == other.strip()
