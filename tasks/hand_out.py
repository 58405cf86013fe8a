"""Finds answers that were written into the package itself, which DVC may restore to its original state."""

from pathlib import Path

from gist_core.scoring.human_eval.answers import read_answer_files
from tasks import paths


def refuse_answers_in_place(root: Path) -> None:
    """Raises ValueError if a spreadsheet under data/human_eval has been filled in: the next run could discard the answers."""
    sheets = sorted((root / paths.HUMAN_EVAL / "hand_out").glob("*/*.csv"))
    entries, problems = read_answer_files(sheets)  # an untouched package has neither choices nor problems
    if edited := problems or sorted({entry.file for entry in entries if entry.choice is not None}):
        raise ValueError(
            f"filled in where DVC would write over it: {'; '.join(edited)}. Move it out of {paths.HUMAN_EVAL}, give that to "
            "`gist human-eval import`, and start again"
        )
