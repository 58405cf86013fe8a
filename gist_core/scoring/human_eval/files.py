"""The package as files:

hand_out/ANNOTATOR/ANNOTATOR.html               the page: works from disk, no server, no network
hand_out/ANNOTATOR/ANNOTATOR.csv                the same for a spreadsheet
hand_out/ANNOTATOR/ANNOTATOR.label_studio.json  the same as Label Studio tasks
hand_out/ANNOTATOR/label_studio_config.xml      Label Studio's labelling interface
keep_secret/key.json                            which run is behind A and B: not to be handed out
"""

import json
from pathlib import Path

from gist_core.scoring.human_eval.label_studio import ASSIGNED_TO, labelling_config, tasks_of
from gist_core.scoring.human_eval.package import Package, package_from_key
from gist_core.scoring.human_eval.page import page_of
from gist_core.scoring.human_eval.spreadsheet import write_csv

HAND_OUT = "hand_out"
KEY = Path("keep_secret/key.json")
COLUMNS = ("package", ASSIGNED_TO, "item", "number", "instruction", "input", "answer_a", "answer_b", "choice")


def write_package(package: Package, folder: Path) -> None:
    """Writes all files of the package into `folder`, which must not exist."""
    for annotator in package.annotators:
        own = folder / HAND_OUT / annotator
        own.mkdir(parents=True)
        (own / f"{annotator}.html").write_bytes(page_of(package, annotator).encode("utf-8"))
        (own / f"{annotator}.csv").write_bytes(csv_of(package, annotator))
        tasks = json.dumps(tasks_of(package, annotator), ensure_ascii=False, indent=1) + "\n"
        (own / f"{annotator}.label_studio.json").write_bytes(tasks.encode("utf-8"))
        (own / "label_studio_config.xml").write_text(labelling_config(), encoding="utf-8")
    key = folder / KEY
    key.parent.mkdir(parents=True)
    content = {"package": package.id} | package.to_key()
    key.write_bytes((json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode("utf-8"))


def read_package(folder: Path) -> Package:
    """The package that `write_package` put into `folder`.

    Raises:
        ValueError: there is none, or its key was changed.
    """
    path = folder / KEY
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; `dvc repro human_package` draws it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    try:
        return package_from_key(key)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def csv_of(package: Package, annotator: str) -> bytes:
    """The items of one annotator with an empty column `choice`."""
    rows = [
        (package.id, annotator, s.row_id, str(number), s.instruction, s.input, s.answer_a, s.answer_b, "")
        for number, s in enumerate(package.shown_to(annotator), start=1)
    ]
    return write_csv(COLUMNS, rows)
