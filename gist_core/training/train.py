"""Trains one model under one condition, with DeepSpeed ZeRO where asked (gist_core/training/trainer.py has the loop).

Batches are planned beforehand from row ids, so that any number of processes sees the same ones, and only whole checkpoints
are resumed from.
"""

import ctypes
import logging
import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from gist_core.models.attention import FLEX_BLOCK
from gist_core.models.gist_model import GistModel
from gist_core.training.checkpoints import MarkComplete, checkpoint_bytes, kept, last_complete_checkpoint
from gist_core.training.collate import Collator
from gist_core.training.compiled import compile_layers, decoder_layers
from gist_core.training.curve import WriteCurve
from gist_core.training.distill import Teacher
from gist_core.training.engine import accumulation_steps, world_size
from gist_core.training.examples import Example, plan_micro_batches
from gist_core.training.failures import check_disk
from gist_core.training.head import only_labelled
from gist_core.training.identity import about_training, note_training, refuse_another_training
from gist_core.training.lora import lora
from gist_core.training.progress import Progress
from gist_core.training.settings import TrainSettings
from gist_core.training.trainer import GistTrainer

logger = logging.getLogger(__name__)


def train(
    gist_model: GistModel,
    examples: Sequence[Example],
    settings: TrainSettings,
    *,
    work_dir: str | Path,
    dev_examples: Sequence[Example] = (),
    teacher: Teacher | None = None,
    deepspeed: dict[str, Any] | None = None,
    use_cpu: bool = False,
    progress_file: Path | None = None,
) -> GistTrainer:
    """Trains `gist_model` in place, resuming from the last whole checkpoint in `work_dir`. A training is resumed with the same
    arguments as it began with, and so with the weights that it began with.

    dev_examples: held-out rows; their loss is in the curve at every checkpoint.
    teacher: a pos_control model to distil from (gist_core/training/distill.py).
    deepspeed: a DeepSpeed configuration (gist_core/training/engine.py), or None.
    progress_file: records how far the training is (gist_core/training/progress.py).

    Returns: the trainer, whose `save_model(folder)` writes the weights (gathered, under ZeRO-3; LoRA merged).

    Raises:
        ValueError: no rows, rows with another number of gist tokens than the model's or longer than its context, batch sizes
            that do not divide, weights of half precision (without DeepSpeed), a loss or weights that are not finite, no disk
            space for checkpoints, a `work_dir` of another training or number of processes, or settings that do not go together
            or with this model (dev_loss without development rows, LoRA under ZeRO-3, compiling or freezing layers that it does
            not have).
    """
    work_dir = Path(work_dir)
    _refuse_rows_of_another_model(gist_model, [*examples, *dev_examples])
    _refuse_what_does_not_go_together(gist_model, settings, deepspeed, with_dev=bool(dev_examples))
    processes = world_size()
    accumulated = accumulation_steps(settings.batch_size, settings.micro_batch_size, processes)
    per_step = accumulated * processes
    plan = plan_micro_batches(
        examples,
        steps=settings.steps,
        batch_size=settings.batch_size,
        micro_batch_size=settings.micro_batch_size,
        batching=settings.batching,
        seed=settings.seed,
    )
    tokens_per_step = [
        sum(examples[i].num_tokens for batch in plan[s : s + per_step] for i in batch)
        for s in range(0, len(plan), per_step)
    ]
    config = gist_model.model.config
    collator = Collator(
        condition=gist_model.settings.condition,
        batching=settings.batching,
        pad_token_id=gist_model.tokenizer.pad_token_id,
        row_capacity=settings.row_capacity,
        decoder_start_token_id=config.decoder_start_token_id if gist_model.is_encoder_decoder else None,
        width_multiple=FLEX_BLOCK if config._attn_implementation == "flex_attention" else 1,
    )
    work_dir.mkdir(parents=True, exist_ok=True)
    checkpoint, cut_short = last_complete_checkpoint(work_dir)
    about = about_training(gist_model, settings, examples, dev_examples, teacher, processes, deepspeed)
    if checkpoint is not None:
        refuse_another_training(work_dir, about)
    if settings.torch_compile:
        compile_layers(gist_model.model)
    gist_model.model.requires_grad_(True)  # whatever an earlier training of this model froze
    if settings.freeze_embeddings:
        gist_model.model.get_input_embeddings().requires_grad_(False)
    with ExitStack() as training:
        training.callback(gist_model.model.eval)
        if settings.lora_rank is not None:
            torch.manual_seed(settings.seed)  # for LoRA's first matrices; Trainer seeds what comes later
            training.enter_context(lora(gist_model.model, settings.lora_rank))
        if settings.frozen_layers:
            _freeze_first_layers(gist_model.model, settings.frozen_layers)
        gist_model.forget_origin()
        gist_model.model.train()
        if checkpoint is None:
            at_once = min(kept(settings.select) + 1, -(-settings.steps // settings.save_every))
            check_disk(work_dir, at_once * _checkpoint_bytes(gist_model.model, deepspeed))
        dev_order = sorted(dev_examples, key=lambda example: example.num_tokens)
        size = settings.micro_batch_size
        trainer = GistTrainer(
            model=gist_model.model,
            args=_arguments(settings, work_dir, accumulated, deepspeed, use_cpu, with_dev=bool(dev_examples)),
            train_dataset=[[examples[i] for i in batch] for batch in plan],
            eval_dataset=[dev_order[i : i + size] for i in range(0, len(dev_order), size)] or None,
            data_collator=lambda items: _collate(collator, teacher, items),
            gist_token_id=gist_model.gist_token_id,
            teacher=teacher,
            autocast=settings.bf16 and deepspeed is None,
            compiled=settings.torch_compile,
            callbacks=[
                EvaluateCheckpoints(),
                WriteCurve(work_dir / "curve.jsonl", work_dir / "speed.jsonl", tokens_per_step),
                MarkComplete(),
                StopOnBadLoss(),
                ReturnFreedMemory(),
            ],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(Progress(tokens_per_step, progress_file))
        if cut_short:
            logger.warning("skipped and removed checkpoints without a completeness marker: %s", ", ".join(cut_short))
        if checkpoint is not None:
            logger.warning("resuming from %s", checkpoint)
        elif trainer.is_world_process_zero():  # only before the first checkpoint; later other processes read it
            note_training(work_dir, about)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer


class StopOnBadLoss(TrainerCallback):
    """Ends a training whose loss or weights are not finite, before a checkpoint of it replaces a good one."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if control.should_save:
            control.should_log = True  # the loss since the last log is checked before anything is saved
            # Under ZeRO-3 parameters are empty between steps, and this process has only its shard of them (`ds_tensor`).
            here = (getattr(p, "ds_tensor", p) for p in kwargs["model"].parameters() if p.requires_grad)
            if not all(bool(shard.isfinite().all()) for shard in here):
                raise ValueError(_stopped("the weights are no numbers any more", args, state))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise ValueError(_stopped(f"the training loss is {loss}", args, state))


def _stopped(why: str, args: TrainingArguments, state: TrainerState) -> str:
    return (
        f"{why} at step {state.global_step}; lower train.learning_rate ({args.learning_rate}) or raise "
        "train.warmup_ratio. The last good checkpoint is kept"
    )


class ReturnFreedMemory(TrainerCallback):
    """Returns the memory that a training on a CPU has freed to the system. Packed batches vary in length all the time, and
    glibc keeps the gaps between the pieces still in use: after some hundreds of steps, several times what is in use."""

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if args.device.type == "cpu" and trim is not None:
            trim(0)


class EvaluateCheckpoints(TrainerCallback):
    """Has every checkpoint, the last one too, evaluated on the development rows."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if control.should_save and args.eval_strategy != "no":
            control.should_evaluate = True


def _arguments(
    settings: TrainSettings,
    work_dir: Path,
    accumulation: int,
    deepspeed: dict[str, Any] | None,
    use_cpu: bool,
    *,
    with_dev: bool,
) -> TrainingArguments:
    on_gpu = torch.cuda.is_available() and not use_cpu
    arguments = TrainingArguments(
        output_dir=str(work_dir),
        max_steps=settings.steps,
        # One item of the data set is one planned micro-batch.
        per_device_train_batch_size=1,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_schedule,
        warmup_steps=round(settings.warmup_ratio * settings.steps),
        weight_decay=settings.weight_decay,
        bf16=settings.bf16 and deepspeed is not None,
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=kept(settings.select),
        eval_strategy="steps" if with_dev else "no",
        eval_steps=settings.save_every if with_dev else None,
        # Only if asked for: with it Trainer keeps the best checkpoint in place of the last but one.
        load_best_model_at_end=settings.select == "dev_loss",
        metric_for_best_model="eval_loss" if settings.select == "dev_loss" else None,
        greater_is_better=False if settings.select == "dev_loss" else None,
        remove_unused_columns=False,
        # Batches go to a GPU without waiting for the work that it still has to do.
        dataloader_pin_memory=on_gpu,
        accelerator_config={"non_blocking": on_gpu},
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
        seed=settings.seed,
        use_cpu=use_cpu,
        ddp_backend="gloo" if use_cpu and world_size() > 1 else None,
        deepspeed=deepspeed,
    )
    if arguments.n_gpu > 1:
        # One process trains on one GPU. Otherwise Trainer would spread each forward pass over all GPUs that it sees
        # (DataParallel), and packed rows cannot be spread so.
        arguments._n_gpu = 1
    return arguments


def _collate(collator: Collator, teacher: Teacher | None, items: list[list[Example]]) -> dict[str, Any]:
    (examples,) = items
    batch: dict[str, Any] = only_labelled(collator(examples))
    if teacher is not None:
        batch["teacher"] = teacher.batch([examples[i] for i in collator.order(examples)])
    return batch


def _freeze_first_layers(model: PreTrainedModel, count: int) -> None:
    layers = decoder_layers(model)
    if not 0 < count < len(layers):
        raise ValueError(
            f"frozen_layers is {count}, but must leave a layer to train: {model.config.model_type} has {len(layers)} decoder "
            "layers that can be frozen so"
        )
    for layer in layers[:count]:
        layer.requires_grad_(False)


def _refuse_rows_of_another_model(gist_model: GistModel, examples: Sequence[Example]) -> None:
    """Raises ValueError for rows with another number of gist tokens than the model's, or longer than its context."""
    settings = gist_model.settings
    ks = {settings.num_gist_tokens, *settings.drawn_gist_tokens}
    for example in examples:
        if (k := example.gist_end - example.gist_start) not in ks:
            raise ValueError(
                f"row {example.row_id} has {k} gist tokens, and the model is for {', '.join(map(str, sorted(ks)))}; give "
                "make_examples the numbers that the model's GistSettings has"
            )
    if gist_model.max_tokens is not None and (
        long := [example for example in examples if example.num_tokens > gist_model.max_tokens]
    ):
        raise ValueError(
            f"{len(long)} rows are longer than the model's context, among them {long[0].row_id} ({long[0].num_tokens} tokens); "
            f"leave them out with make_examples(limits=Limits(total={gist_model.max_tokens}))"
        )


def _refuse_what_does_not_go_together(
    gist_model: GistModel, settings: TrainSettings, deepspeed: dict[str, Any] | None, *, with_dev: bool
) -> None:
    if deepspeed is None and (dtype := gist_model.model.dtype) in (torch.bfloat16, torch.float16):
        raise ValueError(
            f"the weights are {dtype}, in which small updates are lost; load the model in float32 (bf16=True computes in "
            "bfloat16 all the same)"
        )
    if settings.select == "dev_loss" and not with_dev:
        raise ValueError("train.select is dev_loss, but there are no development rows; hold some out with data.num_dev")
    if settings.lora_rank is not None and deepspeed is not None and deepspeed["zero_optimization"]["stage"] == 3:
        raise ValueError(
            "lora_rank needs whole weights to merge into; take engine=zero2, where LoRA's states are small"
        )


def _checkpoint_bytes(model: PreTrainedModel, deepspeed: dict[str, Any] | None) -> int:
    weights = [(getattr(p, "ds_numel", p.numel()), p.element_size(), p.requires_grad) for p in model.parameters()]
    return checkpoint_bytes(
        weights=sum(count * width for count, width, _ in weights),
        trained=sum(count for count, _, trained in weights if trained),
        zero_stage=None if deepspeed is None else deepspeed["zero_optimization"]["stage"],
    )
