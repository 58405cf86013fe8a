"""`gist plan`: what a training would take, before anything is downloaded."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from gist_core.plan import Setup
    from tasks.params import Params


# Names in config.json, of decoders and of T5s, of the sizes that are never 0.
_SIZES = ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "d_model", "d_ff", "d_kv", "num_heads",
          "intermediate_size", "num_hidden_layers", "num_layers", "vocab_size")  # fmt: skip


def plan(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Hydra overrides of conf/, e.g. model=llama-7b engine=zero3; without any, params.yaml as it is"
        ),
    ] = None,
    gpu_memory_gib: Annotated[float, typer.Option(help="Memory of one GPU", min=1)] = 80.0,
    gpu_tflops: Annotated[float, typer.Option(help="Peak of one GPU in the training's number format", min=0.001)] = 312,
    utilisation: Annotated[float, typer.Option(help="Share of the peak that is reached", min=0.001, max=1)] = 0.4,
    row_tokens: Annotated[int | None, typer.Option(help="Tokens of a mean row; the longest allowed if absent")] = None,
) -> None:
    """Print memory, batches, tokens, FLOPs, hours and disk of a training. Exit code 2 if it cannot fit on the GPUs.

    The defaults are the paper's A100 with 80 GB.
    """
    from gist_core import plan as p
    from gist_core.training.checkpoints import checkpoint_bytes, kept
    from gist_core.training.engine import accumulation_steps

    params = _compose(overrides or [])
    config = _config(params)
    setup = _setup(params, bool(config.is_encoder_decoder))
    accumulated = accumulation_steps(setup.batch_size, setup.micro_batch_size, setup.processes)
    longest = min(setup.source + setup.target, params.train.max_length)
    if row_tokens is not None and not 0 < row_tokens <= longest:
        raise ValueError(
            f"--row-tokens {row_tokens} is not between 1 and {longest}, the longest row that is trained on"
        )
    count = p.count_parameters(config, freeze_embeddings=setup.freeze_embeddings, lora_rank=setup.lora_rank)
    tokens = row_tokens or longest
    flops = p.training_flops(config, setup, tokens)
    gpu_hours = flops / (gpu_tflops * 1e12 * utilisation) / 3600
    all_steps = sum(run.trained_with(params.train).steps for run in params.runs.values())
    width = 2 if setup.bf16 and setup.zero_stage is not None else 4
    checkpoint = checkpoint_bytes(width * count.all, count.trained, setup.zero_stage)
    how = "at most" if row_tokens is None else f"at {row_tokens} a row"
    rows = [
        ("model", f"{params.model.name}: {count.all:,} parameters, {count.trained:,} of them trained"),
        (
            "batch",
            f"{setup.batch_size} rows = {setup.micro_batch_size} a forward pass x {accumulated} accumulated "
            f"x {setup.processes} process(es)",
        ),
        ("steps", f"{setup.steps:,}, {setup.steps * setup.batch_size:,} rows"),
        ("tokens", f"{setup.steps * setup.batch_size * tokens / 1e6:,.1f} million ({how})"),
        ("FLOPs", f"{flops:.3g} a run"),
        (
            "time",
            f"{gpu_hours / setup.processes:,.1f} h a run on {setup.processes} GPU(s) of {gpu_tflops:g} TFLOP/s at "
            f"{100 * utilisation:g} % utilisation; {len(params.runs)} runs {all_steps / setup.steps * gpu_hours:,.1f} GPU hours",
        ),
        (
            "disk",
            f"{checkpoint / p.GIB:,.1f} GiB a checkpoint, "
            f"{(kept(params.train.select) + 1) * checkpoint / p.GIB:,.1f} GiB while one is replaced; "
            f"{_width(params) * count.all / p.GIB:,.1f} GiB for the base model and for each trained one",
        ),
    ]
    for name, text in rows:
        typer.echo(f"{name:8}{text}")
    rows_of = (
        f"prompts of {setup.source} and answers of {setup.target} tokens"
        if setup.target
        else f"rows of {longest} tokens"
    )
    typer.echo(f"\nGiB for each of {setup.processes} process(es), {rows_of}:")
    typer.echo(f"{'engine':15}{'weights':>9}{'gradients':>11}{'optimizer':>11}{'activations':>13}{'GPU':>9}{'CPU':>9}")
    for engine in p.engines(setup):
        m = p.memory(config, count, engine)
        parts = (m.parameters, m.gradients, m.optimizer, m.activations, m.gpu, m.host)
        cells = [f"{part / p.GIB:>{w},.2f}" for part, w in zip(parts, (9, 11, 11, 13, 9, 9), strict=True)]
        verdict = "" if p.fits(config, count, engine, gpu_memory_gib) else "  does not fit"
        chosen = "  <- chosen" if engine.engine == setup.engine else ""
        typer.echo(f"{engine.engine:15}{''.join(cells)}{verdict}{chosen}")
    if not p.fits(config, count, setup, gpu_memory_gib):
        options = p.alternatives(config, setup, gpu_memory_gib)
        needed = p.memory(config, count, setup).gpu / p.GIB
        raise ValueError(
            f"engine {setup.engine} on {setup.processes} process(es) needs {needed:,.1f} GiB on each GPU; of "
            f"{gpu_memory_gib:g} GiB {p.USABLE:.0%} can be used. What fits, by one change: "
            + ("; ".join(options) if options else "nothing; take GPUs with more memory (--gpu-memory-gib)")
        )


def _compose(overrides: list[str]) -> "Params":
    from tasks.compose import compose_params
    from tasks.params import load_params

    if not overrides:
        return load_params()
    with tempfile.TemporaryDirectory() as folder:
        composed = Path(folder) / "params.yaml"
        compose_params(overrides, output=composed, pinned=False)
        return load_params(composed)


def _config(params: "Params") -> "PretrainedConfig":
    """The model's config: read from its folder, or built from the `shape` in conf/model."""
    from transformers import AutoConfig

    from gist_core.models.base import load_config

    model = params.model
    if model.source == "folder":
        if not (Path(model.location) / "config.json").is_file():
            raise ValueError(f"model.location {model.location!r} has no config.json (model.source=folder)")
        return load_config(model.location)
    if params.shape is None or "model_type" not in params.shape:
        raise ValueError(
            f"the shape of {model.name} is not known: give its conf/model file a `shape:` with model_type and the sizes "
            "of its config.json"
        )
    from huggingface_hub.errors import StrictDataclassError

    # transformers divides by some of these sizes before it checks any of them.
    too_small = [f"shape.{key} is {size}" for key in _SIZES if type(size := params.shape.get(key)) is int and size < 1]
    if too_small:
        raise ValueError(f"{', '.join(too_small)}; it must be at least 1")
    try:
        return AutoConfig.for_model(**params.shape)
    except StrictDataclassError as error:
        raise ValueError(f"a {params.shape['model_type']} cannot have this shape: {error}") from None


def _setup(params: "Params", is_encoder_decoder: bool) -> "Setup":
    from gist_core.plan import Setup
    from gist_core.training.engine import machines

    train, engine = params.train, params.engine
    processes = engine.processes if engine.hostfile is None else sum(machines(engine.hostfile).values())
    ranks = [run.lora_rank for run in params.runs.values()]
    return Setup(
        steps=train.steps,
        batch_size=train.batch_size,
        micro_batch_size=train.micro_batch_size,
        source=(train.max_source_length or train.max_length) if is_encoder_decoder else train.max_length,
        target=(train.max_target_length or train.max_length) if is_encoder_decoder else 0,
        bf16=train.bf16,
        freeze_embeddings="embeddings" in train.freeze,
        zero_stage=engine.zero_stage,
        offload=engine.offload,
        processes=processes,
        hostfile=engine.hostfile,
        teacher=any(run.teacher_weight is not None for run in params.runs.values()),
        lora_rank=None if None in ranks else max(rank for rank in ranks if rank is not None),
    )


def _width(params: "Params") -> int:
    return 4 if params.model.dtype == "float32" else 2
