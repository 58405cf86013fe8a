"""DeepSpeed ZeRO as the engine of a training: its configuration, and how processes find each other.

Rajbhandari et al. 2020 (arXiv 1910.02054): stage 1 shards optimizer state over the processes, 2 also gradients, 3 also
parameters. Values left as "auto" are filled in by transformers from the training arguments, so each is written only once.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def deepspeed_config(zero_stage: int, *, offload: bool, bf16: bool) -> dict[str, Any]:
    """A DeepSpeed configuration for a ZeRO stage.

    No optimizer is named: transformers' AdamW is used, which follows the single-process run more closely and needs no
    operator compiled at run time; for the same reason CPU offload does not force DeepSpeed's CPU-Adam.
    """
    zero: dict[str, Any] = {"stage": zero_stage, "overlap_comm": False, "contiguous_gradients": True}
    if zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if zero_stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    return {
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": bf16},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
    }


def init_processes(*, use_cpu: bool) -> None:
    """Joins the processes that `launch_command` started; must come before the model and the training arguments are made.

    DeepSpeed's shared-memory operator is marked as not compatible, since compiling it at first use takes minutes; gloo does
    its work. On the CPU, DeepSpeed is also kept from choosing an accelerator by itself (on Apple's machines, MPS).
    """
    if use_cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"  # read when deepspeed is imported
    import deepspeed
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo" if use_cpu else None, verbose=False)


@contextmanager
def sharded_loading(deepspeed: dict[str, Any] | None) -> Iterator[None]:
    """Under ZeRO-3, a model that is loaded inside this context is split among the processes weight by weight, so that no
    process ever holds all of it. Under other engines nothing changes. Comes after `init_processes`.

    Nothing changes with transformers before 5.23 either. While a model is being split, DeepSpeed makes it compute in
    bfloat16; only since 5.23 does transformers keep the frequencies of rotary positions out of that.
    """
    if deepspeed is None or deepspeed["zero_optimization"]["stage"] != 3:
        yield
        return
    from transformers.integrations import deepspeed as integration

    if not hasattr(integration, "prevent_arange_dtype_change"):
        yield
        return
    # "auto" stands for the training arguments, which are not made yet; DeepSpeed insists on one batch size.
    known = {key: value for key, value in deepspeed.items() if value != "auto"} | {"train_micro_batch_size_per_gpu": 1}
    active = integration.HfDeepSpeedConfig(known)  # `from_pretrained` finds it for as long as it lives
    try:
        yield
    finally:
        integration.unset_hf_deepspeed_config()
        del active


def accumulation_steps(batch_size: int, micro_batch_size: int, processes: int) -> int:
    """Forward passes of each process in one optimizer step.

    batch_size: rows per step over all processes; micro_batch_size: rows per process and forward pass.

    Raises:
        ValueError: the rows of a step do not divide among processes and forward passes.
    """
    passes, left = divmod(batch_size, micro_batch_size * processes)
    if left:
        raise ValueError(
            f"train.batch_size {batch_size} is not a multiple of train.micro_batch_size {micro_batch_size} x {processes} "
            "process(es); change one of them (engine.processes, or the slots in engine.hostfile), so that it is"
        )
    return passes


def world_size() -> int:
    """The number of processes that train together: 1 where none were joined."""
    import torch

    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def leave_processes() -> None:
    """Ends this process with exit code 0 once all that `init_processes` joined have come here; returns if it is alone.

    It ends at once, without Python's and C++'s own cleanup. There, one process in twenty was aborted on two busy cores
    ("terminate called without an active exception"), after all was written, and took the launcher down with it.
    """
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def machines(hostfile: str) -> dict[str, int]:
    """The machines of a hostfile (one line `host slots=GPUS` for each), and the processes that each is to run.

    Raises:
        ValueError: the hostfile does not exist, has an invalid line, or names fewer than two machines, or one twice.
    """
    if not Path(hostfile).is_file():
        raise ValueError(
            f"engine.hostfile {hostfile!r} does not exist; it needs one line `host slots=GPUS` for each machine"
        )
    found: list[tuple[str, int]] = []
    for number, line in enumerate(Path(hostfile).read_text(encoding="utf-8").splitlines(), 1):
        if not (entry := line.partition("#")[0].strip()):
            continue
        if not re.fullmatch(r"\S+\s+slots=[1-9]\d*", entry):
            raise ValueError(f"engine.hostfile {hostfile!r}, line {number} is {line!r}, not `host slots=GPUS`")
        host, slots = entry.split()
        found.append((host, int(slots.removeprefix("slots="))))
    if len(dict(found)) != len(found) or len(found) < 2:
        names = ", ".join(host for host, _ in found) or "no machine"
        raise ValueError(
            f"engine.hostfile {hostfile!r} names {names}; it needs two or more, each once. On one "
            "machine leave it out and set engine.processes"
        )
    return dict(found)


def launch_command(module: str, arguments: list[str], *, processes: int, hostfile: str | None) -> list[str]:
    """The command that runs `python -m module arguments` in every process: by torchrun (launch.py) on one machine, by
    DeepSpeed's launcher (pdsh over ssh) on several.

    Raises:
        ValueError: the hostfile is not valid (see `machines`), pdsh or ssh is not installed here, or the path of the clone or
            of Python cannot be passed on to the other machines.
    """
    if hostfile is None:
        launcher = [sys.executable, "-m", "gist_core.training.launch", "--standalone", f"--nproc_per_node={processes}"]
        return [*launcher, "--module", module, *arguments]
    machines(hostfile)
    if missing := [command for command in ("pdsh", "ssh") if not shutil.which(command)]:
        raise ValueError(
            f"engine.hostfile {hostfile!r}: DeepSpeed starts other machines with pdsh over ssh, and {' and '.join(missing)} is "
            "not installed here (the packages are called pdsh and openssh-client); ssh must not ask for a password"
        )
    # DeepSpeed passes both to the other machines' shells unquoted, and pdsh replaces what follows a percent sign.
    for path in (str(Path.cwd()), sys.executable):
        if shlex.quote(path) != path or "%" in path:
            raise ValueError(
                f"DeepSpeed's launcher cannot pass {path!r} on to other machines; move the clone, and its environment, to a "
                "path of letters, digits and any of _-./ alone"
            )
    launcher = [sys.executable, "-m", "deepspeed.launcher.runner", f"--hostfile={hostfile}", "--no_local_rank"]
    return [*launcher, "--module", module, *arguments]
