"""Every engine trains the same model; a killed training goes on to the same weights."""

import functools
import inspect
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from pydantic import ValidationError
from torch.nn.attention.flex_attention import create_block_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from gist_core.models.gist_model import GistModel
from gist_core.training.checkpoints import MARKER, last_complete_checkpoint
from gist_core.training.compiled import LINEAR, MORE_THAN_A_MASK, compile_layers, decoder_layers, join_products
from gist_core.training.engine import launch_command
from gist_core.training.lora import lora
from tasks.sections import EngineParams
from tasks.train_worker import ERROR_FILE, Job, run_job
from tests.tiny import tiny_model
from tests.training.jobs import finish, job, kill_at_step, kill_when, losses, start, weights, write_base_and_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    write_base_and_rows(folder)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> Job:
    plain = job(folder, "uninterrupted")
    run_job(plain)
    return plain


def test_training_learns_and_reports_its_curve(uninterrupted: Job) -> None:
    curve = losses(uninterrupted)
    assert len(curve) == 12
    assert sum(curve[-3:]) < 0.8 * sum(curve[:3])
    gist_model = GistModel.from_pretrained(uninterrupted.output)
    assert gist_model.settings.condition == "gist"
    assert gist_model.generate_masked(["Add 1."], ["2"], max_new_tokens=3).shape == (1, 3)


@pytest.mark.slow
def test_training_again_gives_the_same_weights_to_the_bit(folder: Path, uninterrupted: Job) -> None:
    again = job(folder, "again")
    finish(again)
    ours, theirs = weights(again), weights(uninterrupted)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 7, 10])
def test_a_killed_training_goes_on_to_the_same_weights_to_the_bit(folder: Path, uninterrupted: Job, step: int) -> None:
    killed = job(folder, f"killed-{step}")
    kill_at_step(killed, step)
    assert not Path(killed.output).exists()
    with (Path(killed.work_dir) / "curve.jsonl").open("a", encoding="utf-8") as curve:
        curve.write('{"step": 12, "lo')  # as a kill or a full disk may leave it
    output = finish(killed)
    if step > 3:
        assert "resuming from" in output
    ours, theirs = weights(killed), weights(uninterrupted)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert losses(killed) == losses(uninterrupted)


def test_killed_while_it_writes_a_checkpoint_it_goes_on_from_the_one_before(folder: Path, uninterrupted: Job) -> None:
    for trial in range(5):
        killed = job(folder, f"killed-writing-{trial}")
        cut_short = Path(killed.work_dir) / "checkpoint-6"
        kill_when(killed, cut_short.exists)
        if not (cut_short / MARKER).exists():
            break
    else:
        pytest.fail("five kills, and none of them while the checkpoint was being written")
    output = finish(killed)
    assert "resuming from" in output
    assert "checkpoint-3" in output
    assert "checkpoint-6" in output, "it says which one it left"
    ours, theirs = weights(killed), weights(uninterrupted)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert losses(killed) == losses(uninterrupted)


def test_a_checkpoint_that_was_cut_short_is_skipped_and_said(tmp_path: Path) -> None:
    for step in (3, 6, 9):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (3, 6):
        (tmp_path / f"checkpoint-{step}" / MARKER).touch()
    whole, cut_short = last_complete_checkpoint(tmp_path)
    assert whole == tmp_path / "checkpoint-6"
    assert cut_short == ["checkpoint-9"]
    assert last_complete_checkpoint(tmp_path) == (whole, [])


def test_a_loss_that_is_not_a_number_stops_the_training(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"training loss is (nan|inf).*lower train.learning_rate"):
        run_job(job(folder, "diverging", learning_rate=1e30, warmup_ratio=0.0))


