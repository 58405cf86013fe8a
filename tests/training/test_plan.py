"""The plan of a training: parameters as published, memory as in the ZeRO paper, activations as autograd saves them."""

import re
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    T5Config,
)

from cli.main import main
from cli.plan import plan
from gist_core.plan import (
    GIB,
    Parameters,
    Setup,
    activation_bytes,
    alternatives,
    count_parameters,
    fits,
    memory,
    training_flops,
)

ROOT = Path(__file__).resolve().parents[2]
LLAMA = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32)
PAPER = Setup(3000, 128, 4, 512, 0, bf16=True, zero_stage=3, processes=4)

# From the models' published checkpoints; the width is of one row for the gist token in embedding and head.
PUBLISHED = {
    "smollm2-135m": (134_515_008, 576),
    "qwen3-1.7b": (1_720_574_976, 2048),
    "gemma3-270m": (268_098_176, 640),
    "llama-7b": (6_738_415_616, 2 * 4096),
    "flan-t5-base": (247_577_856, 2 * 768),
    "flan-t5-large": (783_150_080, 2 * 1024),
    "flan-t5-xxl": (11_135_332_352, 2 * 4096),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name: str) -> None:
    shape = yaml.safe_load((ROOT / f"conf/model/{name}.yaml").read_text(encoding="utf-8"))["shape"]
    published, gist_row = PUBLISHED[name]
    counted = count_parameters(AutoConfig.for_model(**shape), freeze_embeddings=False, lora_rank=None)
    assert counted == Parameters(published + gist_row, published + gist_row)


@pytest.mark.parametrize(("stage", "gigabytes"), [(1, 31.4), (2, 16.6), (3, 1.9)])
def test_model_states_are_those_of_the_zero_papers_figure_1(stage: int, gigabytes: float) -> None:
    """7.5 billion parameters, 64 processes, 16-bit, Adam. Stage 3 here adds what is gathered at a time."""
    count = Parameters(7_500_000_000, 7_500_000_000)
    states = memory(LLAMA, count, replace(PAPER, zero_stage=stage, processes=64))
    gathered = 2_000_000_000 if stage == 3 else 0
    total = states.parameters + states.gradients + states.optimizer - gathered
    assert total / 1e9 == pytest.approx(gigabytes, abs=0.05)


@pytest.mark.parametrize("stage", [None, 1, 3])
def test_a_teacher_is_whole_on_every_gpu(stage: int | None) -> None:
    count, setup = Parameters(1_000_000, 1_000_000), replace(PAPER, zero_stage=stage)
    assert memory(LLAMA, count, replace(setup, teacher=True)).gpu == memory(LLAMA, count, setup).gpu + 4_000_000


def test_a_run_with_steps_of_its_own_is_planned_with_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)

    def gpu_hours(*overrides: str) -> float:
        plan(["model=llama-7b", "engine=zero3", "engine.processes=4", *overrides], 80, 312, 0.4, None)
        found = re.search(r"3 runs ([\d.]+) GPU hours", capsys.readouterr().out)
        assert found is not None
        return float(found[1])

    assert gpu_hours("+runs.gist-1.steps=9000") == pytest.approx(gpu_hours() * (3 + 3 + 9) / 9, rel=0.01)


def test_a_plan_of_a_hostfile_is_one_of_its_machines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "hosts").write_text("node1 slots=8\nnode2 slots=8\n")
    where = ["model=llama-7b", "engine=zero3", f"+engine.hostfile={tmp_path}/hosts"]
    plan([*where, "train.micro_batch_size=4", "train.batch_size=128"], 80, 312, 0.4, None)
    assert "128 rows = 4 a forward pass x 2 accumulated x 16 process(es)" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"100 is not a multiple of .* 4 x 16 process.*the slots in engine\.hostfile"):
        plan([*where, "train.micro_batch_size=4", "train.batch_size=100"], 80, 312, 0.4, None)
    with pytest.raises(ValueError, match="What fits, by one change") as too_small:
        plan([*where, "train.micro_batch_size=2", "train.batch_size=128"], 16, 312, 0.4, None)
    assert "engine=zero3-offload (another engine)" in str(too_small.value)
    assert f"engine=zero3 and 32 slots in {tmp_path}/hosts (more processes" in str(too_small.value)
    assert "engine.processes" not in str(too_small.value)


