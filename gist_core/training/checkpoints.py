"""Checkpoints that are whole or do not count.

transformers writes `checkpoint-N` in place and resumes from the highest N unchecked, even from one that a kill cut short.
Here a marker is written last, and only a checkpoint that has its marker is resumed from.
"""

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

MARKER = "COMPLETE"
Select = Literal["last", "dev_loss"]


def kept(select: Select) -> int:
    """Number of checkpoints that stay on disk: the last two, so that a whole one is there while another is written, and the
    best one if that is selected. There is one more while a new checkpoint replaces one of them."""
    return 2 if select == "last" else 3


def checkpoint_bytes(weights: int, trained: int, zero_stage: int | None) -> int:
    """Bytes of one checkpoint: the weights, and two float32 moments for each trained one. DeepSpeed adds a float32 copy of the
    trained ones and, unless it shards the weights themselves (stage 3), a file of its own with all weights.

    weights: bytes of all weights as the training holds them. trained: how many weights are trained.
    """
    if zero_stage is None:
        return weights + 8 * trained
    return (1 if zero_stage == 3 else 2) * weights + 12 * trained


class MarkComplete(TrainerCallback):
    """Writes the marker once everything else of a checkpoint is on disk, safe from a power cut."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        os.sync()
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # each process has written its part
        if state.is_world_process_zero:
            marker = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / MARKER
            with marker.open("w", encoding="utf-8") as file:
                file.write(f"{state.global_step}\n")
                file.flush()
                os.fsync(file.fileno())


def last_complete_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint, and the names of those that were cut short, which are removed."""
    found = sorted(
        (path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)),
        key=lambda path: int(path.name.partition("-")[2]),
    )
    cut_short = [path for path in found if not (path / MARKER).exists()]
    for path in cut_short:
        while path.exists():
            with contextlib.suppress(FileNotFoundError):  # every process of a training removes it at the same time
                shutil.rmtree(path)
    whole = [path for path in found if (path / MARKER).exists()]
    return (whole[-1] if whole else None), [path.name for path in cut_short]