def test_no_checkpoint_is_kept_and_no_model_saved_whose_weights_are_no_numbers(folder: Path) -> None:
    seldom = {"learning_rate": 1e30, "warmup_ratio": 0.0, "log_every": 50}
    for name, how in (("broken-checkpoint", {"save_every": 3}), ("broken-end", {"steps": 4, "save_every": 50})):
        broken = job(folder, name, **seldom, **how)
        with pytest.raises(ValueError, match=r"weights are no numbers any more at step \d"):
            run_job(broken)
        assert not Path(broken.output).exists()
        assert last_complete_checkpoint(Path(broken.work_dir))[0] is None


def test_one_process_trains_on_one_of_several_gpus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if two GPUs were seen: what TrainingArguments counts once, on a machine that has them."""
    from transformers import TrainingArguments

    count = vars(TrainingArguments)["_setup_devices"].func

    def two_devices(arguments: TrainingArguments) -> torch.device:
        device: torch.device = count(arguments)
        arguments._n_gpu = 2
        return device

    counted = functools.cached_property(two_devices)
    counted.__set_name__(TrainingArguments, "_setup_devices")
    monkeypatch.setattr(TrainingArguments, "_setup_devices", counted)
    alone = job(folder, "two-gpus", steps=2)
    run_job(alone)
    assert len(losses(alone)) == 2


def test_the_attention_of_the_engine_is_the_one_that_trains(
    folder: Path, uninterrupted: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager = job(folder, "eager", engine={"attention": "eager"})
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", None)
    run_job(eager)
    assert losses(eager) == pytest.approx(losses(uninterrupted), abs=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_flex_attention_is_refused_where_it_cannot_train(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"engine.attention: flex_attention has no backward pass without a GPU"):
        run_job(job(folder, "flex", engine={"attention": "flex_attention"}))


@pytest.mark.slow
@pytest.mark.parametrize("engine", [{}, {"zero_stage": 2, "processes": 2}], ids=["single", "zero2"])
def test_compiled_layers_train_what_others_do(folder: Path, uninterrupted: Job, engine: dict[str, Any]) -> None:
    compiled = job(folder, f"compiled-{len(engine)}", engine=engine | {"torch_compile": True})
    finish(compiled)
    assert losses(compiled) == pytest.approx(losses(uninterrupted), abs=1e-5)
    ours, theirs = weights(compiled), weights(uninterrupted)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in theirs)


@pytest.mark.parametrize(("family", "products"), [("llama", 4), ("qwen2", 6), ("llama-lora", 15)])
def test_products_of_the_same_input_become_one_and_train_the_same(family: str, products: int) -> None:
    """Of 7 products in a layer (LoRA has 14 more) those remain that have a bias or an input of their own."""
    torch._dynamo.reset()  # what tests before this one compiled counts towards its limit
    name, _, adapter = family.partition("-")
    model = tiny_model(name)
    ids = torch.randint(3, 250, (2, 20), generator=torch.Generator().manual_seed(0))
    found: list[int] = []

    def joined(module: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable:
        join_products(module.graph)
        module.recompile()
        found.append(sum(node.target is LINEAR for node in module.graph.nodes))
        return module.forward

    def gradients() -> list[torch.Tensor]:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return list(torch.autograd.grad(model(ids, labels=ids).loss, trained))

    with lora(model, 2) if adapter else nullcontext():
        expected = gradients()
        for layer in decoder_layers(model):
            layer.compile(backend=joined)
        for ours, stock in zip(gradients(), expected, strict=True):
            torch.testing.assert_close(ours, stock, atol=1e-6, rtol=1e-4)
    assert set(found) == {products}


def test_compiled_flex_attention_repeats_no_keys_and_leaves_all_but_masks_to_transformers() -> None:
    compile_layers(tiny_model("llama"))
    attention, module = ALL_ATTENTION_FUNCTIONS["flex_attention"], torch.nn.Module().eval()
    known = {"module", "query", "key", "value", "attention_mask", "scaling", "kwargs", *MORE_THAN_A_MASK}
    assert set(inspect.signature(attention).parameters) == known, "transformers takes something new"
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, heads, 128, 16, generator=generator) for heads in (6, 2, 2))
    seen = torch.ones(128, 128).tril().bool() & ~torch.ones(128, 128).tril(-40).bool()
    mask = create_block_mask(lambda b, h, q, k: seen[q, k], 2, None, 128, 128, device="cpu")
    graphs: list[torch.fx.GraphModule] = []

    def keep_graph(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable:
        graphs.append(graph)
        return graph.forward

    @torch.compile(backend=keep_graph)
    def compiled(**more: float) -> torch.Tensor:
        return attention(module, query, key, value, mask, scaling=0.3, **more)[0]

    expected = torch.nn.functional.scaled_dot_product_attention(
        query, *(tensor.repeat_interleave(3, dim=1) for tensor in (key, value)), attn_mask=seen, scale=0.3
    ).transpose(1, 2)
    with torch.no_grad():
        torch.testing.assert_close(compiled(dropout=0.0), expected)
        assert ".expand(" not in graphs.pop().code
        assert not torch.allclose(compiled(softcap=0.1), expected, atol=1e-3)
        assert ".expand(" in graphs.pop().code, "transformers repeats no keys any more"


@pytest.mark.slow
def test_without_a_compiler_it_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    process = start(job(folder, "no-compiler", engine={"torch_compile": True}))
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 2, output
    assert "torch.compile has no compiler" in output


def test_what_cannot_be_compiled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="torch_compile needs whole layers, whose weights ZeRO-3 divides"):
        EngineParams(zero_stage=3, torch_compile=True)
    with pytest.raises(ValueError, match="torch_compile is for the layers of decoders; t5 has none such"):
        compile_layers(tiny_model("t5"))


@pytest.mark.slow
def test_a_batch_that_does_not_divide_among_processes_is_refused(folder: Path) -> None:
    odd = job(folder, "odd", engine={"zero_stage": 2, "processes": 2}, batch_size=6, micro_batch_size=6)
    process = start(odd)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 2
    said = "train.batch_size 6 is not a multiple of train.micro_batch_size 6 x 2 process(es)"
    assert said in output
    assert said in (Path(odd.work_dir) / ERROR_FILE).read_text()


@pytest.mark.parametrize("line", ["localhost", "localhost slots=0", "localhost slots=two", "slots=2"])
def test_a_hostfile_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    hostfile = tmp_path / "hosts"
    with pytest.raises(ValueError, match="does not exist; it needs one line `host slots=GPUS`"):
        launch_command("x", [], processes=1, hostfile=str(hostfile))
    hostfile.write_text(f"# ours\n\nnode1 slots=8  # big\n{line}\n")
    with pytest.raises(ValueError, match=rf"line 4 is '{line}', not `host slots=GPUS`"):
        launch_command("x", [], processes=1, hostfile=str(hostfile))
    for machines, named in (("", "no machine"), ("node1", "node1"), ("node1 node2 node1", "node1, node2, node1")):
        hostfile.write_text("".join(f"{machine} slots=8\n" for machine in machines.split()))
        with pytest.raises(ValueError, match=rf"names {named}; it needs two or more, each once\. On one machine"):
            launch_command("x", [], processes=1, hostfile=str(hostfile))


@pytest.mark.slow  # but test_machines.py has stage 2
@pytest.mark.parametrize(("stage", "offload"), [(1, False), (2, False), (3, False), (1, True), (2, True), (3, True)])
def test_zero_on_two_processes_follows_one_process(folder: Path, stage: int, offload: bool) -> None:
    steps = {"steps": 20, "save_every": 100}
    single = job(folder, "single-20", **steps)
    if not Path(single.output).exists():
        run_job(single)
    sharded = job(
        folder, f"zero{stage}-{offload}", engine={"zero_stage": stage, "offload": offload, "processes": 2}, **steps
    )
    finish(sharded)
    assert losses(sharded) == pytest.approx(losses(single), abs=1e-5)
    prompts = (["Add 1.", "Add 3."], ["2", "5"])
    tokens = [
        GistModel.from_pretrained(which.output).generate_masked(*prompts, max_new_tokens=6).tolist()
        for which in (single, sharded)
    ]
    assert tokens[0] == tokens[1]


@pytest.mark.slow
def test_under_zero_3_too_no_model_is_saved_whose_weights_are_no_numbers(folder: Path) -> None:
    # Beyond float32, so that the first loss is a number and no weight is one.
    diverging = {"learning_rate": 1e39, "warmup_ratio": 0.0, "steps": 1, "save_every": 1}
    broken = job(folder, "broken-zero3", engine={"zero_stage": 3, "processes": 2}, **diverging)
    process = start(broken)
    output, _ = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "weights are no numbers any more at step 1" in output
    assert not Path(broken.output).exists()


@pytest.mark.slow
def test_no_process_of_zero_3_ever_holds_the_whole_model(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "load.py"
    script.write_text(
        """
