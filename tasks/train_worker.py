"""One training as its processes see it: in the stage's own process, or started N times by a launcher.

python -m gist_core.training.launch --standalone --nproc_per_node=2 --module tasks.train_worker JOB.json
"""

import json
import os
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.collector import collect_rarely
from tasks.sections import EngineParams, RunParams, Section, TrainParams

if TYPE_CHECKING:
    from gist_core.training.examples import Example

ERROR_FILE = "error.txt"  # the user's mistake that ended the training
TRAINED_ROWS_FILE = "trained_rows.jsonl"


class Job(Section):
    """All that a worker needs to know. Paths are absolute; `output` gets the trained model.

    start: folder of the model that training starts from. dev_rows: file of the rows held out of train; None if there are
    none. progress_file: where to write how far the training is; None: nowhere.
    """

    start: str
    rows: str
    dev_rows: str | None = None
    output: str
    work_dir: str
    progress_file: str | None = None
    train: TrainParams
    engine: EngineParams
    run: RunParams


def run_job(job: Job) -> None:
    """Trains and writes the model to `job.output` and, to the work folder, the rows that it was trained on in the order
    of their first use (`trained_rows.jsonl`) and what is worth recording (`summary.json`).

    Raises:
        ValueError: a wrong parameter, a loss that is not a number, no memory, no disk, or no DeepSpeed operator.
    """
    from gist_core.training.failures import explained

    with explained(Path(job.work_dir)):
        _run_job(job)


def _run_job(job: Job) -> None:
    import torch

    from gist_core.models.base import load_config, load_pretrained
    from gist_core.models.gist_model import GistModel, GistSettings
    from gist_core.training.distill import Teacher
    from gist_core.training.engine import deepspeed_config, init_processes, sharded_loading, world_size
    from gist_core.training.examples import Limits
    from gist_core.training.settings import TrainSettings
    from gist_core.training.train import train

    params, use_cpu = job.run.trained_with(job.train), not torch.cuda.is_available()
    config = load_config(job.start)
    settings = TrainSettings(
        **params.model_dump(include={field.name for field in fields(TrainSettings)}),
        freeze_embeddings="embeddings" in params.freeze,
        row_capacity=params.max_length,
        lora_rank=job.run.lora_rank,
        frozen_layers=job.run.frozen_layers or 0,
        torch_compile=job.engine.torch_compile,
    )
    if use_cpu and job.engine.attention == "flex_attention":
        raise ValueError("engine.attention: flex_attention has no backward pass without a GPU; leave it at sdpa")
    if not use_cpu:
        # the number of processes on this machine, as torchrun and as DeepSpeed's launcher call it
        local = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or "1")
        if local > torch.cuda.device_count():
            raise ValueError(
                f"{local} processes on a machine with {torch.cuda.device_count()} GPU(s): each needs one of its own; lower "
                + (
                    "its slots in engine.hostfile"
                    if job.engine.hostfile
                    else f"engine.processes ({job.engine.processes})"
                )
            )
    deepspeed = None
    if job.engine.zero_stage is not None:
        init_processes(use_cpu=use_cpu)
        deepspeed = deepspeed_config(job.engine.zero_stage, offload=job.engine.offload, bf16=settings.bf16)
    # Float32, or small updates would be lost; in bf16, DeepSpeed has a float32 copy of its own for the optimizer.
    with sharded_loading(deepspeed):
        in_bf16 = deepspeed is not None and settings.bf16
        model, tokenizer = load_pretrained(
            job.start,
            dtype=torch.bfloat16 if in_bf16 else torch.float32,
            attn_implementation=job.engine.attention,
        )
    settings_of_gist = GistSettings(job.run.condition, job.run.num_gist_tokens, tuple(job.run.drawn_gist_tokens))
    gist_model = GistModel(model, tokenizer, settings_of_gist)
    # Rows may be packed into rows longer than the model's context, because each has positions of its own.
    longest = min(params.max_length, gist_model.max_tokens or params.max_length)
    examples_of = partial(
        _examples,
        tokenizer=tokenizer,
        num_gist_tokens=job.run.num_gist_tokens,
        is_encoder_decoder=bool(config.is_encoder_decoder),
        limits=Limits(total=longest, source=params.max_source_length, target=params.max_target_length),
        drawn_gist_tokens=job.run.drawn_gist_tokens,
        seed=params.seed,
    )
    examples, too_long = examples_of(job.rows)
    if too_long and os.environ.get("RANK", "0") == "0":
        print(
            f"{len(too_long):,} of {len(too_long) + len(examples):,} rows are left out: with prompt and answer they are longer "
            f"than train.max_length and the model's context ({longest} tokens), max_source_length or max_target_length allow",
            flush=True,
        )
    dev_examples, _ = examples_of(job.dev_rows) if job.dev_rows else ([], [])
    teacher = None
    if job.run.teacher_weight is not None:
        device = "cpu" if use_cpu else f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        teacher = Teacher.load(Path(job.start), weight=job.run.teacher_weight, device=device, bf16=settings.bf16)
    trainer = train(
        gist_model,
        examples,
        settings,
        work_dir=Path(job.work_dir),
        dev_examples=dev_examples,
        teacher=teacher,
        deepspeed=deepspeed,
        use_cpu=use_cpu,
        progress_file=Path(job.progress_file) if job.progress_file else None,
    )
    if not deepspeed:
        model.to(config.dtype)  # type: ignore[arg-type]
    trainer.save_model(job.output)
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(job.output)
        gist_model.settings.save(Path(job.output))
        (Path(job.output) / "training_args.bin").unlink(missing_ok=True)  # a pickle of paths and times of this machine
        rows = trainer.trained_rows
        lines = [json.dumps({"row_id": row_id, "times": times}) + "\n" for row_id, times in rows.items()]
        (Path(job.work_dir) / TRAINED_ROWS_FILE).write_text("".join(lines), encoding="utf-8")
        summary = {
            "rows_trained_on": len(rows),
            "rows_short_enough": len(examples),
            "rows_too_long": len(too_long),
            "processes": world_size(),
            "seed": params.seed,
            "device": "cpu" if use_cpu else torch.cuda.get_device_name(),
        }
        if settings.select == "dev_loss":
            summary |= {"selected_step": trainer.selected_step, "dev_rows": len(dev_examples)}
        (Path(job.work_dir) / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


def _examples(rows: str, **how: Any) -> tuple[list["Example"], list[str]]:
    from gist_core.data.rows import read_rows
    from gist_core.training.examples import make_examples

    return make_examples(((row.row_id, row.instruction, row.input, row.output) for row in read_rows(Path(rows))), **how)


if __name__ == "__main__":
    collect_rarely()
    job = Job.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        run_job(job)
    except ValueError as error:
        # For the stage that started the launcher, which would otherwise know only an exit code.
        (Path(job.work_dir) / ERROR_FILE).write_text(str(error), encoding="utf-8")
        print(f"tasks.train_worker: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    from gist_core.training.engine import leave_processes

    leave_processes()
