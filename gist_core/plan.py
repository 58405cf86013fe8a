"""What a training would need, from a model's published shape: its memory, its FLOPs, and changes under which it would fit.

Nothing is downloaded and no weights are made: parameters are counted on torch's meta device. Model states follow
Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section 3.1 and figure 1). Activations are counted as what autograd saves
in transformers' layers (tests/training/test_plan.py compares the count with the saved tensors). FLOPs are those of
gist_core/benchmark/flops.py, times three for forward and backward.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import torch
from transformers import PretrainedConfig
from transformers.pytorch_utils import Conv1D

from gist_core.benchmark.flops import DecoderShape, decoder_flops, encoder_decoder_flops, shape_of
from gist_core.models.base import auto_class_of
from gist_core.training.failures import GIB

USABLE = 0.9  # of a GPU's memory; the rest is the context, communication buffers and fragmentation
BF16_ACTIVATIONS = 0.75  # of float32's bytes: norms and softmax stay in float32
LIVE_PARAMETERS = 1_000_000_000  # gathered at once under ZeRO-3: DeepSpeed's stage3_max_live_parameters


@dataclass(frozen=True)
class Setup:
    """A training. Batch sizes are in rows; `source` and `target` are the longest row in tokens (0 as a decoder's target).

    zero_stage: None means one process without DeepSpeed. lora_rank: None trains all weights. teacher: a second model is
    distilled from.
    """

    steps: int
    batch_size: int
    micro_batch_size: int
    source: int
    target: int
    bf16: bool
    freeze_embeddings: bool = False
    zero_stage: int | None = None
    offload: bool = False
    processes: int = 1
    hostfile: str | None = None
    lora_rank: int | None = None
    teacher: bool = False

    @property
    def engine(self) -> str:
        if self.zero_stage is None:
            return "single"
        return f"zero{self.zero_stage}{'-offload' if self.offload else ''}"


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters."""

    all: int
    trained: int


@dataclass(frozen=True)
class Memory:
    """Bytes on each GPU, and `host`: bytes in the CPU memory of each process."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    host: int

    @property
    def gpu(self) -> int:
        return self.parameters + self.gradients + self.optimizer + self.activations


def count_parameters(config: PretrainedConfig, *, freeze_embeddings: bool, lora_rank: int | None) -> Parameters:
    """Counts on the meta device, the gist token's row included.

    With LoRA every linear layer but the head gets two matrices, rank x in and out x rank, and only these are trained.
    """
    with torch.device("meta"):
        model = auto_class_of(config).from_config(config)
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    total = model.num_parameters() + embeddings.shape[1]
    if head is not embeddings:
        total += head.shape[1]
    elif getattr(config, "scale_decoder_outputs", True) is False:
        # T5 v1.1 and FLAN-T5: by config transformers ties the head, but it loads it untied, as in their checkpoints.
        total += head.numel() + head.shape[1]
    if lora_rank is not None:
        inside = model.get_output_embeddings()
        linear = [m for m in model.modules() if isinstance(m, (torch.nn.Linear, Conv1D)) and m is not inside]
        added = sum(lora_rank * sum(layer.weight.shape) for layer in linear)
        return Parameters(total + added, added)
    return Parameters(total, total - (embeddings.numel() + embeddings.shape[1] if freeze_embeddings else 0))


def memory(config: PretrainedConfig, count: Parameters, setup: Setup) -> Memory:
    """Peak bytes of a training step on each process: activations, and model states as in the ZeRO paper.

    One process without DeepSpeed holds float32 weights, gradients and Adam's two moments; under bf16, autocast also keeps
    a 16-bit copy of the weights. DeepSpeed holds for each parameter 2 bytes of weight, 2 of gradient and 12 of optimizer
    (float32 copy and moments) in bf16, and 4 + 4 + 12 in float32. It divides these among the processes: the optimizer's
    from stage 1 on, gradients from stage 2 on, weights in stage 3, which also gathers up to LIVE_PARAMETERS at once.
    Offload moves the optimizer's part to CPU memory, from stage 2 on the gradients too, in stage 3 the weights too. A
    teacher's float32 weights are whole on each GPU.
    """
    activations = activation_bytes(config, setup)
    teacher = 4 * count.all if setup.teacher else 0
    if setup.zero_stage is None:
        weights = 4 * count.all + (2 * count.all if setup.bf16 else 0) + teacher
        return Memory(weights, 4 * count.trained, 8 * count.trained, activations, 0)
    stage, shards = setup.zero_stage, setup.processes
    width = 2 if setup.bf16 else 4
    parameters = width * count.all // (shards if stage == 3 else 1)
    gradients = width * count.trained // (shards if stage >= 2 else 1)
    optimizer = 12 * count.trained // shards
    host = 0
    if setup.offload:
        host, optimizer = optimizer, 0
        if stage >= 2:
            host, gradients = host + gradients, 0
        if stage == 3:
            host, parameters = host + parameters, 0
    if stage == 3:
        parameters += width * min(count.all, LIVE_PARAMETERS)
    return Memory(parameters + teacher, gradients, optimizer, activations, host)


def activation_bytes(config: PretrainedConfig, setup: Setup) -> int:
    """Bytes that one forward pass of the longest rows saves for backward, including logits at every target.

    With hidden size h and MLP width i, for each token and layer: a decoder with a gated MLP saves 10.5 h + 4 i numbers, a
    T5's encoder 12 h + 8 i, its decoder 18 h + 8 i. Both halves of a T5 also save their attention weights three times,
    since the relative bias rules out the fused kernels.
    """
    shape = shape_of(config)
    rows, source, target = setup.micro_batch_size, setup.source, setup.target
    if isinstance(shape, DecoderShape):
        numbers = shape.layers * rows * source * (10.5 * shape.hidden + 4 * shape.intermediate)
        logits = rows * source * shape.vocab
    else:
        encoder = source * (12 * shape.hidden + 8 * shape.intermediate + 3 * shape.heads * source)
        decoder = target * (18 * shape.hidden + 8 * shape.intermediate + 3 * shape.heads * (source + target))
        numbers = rows * (shape.encoder_layers * encoder + shape.decoder_layers * decoder)
        logits = rows * target * shape.vocab
    # Logits, their logarithm and their gradient, in float32.
    return int(4 * numbers * (BF16_ACTIVATIONS if setup.bf16 else 1)) + 3 * 4 * logits


def training_flops(config: PretrainedConfig, setup: Setup, row_tokens: int) -> int:
    """FLOPs of the whole training at `row_tokens` tokens per row, with the head counted at every token."""
    shape, rows = shape_of(config), setup.steps * setup.batch_size
    if isinstance(shape, DecoderShape):
        return 3 * rows * decoder_flops(shape, row_tokens)
    source = max(1, round(row_tokens * setup.source / (setup.source + setup.target)))
    return 3 * rows * encoder_decoder_flops(shape, source, target_tokens=max(1, row_tokens - source))


def fits(config: PretrainedConfig, count: Parameters, setup: Setup, gpu_memory_gib: float) -> bool:
    return memory(config, count, setup).gpu <= USABLE * gpu_memory_gib * GIB


def engines(setup: Setup) -> list[Setup]:
    """The same training under every engine that the number of processes allows."""
    sharded = [replace(setup, zero_stage=stage, offload=offload) for offload in (False, True) for stage in (1, 2, 3)]
    single = replace(setup, zero_stage=None, offload=False)
    return [single, *sharded] if setup.processes == 1 else sharded


def alternatives(config: PretrainedConfig, setup: Setup, gpu_memory_gib: float) -> list[str]:
    """Overrides of `gist params`, each with one change (engine, processes, batch or LoRA), under which the training fits."""

    @cache
    def count(lora_rank: int | None) -> Parameters:
        return count_parameters(config, freeze_embeddings=setup.freeze_embeddings, lora_rank=lora_rank)

    found = []
    for name, candidates in _changes(setup):
        for override, candidate in candidates:
            divides = not candidate.batch_size % (candidate.micro_batch_size * candidate.processes)
            if divides and fits(config, count(candidate.lora_rank), candidate, gpu_memory_gib):
                found.append(f"{override} ({name})")
                break
    return found


def _changes(setup: Setup) -> Iterator[tuple[str, list[tuple[str, Setup]]]]:
    """Kinds of change, each with its candidates from the smallest step to the largest."""
    # LoRA needs whole weights to merge into, and is refused with ZeRO-3.
    others = [
        other
        for other in engines(setup)
        if other.engine != setup.engine and not (setup.lora_rank is not None and other.zero_stage == 3)
    ]

    def engine(other: Setup) -> str:
        if setup.hostfile is None:
            return f"engine={other.engine} engine.processes={other.processes}"
        same = other.processes == setup.processes
        return f"engine={other.engine}" + ("" if same else f" and {other.processes} slots in {setup.hostfile}")

    yield "another engine", [(engine(other), other) for other in others]
    sharded = setup if setup.zero_stage else replace(setup, zero_stage=3 if setup.lora_rank is None else 2)
    more = []
    for processes in (2**power for power in range(1, 11)):
        if setup.processes < processes <= setup.batch_size:
            rows = min(setup.micro_batch_size, setup.batch_size // processes)
            grown = replace(sharded, processes=processes, micro_batch_size=rows)
            fewer = f"train.micro_batch_size={rows} " if rows < setup.micro_batch_size else ""
            more.append((fewer + engine(grown), grown))
    yield "more processes, one GPU each", more
    smaller = range(setup.micro_batch_size - 1, 0, -1)
    yield (
        "fewer rows in a forward pass",
        [(f"train.micro_batch_size={rows}", replace(setup, micro_batch_size=rows)) for rows in smaller],
    )
    if setup.lora_rank is None and setup.zero_stage != 3:
        yield "LoRA, one for every run", [("+runs.RUN.lora_rank=16", replace(setup, lora_rank=16))]
