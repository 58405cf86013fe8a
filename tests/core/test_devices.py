"""What holds on a processor holds on a GPU: these run on both, the second where there is one (`pytest -m gpu`)."""

import json
from pathlib import Path

import pytest
import torch

from gist_core.benchmark.measure import measure
from gist_core.cache import compress, generate
from gist_core.data.prompt import Prompt
from gist_core.models.gist_model import GistModel
from tasks.train_worker import Job, run_job
from tests.tiny import tiny_gist_model
from tests.training.jobs import job, write_base_and_rows

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]
INSTRUCTIONS = [
    "Sort the list.",
    "Name a colour.",
    "Say the same in fewer words, and keep every name that is in it. " * 3,
]
INPUTS = ["pear, fig", "", "x" * 30]


def on(device: str, family: str) -> GistModel:
    gist_model = tiny_gist_model(family, "gist", 2)
    gist_model.model.to(torch.device(device))  # type: ignore[arg-type]
    return gist_model


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", ["llama", "gemma3", "t5"])
def test_cached_generation_is_masked_generation(family: str, device: str) -> None:
    gist_model = on(device, family)
    masked = gist_model.generate_masked(INSTRUCTIONS, INPUTS, max_new_tokens=12, do_sample=False)
    cache = compress(gist_model, INSTRUCTIONS)
    assert torch.equal(generate(gist_model, cache, INPUTS, max_new_tokens=12, do_sample=False), masked)
    moved = cache.to("cpu").to(device)
    assert torch.equal(generate(gist_model, moved, INPUTS, max_new_tokens=12, do_sample=False), masked)
    on_cpu = on("cpu", family).generate_masked(INSTRUCTIONS, INPUTS, max_new_tokens=12, do_sample=False)
    assert torch.equal(on_cpu, masked.cpu())


@pytest.mark.parametrize("device", DEVICES)
def test_the_three_strategies_are_measured(device: str) -> None:
    prompts = [Prompt(str(index), text, INPUTS[index]) for index, text in enumerate(INSTRUCTIONS)]
    rows = list(measure(on(device, "llama"), prompts, batch_sizes=[1], warmup=1, repeats=1, seed=0))
    assert {row["strategy"] for row in rows} == {"none", "instruction", "gist"}
    assert all((row["device_ms"] is not None) == (device == "cuda") for row in rows)


def losses(trained: Job) -> list[float]:
    run_job(trained)
    lines = (Path(trained.work_dir) / "curve.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize("condition", ["gist", "pos_control", "neg_control"])
def test_bf16_trains_on_a_gpu_as_fp32_does(tmp_path: Path, condition: str) -> None:
    write_base_and_rows(tmp_path)
    fp32, bf16 = (losses(job(tmp_path, f"bf16-{bf16}", condition=condition, bf16=bf16)) for bf16 in (False, True))
    assert bf16 == pytest.approx(fp32, rel=0.02)


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize(
    "engine",
    [{"attention": "flex_attention"}, {"torch_compile": True}, {"attention": "flex_attention", "torch_compile": True}],
    ids=["flex", "compiled", "both"],
)
def test_flex_attention_and_compiled_layers_train_on_a_gpu_as_sdpa_does(
    tmp_path: Path, engine: dict[str, str | bool]
) -> None:
    write_base_and_rows(tmp_path, head_dim=16)  # the least that FlexAttention has a kernel for
    plain, other = (losses(job(tmp_path, "-".join(["with", *how]), engine=how)) for how in ({}, engine))
    assert other == pytest.approx(plain, rel=1e-3)
