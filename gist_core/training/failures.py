"""Failures that end a training from outside (no memory, disk or compiler), each as one message that says what to do."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from gist_core.out_of_memory import is_out_of_memory

GIB = 1 << 30
NO_DISK = ("no space left on device", "pytorchstreamwriter failed", "unexpected pos")
NO_COMPILER = ("no working c++ compiler", "failed to find c compiler", "cannot find a working triton")
NO_OPERATOR = ("unable to jit load", "ninja is required", "error building extension", "cuda_home", "hasn't been built")


@contextmanager
def explained(work_dir: Path) -> Iterator[None]:
    """Turns what torch, safetensors and DeepSpeed raise when memory, disk or a compiler is missing into a ValueError."""
    try:
        yield
    except (RuntimeError, OSError, SafetensorError) as error:
        message = _explain(error, work_dir)
        if message is None:
            raise
        raise ValueError(message) from error


def check_disk(work_dir: Path, needed_bytes: int) -> None:
    """Raises ValueError, before anything is computed, if the disk has no room for a training's checkpoints."""
    free = shutil.disk_usage(work_dir).free
    if free < needed_bytes:
        raise ValueError(
            f"the checkpoints of this training take {needed_bytes / GIB:.1f} GiB in {work_dir}, where {free / GIB:.1f} GiB "
            "are free; free some space, or link .work to a larger disk"
        )


def _explain(error: BaseException, work_dir: Path) -> str | None:
    text = str(error).lower()
    first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if is_out_of_memory(error):
        return (
            f"out of memory ({first_line:.200}). Halve train.micro_batch_size, which does not change the result beyond "
            "rounding, or take another engine (zero2, zero3, zero3-offload); `gist plan` says what each of them needs"
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or any(sign in text for sign in NO_DISK):
        free = shutil.disk_usage(work_dir).free / GIB
        return (
            f"a checkpoint could not be written to {work_dir} ({first_line:.200}; {free:.1f} GiB free). Free some space "
            "and start again: the training goes on from its last whole checkpoint"
        )
    if any(sign in text for sign in NO_COMPILER):
        return (
            f"torch.compile has no compiler ({first_line:.200}). Install g++ (and Triton for GPUs), or leave "
            "engine.torch_compile out"
        )
    if any(sign in text for sign in NO_OPERATOR):
        return (
            f"DeepSpeed could not load one of its operators ({first_line:.200}). It compiles them when they are first "
            "used: install ninja and a C++ compiler (and for GPUs the CUDA toolkit of torch "
            f"{torch.__version__}, with CUDA_HOME), or take an engine that does without it"
        )
    return None