def test_a_plan_without_overrides_is_of_params_yaml(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["train"]["steps"] = 321
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    plan([], 80, 312, 0.4, None)
    assert "steps   321, " in capsys.readouterr().out


def test_a_t5_is_planned_with_rows_of_the_length_that_it_trains_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    limits = ["train.max_length=256", "train.max_source_length=null", "train.max_target_length=null"]
    plan(["model=flan-t5-base", *limits], 80, 312, 0.4, None)
    printed = capsys.readouterr().out
    rows = re.search(r"([\d,]+) rows$", printed, re.MULTILINE)
    assert rows is not None
    assert f"{int(rows[1].replace(',', '')) * 256 / 1e6:,.1f} million (at most)" in printed


def test_offload_moves_states_and_loses_none() -> None:
    count = Parameters(1_000_000, 1_000_000)
    for stage in (1, 2, 3):
        on_gpu = memory(LLAMA, count, replace(PAPER, zero_stage=stage))
        offloaded = memory(LLAMA, count, replace(PAPER, zero_stage=stage, offload=True))
        assert offloaded.gpu < on_gpu.gpu
        assert offloaded.gpu + offloaded.host == on_gpu.gpu + on_gpu.host


def saved_bytes(config: PretrainedConfig, rows: int, source: int, target: int, *, bf16: bool) -> int:
    """Bytes that autograd saves in a forward pass, weights and autocast's copies of them apart."""
    auto_class = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = auto_class.from_config(config, attn_implementation="sdpa").train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {tuple(p.shape) for p in model.parameters()} | {tuple(p.shape[::-1]) for p in model.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and not (bf16 and tuple(tensor.shape) in shapes):
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    inputs = {"input_ids": torch.ones(rows, source, dtype=torch.long)}
    inputs["attention_mask"] = inputs["input_ids"].clone()
    inputs["attention_mask"][0, 0] = 0
    if target:
        inputs["decoder_input_ids"] = torch.ones(rows, target, dtype=torch.long)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(**inputs, use_cache=False).logits
        nn.functional.cross_entropy(logits.float().flatten(0, 1), torch.zeros(rows * (target or source)).long())
    return sum(saved.values())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("family", ["llama", "llama_gqa", "t5"])
def test_activations_are_what_autograd_saves(family: str, bf16: bool) -> None:
    config: PretrainedConfig
    if family == "t5":
        config = T5Config(d_model=128, d_kv=32, d_ff=320, num_layers=3, num_heads=4, feed_forward_proj="gated-gelu")
        source, target = 72, 40
    else:
        config = LlamaConfig(hidden_size=128, intermediate_size=320, num_hidden_layers=3, num_attention_heads=4)
        config.num_key_value_heads = 2 if family == "llama_gqa" else 4
        source, target = 104, 0
    config.vocab_size = 50
    setup = Setup(1, 3, 3, source, target, bf16=bf16)
    # The formula's logits count the gradient too, which is not saved by forward.
    formula = activation_bytes(config, setup) - 3 * 4 * 3 * (target or source) * 50
    assert formula == pytest.approx(saved_bytes(config, 3, source, target, bf16=bf16), rel=0.2)


def test_flops_are_about_six_a_parameter_and_token() -> None:
    tokens = 3000 * 128 * 512
    assert training_flops(LLAMA, PAPER, 512) == pytest.approx(6 * 6.74e9 * tokens, rel=0.06)


def test_what_is_proposed_fits_and_divides() -> None:
    alone = replace(PAPER, zero_stage=None, processes=1)
    count = count_parameters(LLAMA, freeze_embeddings=False, lora_rank=None)
    assert not fits(LLAMA, count, alone, 80)
    proposals = alternatives(LLAMA, alone, 80)
    assert any(text.startswith("engine=zero3 engine.processes=2") for text in proposals), proposals
    assert fits(LLAMA, count, replace(alone, zero_stage=3, processes=2), 80)
    assert not fits(LLAMA, count, replace(alone, zero_stage=3, processes=1), 80)
    assert memory(LLAMA, count, alone).gpu > 16 * count.all


def test_the_papers_llama_is_planned_as_in_the_paper(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    plan(["model=llama-7b", "engine=zero3", "engine.processes=4"], 80, 312, 0.4, None)
    printed = capsys.readouterr().out
    assert "6,738,423,808 parameters" in printed
    assert "128 rows = 4 a forward pass x 8 accumulated x 4 process(es)" in printed
    assert "zero3 " in next(line for line in printed.splitlines() if "<- chosen" in line)


def test_what_cannot_fit_is_refused_without_a_network_with_what_would(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the plan of a training needs no network")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(sys, "argv", ["gist", "plan", "model=llama-7b"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "engine single on 1 process(es) needs" in message
    assert "engine=zero3 engine.processes=2" in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["engine=zero2", "engine.processes=3", "train.batch_size=8", "train.micro_batch_size=8"],
            "train.batch_size 8 is not a multiple of",
        ),
        (["model.source=folder", "model.location=nowhere"], "'nowhere' has no config.json"),
        (
            ["shape.hidden_size=0", "shape.vocab_size=-1"],
            r"shape\.hidden_size is 0, shape\.vocab_size is -1; .* at least 1",
        ),
        (["shape.num_attention_heads=0"], r"shape\.num_attention_heads is 0"),
        (["model=flan-t5-large", "shape.d_model=0"], r"shape\.d_model is 0"),
        (["shape.hidden_size=577"], r"(?s)a llama cannot have this shape: .*577.* is not a multiple of .*heads \(9\)"),
        (["shape.hidden_size=many"], r"(?s)a llama cannot have this shape: .*'hidden_size' expected int, got str"),
        (["shape=null"], "the shape of smollm2-135m is not known"),
    ],
)
def test_a_plan_that_cannot_be_made_says_why(
    overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ValueError, match=message):
        plan(overrides, gpu_memory_gib=80, gpu_tflops=312, utilisation=0.4, row_tokens=None)


@pytest.mark.parametrize(("lora_rank", "stage"), [(None, 3), (16, None), (16, 2)])
def test_lora_with_zero_3_which_is_refused_is_never_proposed(lora_rank: int | None, stage: int | None) -> None:
    setup = replace(PAPER, lora_rank=lora_rank, zero_stage=stage, micro_batch_size=32)
    proposed = alternatives(LLAMA, setup, 60)
    assert proposed
    assert not [override for override in proposed if ("zero3" in override and lora_rank) or "lora_rank" in override]


def test_lora_counts_what_peft_adapts_of_a_gpt_2() -> None:
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=50)
    adapted = get_peft_model(AutoModelForCausalLM.from_config(config), LoraConfig(r=4, target_modules="all-linear"))
    counted = count_parameters(config, freeze_embeddings=False, lora_rank=4)
    assert counted.trained == adapted.get_nb_trainable_parameters()[0]


def test_lora_counts_its_matrices_only() -> None:
    config = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, vocab_size=50
    )
    counted = count_parameters(config, freeze_embeddings=False, lora_rank=4)
    assert counted.trained == 2 * 4 * (4 * (64 + 64) + 3 * (64 + 96))
    assert memory(config, counted, replace(PAPER, zero_stage=None)).optimizer == 8 * counted.trained < GIB
