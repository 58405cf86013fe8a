"""A small training job on disk: a tiny base model, rows, and the worker that trains it in its own process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from gist_core.data.rows import Row, row_id
from gist_core.models.base import add_gist_token
from tasks.sections import EngineParams, RunParams, TrainParams
from tasks.train_worker import Job
from tests.rows import write_rows
from tests.tiny import byte_tokenizer, tiny_model

TRAIN = {
    "steps": 12,
    "batch_size": 4,
    "micro_batch_size": 2,
    "learning_rate": 1e-3,
    "lr_schedule": "cosine",
    "warmup_ratio": 0.1,
    "weight_decay": 0.0,
    "max_length": 256,
    "batching": "packed",
    "save_every": 3,
    "log_every": 1,
    "seed": 0,
}


def write_base_and_rows(folder: Path, family: str = "llama", **of_config: int) -> None:
    tokenizer, model = byte_tokenizer(), tiny_model(family, **of_config)
    add_gist_token(model, tokenizer)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    rows = []
    for index in range(24):
        fields = {"instruction": f"Add {index % 5}.", "input": str(index), "output": str(index + index % 5)}
        identity = row_id(source="alpaca", occurrence=0, **fields)
        rows.append(Row(row_id=identity, split="train", source="alpaca", source_file="x", source_index=index, **fields))
    write_rows(folder / "train.parquet", rows)


def job(folder: Path, name: str, *, engine: dict[str, Any] | None = None, condition: str = "gist", **train: Any) -> Job:
    work_dir = folder / name / "work"
    work_dir.mkdir(parents=True, exist_ok=True)
    return Job(
        start=str(folder / "base"),
        rows=str(folder / "train.parquet"),
        output=str(folder / name / "model"),
        work_dir=str(work_dir),
        train=TrainParams(**TRAIN | train),
        engine=EngineParams(**engine or {}),
        run=RunParams(condition=condition, num_gist_tokens=1, start="data/base_model"),
    )


def start(job: Job) -> subprocess.Popen:
    """Starts the job as the train stage does: one process, or N under the launcher."""
    from gist_core.training.engine import launch_command

    spec = Path(job.work_dir) / "job.json"
    spec.write_text(job.model_dump_json(), encoding="utf-8")
    if job.engine.zero_stage is None:
        command = [sys.executable, "-m", "tasks.train_worker", str(spec)]
    else:
        engine = job.engine
        command = launch_command(
            "tasks.train_worker", [str(spec)], processes=engine.processes, hostfile=engine.hostfile
        )
    return subprocess.Popen(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def weights(job: Job) -> dict[str, torch.Tensor]:
    return load_file(Path(job.output) / "model.safetensors")


def losses(job: Job) -> list[float]:
    lines = (Path(job.work_dir) / "curve.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def finish(job: Job) -> str:
    process = start(job)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output
    return output


def kill_when(job: Job, reached: Callable[[], bool]) -> None:
    """Starts a training and kills its whole process group as soon as `reached` says so."""
    process = start(job)
    deadline = time.monotonic() + 200
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def kill_at_step(job: Job, step: int) -> None:
    curve = Path(job.work_dir) / "curve.jsonl"
    kill_when(job, lambda: curve.exists() and curve.read_text().count("\n") >= step)
