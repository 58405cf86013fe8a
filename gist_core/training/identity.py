"""What makes two trainings the same one: only then are the checkpoints of a work folder resumed from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gist_core.models.fingerprint import sha256_of_loaded
from gist_core.models.gist_model import GistModel
from gist_core.training.distill import Teacher
from gist_core.training.examples import Example
from gist_core.training.settings import TrainSettings

ABOUT_FILE = "training.json"  # in a work folder


def about_training(
    gist_model: GistModel,
    settings: TrainSettings,
    examples: Sequence[Example],
    dev_examples: Sequence[Example],
    teacher: Teacher | None,
    processes: int,
    deepspeed: dict[str, Any] | None,
) -> dict[str, Any]:
    """What makes two trainings the same one, as JSON has it.

    Under ZeRO-3 the weights are divided, and what it starts from is left out; the train stage has their hash in the name of its
    work folder."""
    zero_stage = None if deepspeed is None else deepspeed["zero_optimization"]["stage"]
    about = {
        "processes": processes,
        **asdict(settings),
        **asdict(gist_model.settings),
        "zero_stage": zero_stage,
        "rows": _sha256_of_rows(examples),
        "dev_rows": _sha256_of_rows(dev_examples),
        "teacher_weight": None if teacher is None else teacher.weight,
        "teacher": None if teacher is None else teacher.gist_model.fingerprint,
        "start": None if zero_stage == 3 else sha256_of_loaded(gist_model.model),
    }
    return dict(json.loads(json.dumps(about)))


def note_training(work_dir: Path, about: dict[str, Any]) -> None:
    """Notes in `work_dir` what its checkpoints are of."""
    (work_dir / ABOUT_FILE).write_text(json.dumps(about), encoding="utf-8")


def refuse_another_training(work_dir: Path, about: dict[str, Any]) -> None:
    """Raises ValueError, naming what differs, if the checkpoints in `work_dir` are of another training."""
    before = json.loads((work_dir / ABOUT_FILE).read_text(encoding="utf-8"))
    if before["processes"] != about["processes"]:
        raise ValueError(
            f"{work_dir} was trained so far with {before['processes']} process(es); resume with "
            f"engine.processes={before['processes']}, or remove the folder to start again with {about['processes']}"
        )
    if differing := [key for key in about if about[key] != before.get(key)]:
        raise ValueError(
            f"{work_dir} has checkpoints of another training, which differs in {', '.join(differing)}; give this one a "
            "folder of its own, or remove that one"
            + ("; to resume it, load the model that it began with anew" if differing == ["start"] else "")
        )


def _sha256_of_rows(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr(example).encode())
    return digest.hexdigest()
