"""Distillation (Hinton et al. 2015, arXiv 1503.02531) from the model that sees the whole instruction.

A gist model that starts from a trained pos_control model learns not only the answer's tokens but also the distribution
that the pos_control model predicts for each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from gist_core.models.gist_model import GistModel
from gist_core.training.collate import Batch, Collator
from gist_core.training.examples import Example
from gist_core.training.head import TrainingHead, only_labelled


@dataclass(frozen=True)
class Teacher:
    """A trained pos_control model. weight: of the KL divergence in the loss; the cross-entropy gets the rest. bf16: compute
    in bfloat16 where autocast does, like the student.

    Raises:
        ValueError: it is no pos_control model, or is in training mode.
    """

    gist_model: GistModel
    weight: float
    bf16: bool = False

    def __post_init__(self) -> None:
        if (condition := self.gist_model.settings.condition) != "pos_control":
            raise ValueError(
                f"the teacher ({self.gist_model.folder or 'made in memory'}) was trained as {condition}; distillation needs the "
                "model that sees the instruction, a run with condition: pos_control"
            )
        self.gist_model.require_eval()

    @classmethod
    def load(cls, folder: Path, *, weight: float, device: str, bf16: bool) -> "Teacher":
        gist_model = GistModel.from_pretrained(folder, device=device)
        gist_model.model.requires_grad_(False)
        return cls(gist_model, weight, bf16)

    @cached_property
    def _head(self) -> TrainingHead:
        return TrainingHead(self.gist_model.model, self.gist_model.gist_token_id)

    def batch(self, examples: Sequence[Example]) -> Batch:
        """The examples as the teacher was trained to see them, with its own number of gist tokens; padded, with `slots`."""
        settings, model = self.gist_model.settings, self.gist_model
        collator = Collator(
            condition="pos_control",
            batching="padded",
            pad_token_id=model.tokenizer.pad_token_id,
            row_capacity=1,
            decoder_start_token_id=model.model.config.decoder_start_token_id if model.is_encoder_decoder else None,
        )
        gist = [model.gist_token_id] * settings.num_gist_tokens
        seen = [
            replace(
                example,
                prompt=example.prompt[: example.gist_start] + gist + example.prompt[example.gist_end :],
                gist_end=example.gist_start + len(gist),
            )
            for example in examples
        ]
        return only_labelled(collator(seen))

    @torch.no_grad()
    def log_probabilities(self, batch: Batch) -> torch.Tensor:
        """Of the whole vocabulary for each labelled token, shape (labelled tokens, vocabulary)."""
        inputs = {key: value for key, value in batch.items() if key not in ("labels", "slots")}
        # Under DeepSpeed no autocast is active around this pass.
        autocast = torch.autocast(self.gist_model.device.type, torch.bfloat16, enabled=self.bf16)
        with autocast, self._head.only(batch["slots"]):
            logits = self.gist_model.model(**inputs, use_cache=False).logits
        return nn.functional.log_softmax(logits.float(), dim=-1)
