"""Trains one model under one condition: transformers' Trainer, with DeepSpeed ZeRO where asked.

What differs from a stock Trainer: the batches are planned beforehand from row ids (so that any number of processes sees
the same ones), logits are computed only where there is a label, and only whole checkpoints are resumed from.
"""

import json
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gist_core.models.gist_model import GistModel
from gist_core.training.checkpoints import MarkComplete, last_complete_checkpoint
from gist_core.training.collate import IGNORED, Batch, Collator
from gist_core.training.curve import WriteCurve
from gist_core.training.examples import Batching, Example, plan_micro_batches

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSettings:
    """Hyper-parameters of one training. Steps are optimizer steps; batch sizes are rows; rates are per step.

    batch_size: rows per optimizer step over all processes; micro_batch_size: rows per process and forward pass.
    freeze_embeddings: leave token embeddings (and a tied head) as they are.
    """

    steps: int
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    lr_schedule: Literal["cosine", "linear", "constant"]
    warmup_ratio: float
    weight_decay: float
    freeze_embeddings: bool
    batching: Batching
    row_capacity: int
    save_every: int
    log_every: int
    seed: int
    bf16: bool = False


class GistTrainer(Trainer):
    """Trainer over planned micro-batches whose head sees only the hidden states that have a label."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(compute_loss_func=_loss, **kwargs)
        assert isinstance(self.model, PreTrainedModel)
        self._labelled: torch.Tensor | None = None
        self.model.get_output_embeddings().register_forward_pre_hook(self._keep_labelled)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        assert isinstance(self.train_dataset, list)
        return SequentialSampler(self.train_dataset)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        self._labelled = inputs["labels"] != IGNORED
        try:
            return super().compute_loss(model, inputs, *args, **kwargs)
        finally:
            self._labelled = None

    def _keep_labelled(self, head: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return args if self._labelled is None else (args[0][self._labelled],)


def train(
    gist_model: GistModel,
    examples: Sequence[Example],
    settings: TrainSettings,
    *,
    work_dir: Path,
    deepspeed: dict[str, Any] | None = None,
    use_cpu: bool = False,
) -> GistTrainer:
    """Trains `gist_model` in place, resuming from the last whole checkpoint in `work_dir`.

    deepspeed: a DeepSpeed configuration (gist_core/training/engine.py), or None.

    Returns: the trainer, whose `save_model(folder)` writes the weights (gathered, under ZeRO-3).

    Raises:
        ValueError: no rows, batch sizes that do not divide, or a loss that is not a number.
    """
    processes = _world_size()
    per_step = settings.batch_size // settings.micro_batch_size
    if settings.batch_size % settings.micro_batch_size or per_step % processes:
        raise ValueError(
            f"train.batch_size {settings.batch_size} must be a multiple of train.micro_batch_size "
            f"{settings.micro_batch_size} times engine.processes {processes}"
        )
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
    )
    if settings.freeze_embeddings:
        gist_model.model.get_input_embeddings().requires_grad_(False)
    gist_model.model.train()
    trainer = GistTrainer(
        model=gist_model.model,
        args=_arguments(settings, work_dir, per_step // processes, deepspeed, use_cpu),
        train_dataset=[[examples[i] for i in batch] for batch in plan],
        data_collator=lambda items: _only(collator, items),
        callbacks=[
            WriteCurve(work_dir / "curve.jsonl", work_dir / "speed.jsonl", tokens_per_step),
            MarkComplete(),
            StopOnBadLoss(),
        ],
    )
    checkpoint, cut_short = last_complete_checkpoint(work_dir)
    if cut_short:
        logger.warning("skipped and removed checkpoints without a completeness marker: %s", ", ".join(cut_short))
    if checkpoint is not None:
        _check_world_size(work_dir, processes, settings.micro_batch_size)
        logger.warning("resuming from %s", checkpoint)
    (work_dir / "world_size.json").write_text(json.dumps(processes), encoding="utf-8")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    gist_model.model.eval()
    return trainer


class StopOnBadLoss(TrainerCallback):
    """Ends a training whose loss is not a number, before a checkpoint of it replaces a good one."""

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
            raise ValueError(
                f"the training loss is {loss} at step {state.global_step}; lower train.learning_rate "
                f"({args.learning_rate}) or raise train.warmup_ratio. The last good checkpoint is kept"
            )


def _arguments(
    settings: TrainSettings, work_dir: Path, accumulation: int, deepspeed: dict[str, Any] | None, use_cpu: bool
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work_dir),
        max_steps=settings.steps,
        # One item of the data set is one planned micro-batch.
        per_device_train_batch_size=1,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_schedule,
        warmup_steps=round(settings.warmup_ratio * settings.steps),
        weight_decay=settings.weight_decay,
        bf16=settings.bf16,
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
        seed=settings.seed,
        use_cpu=use_cpu,
        ddp_backend="gloo" if use_cpu and _world_size() > 1 else None,
        deepspeed=deepspeed,
    )


def _loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
    """Cross-entropy in nats, averaged over all labelled tokens of the optimizer step.

    outputs.logits: shape (labelled tokens, vocabulary), see `GistTrainer`. labels: shape (batch, seq_len).
    """
    targets = labels[labels != IGNORED]
    total = nn.functional.cross_entropy(outputs.logits.float(), targets, reduction="sum")
    return total / (len(targets) if num_items_in_batch is None else num_items_in_batch)


def _only(collator: Collator, items: list[list[Example]]) -> Batch:
    (examples,) = items
    return collator(examples)


def _world_size() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def _check_world_size(work_dir: Path, processes: int, micro_batch_size: int) -> None:
    before = json.loads((work_dir / "world_size.json").read_text(encoding="utf-8"))
    if before != processes:
        raise ValueError(
            f"{work_dir} was trained so far with {before} process(es); resume with engine.processes={before}, or remove the "
            f"folder to start again with {processes}"
        )
