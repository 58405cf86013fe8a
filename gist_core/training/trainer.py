"""transformers' Trainer, over batches that are planned beforehand, with logits only where there is a label."""

from collections import Counter
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedModel, Trainer

from gist_core.training.distill import Teacher
from gist_core.training.engine import world_size
from gist_core.training.head import TrainingHead, cross_entropy


class GistTrainer(Trainer):
    """Trainer over planned micro-batches that hold only the labels that count and their slots (head.py: `only_labelled`).

    autocast: compute in bfloat16 where autocast does. This replaces Trainer's own autocast, which turns the logits into
        float32 before the loss gets them, and stays on the model. compiled: torch.compile the loss.
    """

    def __init__(
        self,
        *,
        gist_token_id: int,
        teacher: Teacher | None = None,
        autocast: bool = False,
        compiled: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(compute_loss_func=self._loss, **kwargs)
        assert isinstance(self.model, PreTrainedModel)
        self._loss_shifts_labels = False  # ours are shifted already, and Trainer would not count one in the first slot
        self._head = TrainingHead(self.model, gist_token_id)
        self._cross_entropy = torch.compile(cross_entropy, dynamic=True) if compiled else cross_entropy
        self._autocast = autocast
        self._teacher = teacher
        self._teachers_log_probabilities: torch.Tensor | None = None

    @property
    def selected_step(self) -> int:
        """The optimizer step whose weights the model has after training."""
        best = self.state.best_model_checkpoint if self.args.load_best_model_at_end else None
        return self.state.global_step if best is None else int(best.rpartition("-")[2])

    @property
    def trained_rows(self) -> Counter[str]:
        """How often training uses each row, by row id, in the order of first use."""
        assert isinstance(self.train_dataset, list)
        return Counter(example.row_id for batch in self.train_dataset for example in batch)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        assert isinstance(self.train_dataset, list)
        return SequentialSampler(self.train_dataset)

    def compute_loss_context_manager(self) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(torch.autocast(self.args.device.type, torch.bfloat16, enabled=self._autocast))
        return stack

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        teachers_batch = inputs.pop("teacher", None)
        if self._teacher is not None and teachers_batch is not None:
            self._teachers_log_probabilities = self._teacher.log_probabilities(teachers_batch)
        try:
            with self._head.only(inputs.pop("slots")):
                return super().compute_loss(model, inputs, *args, **kwargs)
        finally:
            self._teachers_log_probabilities = None

    def _loss(
        self, outputs: Any, targets: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Cross-entropy in nats, averaged over all labelled tokens of the optimizer step; with a teacher, mixed with
        the KL divergence of its distribution from the student's.

        outputs.logits: shape (labelled tokens, vocabulary). targets: shape (labelled tokens,).
        """
        logits = outputs.logits if self._teacher is None else outputs.logits.float()
        total = self._cross_entropy(logits, targets)
        if self._teacher is not None and self._teachers_log_probabilities is not None:
            student = nn.functional.log_softmax(logits, dim=-1)
            kl = nn.functional.kl_div(student, self._teachers_log_probabilities, reduction="sum", log_target=True)
            total = (1 - self._teacher.weight) * total + self._teacher.weight * kl
        return total / (len(targets) if num_items_in_batch is None else num_items_in_batch)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The mean cross-entropy over all labelled tokens of the development rows; the processes share the work."""
        assert isinstance(self.eval_dataset, list)
        rank, processes = (torch.distributed.get_rank() if world_size() > 1 else 0), world_size()
        total = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        self.model_wrapped.eval()
        for start in range(0, len(self.eval_dataset), processes):
            # Every process takes part in every pass, as sharded weights require; passes beyond the last batch do not count.
            index = start + rank
            batch = self._prepare_inputs(self.data_collator([self.eval_dataset[index % len(self.eval_dataset)]]))
            slots, targets = batch.pop("slots"), batch.pop("labels")
            batch.pop("teacher", None)
            with torch.no_grad(), self.compute_loss_context_manager(), self._head.only(slots):
                logits = self.model_wrapped(**batch).logits
            if index < len(self.eval_dataset):
                loss = cross_entropy(logits, targets)
                total += torch.stack([loss.double(), torch.tensor(len(targets), device=total.device).double()])
        self.model_wrapped.train()
        if processes > 1:
            torch.distributed.all_reduce(total)
        metrics = {"eval_loss": float(total[0] / total[1])}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
