"""A trained model and the rows that it answers: what the stages generate, baseline and benchmark have in common."""

from typing import TYPE_CHECKING

from gist_core.out_of_memory import enough_memory
from tasks import paths
from tasks.stage import Stage

if TYPE_CHECKING:
    from gist_core.data.rows import Row
    from gist_core.models.gist_model import GistModel


def load_model(stage: Stage, trained_run: str, section: str) -> "GistModel":
    """The trained model of a run, on the stage's device. section: the section of params.yaml that has the `dtype`."""
    import torch

    from gist_core.models.gist_model import GistModel

    dtype = getattr(stage.params, section).dtype
    with enough_memory(f"the model does not fit in {section}.dtype = {dtype}; bfloat16 takes half of float32"):
        return GistModel.from_pretrained(
            stage.dep(paths.MODELS / trained_run), dtype=getattr(torch, dtype), device=stage.device
        )


def draw_rows(rows: "list[Row]", max_rows: int | None) -> "list[Row]":
    """At most `max_rows` rows, those with the smallest row ids, in the order of `rows`; None means all.

    A split's file is ordered by task, so its first rows would be of a few tasks only; row ids are hashes.
    """
    drawn = {row.row_id for row in sorted(rows, key=lambda row: row.row_id)[:max_rows]}
    return [row for row in rows if row.row_id in drawn]