import json, sys
from transformers import AutoModelForCausalLM
from gist_core.training.engine import deepspeed_config, init_processes, leave_processes, sharded_loading
init_processes(use_cpu=True)
with sharded_loading(deepspeed_config(3, offload=False, bf16=True)):
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
whole = AutoModelForCausalLM.from_pretrained(sys.argv[1])
frequencies = [dict(m.named_buffers())["model.rotary_emb.inv_freq"] for m in (model, whole)]
assert frequencies[0].tolist() == frequencies[1].tolist(), frequencies
print(json.dumps([[p.ds_numel, p.ds_tensor.numel(), p.numel()] for p in model.parameters()]), flush=True)
leave_processes()
""",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "gist_core.training.launch", "--standalone", "--nproc_per_node=2", str(script)]
    result = subprocess.run([*command, str(folder / "base")], capture_output=True, text=True, timeout=200, check=True)
    processes = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("[[")]
    assert len(processes) == 2, result.stdout
    for weights_here in processes:
        assert all(shard == -(-whole // 2) for whole, shard, _ in weights_here)
        assert not sum(held for _, _, held in weights_here)


@pytest.mark.slow
def test_the_launcher_ends_as_the_worker_that_was_killed_and_not_as_those_that_miss_it(folder: Path) -> None:
    lasting = job(folder, "one-killed", engine={"zero_stage": 2, "processes": 2}, steps=500, save_every=500)
    process, curve = start(lasting), Path(lasting.work_dir) / "curve.jsonl"
    deadline = time.monotonic() + 200
    while not (curve.exists() and curve.read_text().count("\n") >= 3):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = [child for child in psutil.Process(process.pid).children(recursive=True) if "-u" in child.cmdline()]
    assert len(workers) == 2
    workers[-1].kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 137, output


@pytest.mark.slow
def test_a_killed_zero_training_resumes(folder: Path) -> None:
    engine = {"zero_stage": 2, "processes": 2}
    whole, killed = job(folder, "zero-whole", engine=engine), job(folder, "zero-killed", engine=engine)
    finish(whole)
    kill_at_step(killed, 7)
    assert "resuming from" in finish(killed)
    ours, theirs = weights(killed), weights(whole)
    assert all(float((ours[name] - theirs[name]).abs().max()) <= 1e-6 for name in theirs)


@pytest.mark.slow
def test_resuming_with_another_number_of_processes_says_what_to_do(folder: Path) -> None:
    engine = {"zero_stage": 2, "processes": 2}
    killed = job(folder, "zero-fewer", engine=engine)
    kill_at_step(killed, 7)
    fewer = killed.model_copy(update={"engine": killed.engine.model_copy(update={"processes": 1})})
    process = start(fewer)
    output, _ = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "resume with engine.processes=2" in output
