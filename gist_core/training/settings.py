"""The hyper-parameters of one training."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from gist_core.models.answers import whole_number
from gist_core.training.checkpoints import Select
from gist_core.training.examples import Batching

LrSchedule = Literal["cosine", "linear", "constant"]


@dataclass(frozen=True)
class TrainSettings:
    """Hyper-parameters of one training. Steps are optimizer steps; batch sizes are rows; rates are per step.

    batch_size: rows per optimizer step over all processes; micro_batch_size: rows per process and forward pass.
    freeze_embeddings: leave token embeddings (and a tied head) as they are.
    bf16: compute in bfloat16 where autocast does; weights and optimizer stay in float32. DeepSpeed holds the weights in
        bfloat16 too, beside its optimizer's float32 copy, and saves the bfloat16 ones.
    select: the weights of the last step, or of the checkpoint with the least loss on the development rows.
    lora_rank: train LoRA matrices of this rank on frozen weights; None trains the weights.
    frozen_layers: leave this many of a decoder's first layers as they are.
    torch_compile: compile each layer of a decoder, and the loss.

    Raises:
        ValueError: a value is out of its range, or a name is none of those known.
    """

    steps: int
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    lr_schedule: LrSchedule
    warmup_ratio: float
    weight_decay: float
    freeze_embeddings: bool
    batching: Batching
    row_capacity: int
    save_every: int
    log_every: int
    seed: int
    bf16: bool = False
    select: Select = "last"
    lora_rank: int | None = None
    frozen_layers: int = 0
    torch_compile: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "micro_batch_size", "row_capacity", "save_every", "log_every"):
            whole_number(getattr(self, name), name)
        if self.lora_rank is not None:
            whole_number(self.lora_rank, "lora_rank")
        for name, known in (("batching", Batching), ("lr_schedule", LrSchedule), ("select", Select)):
            if (value := getattr(self, name)) not in get_args(known):
                raise ValueError(f"{name} is {value!r}; it is one of {', '.join(get_args(known))}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be a number above 0")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise ValueError(f"weight_decay is {self.weight_decay}; it must be a number from 0")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; it must be a whole number from 0 and below 2**32")
        if not 0 <= self.warmup_ratio <= 1:
            raise ValueError(f"warmup_ratio is {self.warmup_ratio}; it is a share of the steps, from 0 to 1")
