"""Answers that an annotator wrote into the package itself, which DVC restores as it was handed out."""

from pathlib import Path

from gist_core.scoring.human_eval.answers import read_answer_files
from tasks import paths


def refuse_answers_in_place(root: Path) -> None:
    """Raises ValueError where a spreadsheet under data/human_eval has been filled in: the next run could discard it."""
    sheets = sorted((root / paths.HUMAN_EVAL / "hand_out").glob("*/*.csv"))
    entries, problems = read_answer_files(sheets)  # of a package as it was handed out there are none
    if edited := problems or sorted({entry.file for entry in entries if entry.choice is not None}):
        raise ValueError(
            f"filled in where DVC would write over it: {'; '.join(edited)}. Move it out of {paths.HUMAN_EVAL}, give that to "
            "`gist human-eval import`, and start again"
        )
