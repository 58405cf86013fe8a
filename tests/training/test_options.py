"""What a run can ask for beyond the paper, each off by default: LoRA, a teacher, k drawn per row, a development split."""

import ctypes
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from gist_core.cache import compress, generate
from gist_core.data.rows import read_rows
from gist_core.models.gist_model import GistModel, GistSettings
from gist_core.training.collate import IGNORED, Collator
from gist_core.training.distill import Teacher
from gist_core.training.examples import Example, Limits, make_examples
from gist_core.training.failures import check_disk, explained
from gist_core.training.settings import TrainSettings
from gist_core.training.train import train
from tasks.sections import RunParams
from tasks.train_worker import Job, run_job
from tests.rows import write_rows
from tests.tiny import tiny_gist_model
from tests.training.jobs import job, start, write_base_and_rows

ONE_STEP = TrainSettings(
    steps=1,
    batch_size=2,
    micro_batch_size=2,
    learning_rate=1e-3,
    lr_schedule="constant",
    warmup_ratio=0,
    weight_decay=0,
    freeze_embeddings=False,
    batching="packed",
    row_capacity=100,
    save_every=1,
    log_every=1,
    seed=0,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("options")
    write_base_and_rows(folder)
    rows = read_rows(folder / "train.parquet")
    write_rows(folder / "dev.parquet", rows[18:])
    write_rows(folder / "train.parquet", rows[:18])
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> Job:
    plain = job(folder, "plain")
    run_job(plain)
    return plain


def with_run(plain: Job, **options: object) -> Job:
    return plain.model_copy(update={"run": RunParams(**plain.run.model_dump() | options)})


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def curve(job: Job) -> list[dict[str, float]]:
    return [json.loads(line) for line in (Path(job.work_dir) / "curve.jsonl").read_text("utf-8").splitlines()]


def examples_of(gist_model: GistModel, rows: Path, **how: object) -> list[Example]:
    examples, _ = make_examples(
        ((row.row_id, row.instruction, row.input, row.output) for row in read_rows(rows)),
        gist_model.tokenizer,
        num_gist_tokens=gist_model.settings.num_gist_tokens,
        is_encoder_decoder=gist_model.is_encoder_decoder,
        limits=Limits(),
        **how,  # type: ignore[arg-type]
    )
    return examples


def logits_of(gist_model: GistModel, examples: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels where there is a label, of one packed batch in eval mode; the gist token is no candidate."""
    start = gist_model.model.config.decoder_start_token_id if gist_model.is_encoder_decoder else None
    batch = Collator(gist_model.settings.condition, "packed", 0, 400, start)(examples)
    labels = batch.pop("labels")
    with torch.inference_mode():
        logits = gist_model.model(**batch).logits[labels != IGNORED]
        logits[:, gist_model.gist_token_id] = torch.finfo(logits.dtype).min
        return logits, labels[labels != IGNORED]


def loss_of(gist_model: GistModel, examples: list[Example]) -> float:
    return float(nn.functional.cross_entropy(*logits_of(gist_model, examples)))


def test_lora_trains_low_rank_updates_of_the_linear_layers_and_saves_an_ordinary_model(folder: Path) -> None:
    lora = with_run(job(folder, "lora", learning_rate=1e-2), lora_rank=3)
    run_job(lora)
    base, trained = weights(str(folder / "base")), weights(lora.output)
    assert trained.keys() == base.keys()
    for name, before in base.items():
        update = trained[name] - before
        if name.endswith("_proj.weight"):
            singular = torch.linalg.svdvals(update)
            assert singular[2] > 1e-4, name
            assert singular[3] < 1e-5 * singular[0], name
        else:
            assert not update.any(), name
    losses = [point["loss"] for point in curve(lora)]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert GistModel.from_pretrained(lora.output).generate_masked(["Add 1."], ["2"], max_new_tokens=3).shape == (1, 3)


@pytest.mark.slow
def test_lora_on_sharded_weights_is_refused(folder: Path) -> None:
    sharded = with_run(job(folder, "lora-zero3", engine={"zero_stage": 3, "processes": 1}), lora_rank=3)
    process = start(sharded)
    output, _ = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "lora_rank needs whole weights" in output
    assert "take engine=zero2" in (Path(sharded.work_dir) / "error.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_lora_under_zero_2_is_lora_on_one_process(folder: Path) -> None:
    single = with_run(job(folder, "lora-single"), lora_rank=3)
    sharded = with_run(job(folder, "lora-zero2", engine={"zero_stage": 2, "processes": 2}), lora_rank=3)
    run_job(single)
    process = start(sharded)
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 0, output
    assert [p["loss"] for p in curve(sharded)] == pytest.approx([p["loss"] for p in curve(single)], abs=1e-5)
    theirs = weights(single.output)
    assert all(float((tensor - theirs[name]).abs().max()) < 1e-4 for name, tensor in weights(sharded.output).items())


def test_frozen_layers_stay_what_they_were_and_the_others_learn(folder: Path) -> None:
    later = with_run(job(folder, "later", freeze=["embeddings"]), frozen_layers=1)
    run_job(later)
    base, trained = weights(str(folder / "base")), weights(later.output)
    learnt = {name for name, before in base.items() if not torch.equal(before, trained[name])}
    assert learnt == {name for name in base if not name.startswith(("model.layers.0.", "model.embed_tokens."))}


def test_the_layers_of_a_decoder_that_stands_inside_another_module_can_be_frozen(tmp_path: Path) -> None:
    write_base_and_rows(tmp_path, "opt")
    later = with_run(job(tmp_path, "later"), frozen_layers=1)
    run_job(later)
    base, trained = weights(str(tmp_path / "base")), weights(later.output)
    same = {name for name, before in base.items() if torch.equal(before, trained[name])}
    assert {name for name in base if ".layers." in name} & same == {name for name in base if ".layers.0." in name}


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_frozen_layers_that_leave_nothing_to_train_are_refused(tmp_path: Path, family: str) -> None:
    write_base_and_rows(tmp_path, family)
    with pytest.raises(ValueError, match="frozen_layers is 99, but must leave a layer to train"):
        run_job(with_run(job(tmp_path, "frozen"), frozen_layers=99))


def test_a_run_may_have_a_learning_rate_of_its_own(folder: Path, plain: Job) -> None:
    slower = with_run(job(folder, "slower"), learning_rate=plain.train.learning_rate / 10)
    run_job(slower)
    rates = [[point["learning_rate"] for point in curve(which)] for which in (slower, plain)]
    assert rates[0] == pytest.approx([rate / 10 for rate in rates[1]])


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Job:
    teacher = job(folder, "teacher", condition="pos_control", steps=30, learning_rate=3e-3)
    run_job(teacher)
    return teacher


def test_a_student_comes_nearer_to_its_teacher(folder: Path, teacher: Job) -> None:
    from_teacher = {"start": teacher.output}
    untaught = job(folder, "untaught").model_copy(update=from_teacher)
    student = with_run(job(folder, "student"), start="data/models/teacher", teacher_weight=1.0).model_copy(
        update=from_teacher
    )
    for trained in (untaught, student):
        run_job(trained)
    ours, theirs = GistModel.from_pretrained(student.output), GistModel.from_pretrained(teacher.output)
    rows = folder / "train.parquet"
    target = logits_of(theirs, examples_of(theirs, rows))[0].log_softmax(-1)

    def divergence(gist_model: GistModel) -> float:
        student = logits_of(gist_model, examples_of(gist_model, rows))[0].log_softmax(-1)
        return float(nn.functional.kl_div(student, target, reduction="batchmean", log_target=True))

    assert divergence(ours) < divergence(GistModel.from_pretrained(untaught.output))


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_teacher_and_student_predict_the_same_tokens_in_the_same_order(
    folder: Path, family: str, batching: str
) -> None:
    student, stock = tiny_gist_model(family, "gist", 4), tiny_gist_model(family, "pos_control", 1)
    examples = examples_of(student, folder / "train.parquet")[:7]
    start = student.model.config.decoder_start_token_id if student.is_encoder_decoder else None
    collator = Collator("gist", batching, 0, 90, start)  # type: ignore[arg-type]
    labels, teacher = collator(examples)["labels"], Teacher(stock, 0.5)
    batch = teacher.batch([examples[i] for i in collator.order(examples)])
    assert batch["labels"].tolist() == labels[labels != IGNORED].tolist()
    # What it predicts is what the teacher alone predicts from its own prompts.
    ordered = [examples_of(stock, folder / "train.parquet")[i] for i in collator.order(examples)]
    alone = torch.cat([logits_of(stock, [example])[0] for example in ordered]).log_softmax(-1)
    found, gist = teacher.log_probabilities(batch), stock.gist_token_id
    assert (found[:, gist].exp() == 0).all()
    others = [token for token in range(found.shape[1]) if token != gist]
    assert torch.allclose(found[:, others], alone[:, others], atol=1e-4)


def test_a_teacher_computes_in_bfloat16_where_the_student_does(folder: Path) -> None:
    stock = tiny_gist_model("llama", "pos_control", 1)
    examples = examples_of(stock, folder / "train.parquet")[:4]
    exact, halved = (
        teacher.log_probabilities(teacher.batch(examples))
        for teacher in (Teacher(stock, 0.5), Teacher(stock, 0.5, bf16=True))
    )
    assert not torch.equal(exact, halved)
    torch.testing.assert_close(exact, halved, atol=0.1, rtol=0.1)


def test_rows_that_are_left_out_are_said(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lengths = [
        example.num_tokens for example in examples_of(tiny_gist_model("llama", "gist", 1), folder / "train.parquet")
    ]
    longest = max(lengths)
    run_job(job(folder, "cut", max_length=longest - 1))
    said = f"{lengths.count(longest)} of {len(lengths)} rows are left out"
    assert said in capfd.readouterr().out
    run_job(job(folder, "whole", max_length=longest))
    assert "left out" not in capfd.readouterr().out


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_rows_beyond_the_context_are_left_out_whatever_may_be_packed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], batching: str
) -> None:
    """OPT has learned positions: beyond them there is an index error."""
    context = 42
    write_base_and_rows(tmp_path, "opt", max_position_embeddings=context)
    run_job(job(tmp_path, "short", max_length=400, batching=batching))
    left_out = re.search(r"(\d+) of 24 rows are left out: .* the model's context \(42 tokens\)", capfd.readouterr().out)
    assert left_out
    assert 0 < int(left_out[1]) < 24


def test_a_teacher_that_is_no_pos_control_is_refused(folder: Path, plain: Job) -> None:
    wrong = with_run(job(folder, "wrong-teacher"), start="data/models/plain", teacher_weight=0.5)
    with pytest.raises(ValueError, match="was trained as gist; distillation needs"):
        run_job(wrong.model_copy(update={"start": plain.output}))


def test_each_row_draws_its_k_by_its_id_and_the_seed(folder: Path) -> None:
    gist_model = tiny_gist_model("llama", "gist", 1)

    def drawn(seed: int) -> dict[str, int]:
        examples = examples_of(gist_model, folder / "train.parquet", drawn_gist_tokens=[1, 2, 5], seed=seed)
        return {example.row_id: example.gist_end - example.gist_start for example in examples}

    assert set(drawn(0).values()) == {1, 2, 5}
    assert drawn(0) == drawn(0) != drawn(1)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_batch_of_several_k_masks_each_row_by_its_own(folder: Path, family: str) -> None:
    mixed = examples_of(tiny_gist_model(family), folder / "train.parquet", drawn_gist_tokens=[1, 2, 5])[:6]
    total = tokens = 0.0
    for example in mixed:
        alone = tiny_gist_model(family, "gist", example.gist_end - example.gist_start)
        total += loss_of(alone, [example]) * len(example.answer)
        tokens += len(example.answer)
    assert loss_of(tiny_gist_model(family), mixed) == pytest.approx(total / tokens, abs=1e-5)


def test_one_model_trained_for_several_k_answers_at_each(folder: Path, plain: Job) -> None:
    many = with_run(job(folder, "many"), drawn_gist_tokens=[1, 2, 4])
    run_job(many)
    rows = folder / "train.parquet"
    at_4 = GistModel.from_pretrained(many.output, num_gist_tokens=4)
    unused = AutoModelForCausalLM.from_pretrained(plain.output).eval()
    never_saw_4 = GistModel(unused, at_4.tokenizer, GistSettings("gist", 4))
    assert loss_of(at_4, examples_of(at_4, rows)) < loss_of(never_saw_4, examples_of(never_saw_4, rows))
    assert GistModel.from_pretrained(many.output).settings == GistSettings("gist", 1, (1, 2, 4))
    for trained, k, known in ((many, 3, "1, 2, 4"), (plain, 4, "1"), (plain, 0, "1")):
        with pytest.raises(ValueError, match=f"num_gist_tokens is {k}; .* was trained for {known}$"):
            GistModel.from_pretrained(trained.output, num_gist_tokens=k)


def test_a_model_that_is_trained_further_does_not_pass_for_that_of_its_folder(
    folder: Path, plain: Job, tmp_path: Path
) -> None:
    gist_model = GistModel.from_pretrained(plain.output)
    of_folder, cache = gist_model.fingerprint, compress(gist_model, ["Sort."])
    examples = examples_of(gist_model, folder / "train.parquet")
    train(gist_model, examples, ONE_STEP, work_dir=tmp_path, use_cpu=True)
    assert gist_model.fingerprint != of_folder
    with pytest.raises(ValueError, match="the cache was made by another model"):
        generate(gist_model, cache, ["b, a"], max_new_tokens=2)


def test_a_folder_with_checkpoints_of_another_training_is_refused(folder: Path, tmp_path: Path) -> None:
    first, second = tiny_gist_model("llama", "gist", 1), tiny_gist_model("llama", "neg_control", 1)
    examples = examples_of(first, folder / "train.parquet")
    train(first, examples, ONE_STEP, work_dir=tmp_path, use_cpu=True)
    untouched, again = second.fingerprint, tiny_gist_model("llama", "gist", 1)
    for gist_model, settings, rows, differing in (
        (second, ONE_STEP, examples, "condition"),
        (again, replace(ONE_STEP, learning_rate=1e-4, steps=2), examples, "steps, learning_rate"),
        (again, ONE_STEP, examples[1:], "rows"),
        (again, ONE_STEP, [replace(examples[0], answer=examples[1].answer), *examples[1:]], "rows"),
        (first, ONE_STEP, examples, "start"),
    ):
        with pytest.raises(ValueError, match=f"checkpoints of another training, which differs in {differing};"):
            train(gist_model, rows, settings, work_dir=tmp_path, use_cpu=True)
    assert second.fingerprint == untouched
    assert not second.model.training
    train(again, examples, ONE_STEP, work_dir=tmp_path, use_cpu=True)
    assert again.fingerprint == first.fingerprint, "the same training is taken up"


def test_a_folder_with_checkpoints_of_another_teacher_is_refused(folder: Path, tmp_path: Path) -> None:
    one, other = (tiny_gist_model("llama", "pos_control", 1, seed=seed) for seed in (1, 2))
    examples = examples_of(one, folder / "train.parquet")
    train(tiny_gist_model("llama"), examples, ONE_STEP, work_dir=tmp_path, use_cpu=True, teacher=Teacher(one, 0.5))
    with pytest.raises(ValueError, match="which differs in teacher;"):
        train(
            tiny_gist_model("llama"), examples, ONE_STEP, work_dir=tmp_path, use_cpu=True, teacher=Teacher(other, 0.5)
        )


def test_a_lora_training_that_ends_by_an_error_leaves_the_model_without_its_matrices(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora, gist_model = replace(ONE_STEP, lora_rank=2, steps=2), tiny_gist_model("llama")
    names, examples = [*gist_model.model.state_dict()], examples_of(gist_model, folder / "train.parquet")
    with monkeypatch.context() as broken:
        broken.setattr("gist_core.training.train.StopOnBadLoss.on_log", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(gist_model, examples, lora, work_dir=tmp_path / "broken", use_cpu=True)
    assert [*gist_model.model.state_dict()] == names
    assert not gist_model.model.training
    before = {key: value.clone() for key, value in gist_model.model.state_dict().items()}
    train(gist_model, examples, lora, work_dir=tmp_path / "again", use_cpu=True)
    moved = {key for key, value in gist_model.model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved
    assert all("_proj" in key for key in moved), "the linear layers alone"


def test_the_seed_chooses_where_lora_starts(folder: Path, tmp_path: Path) -> None:
    made = []
    for number, seed in enumerate((0, 0, 1)):
        gist_model = tiny_gist_model("llama")
        torch.manual_seed(number)
        examples = examples_of(gist_model, folder / "train.parquet")[:2]  # in whatever order, they are one step
        settings = replace(ONE_STEP, lora_rank=2, seed=seed)
        train(gist_model, examples, settings, work_dir=tmp_path / str(number), use_cpu=True)
        made.append(gist_model.fingerprint)
    assert made[0] == made[1] != made[2]


def test_a_teacher_in_training_mode_is_refused() -> None:
    teacher = tiny_gist_model("llama", "pos_control", 1)
    teacher.model.train()
    with pytest.raises(ValueError, match="training mode"):
        Teacher(teacher, 0.5)


def test_development_rows_are_part_of_what_a_training_is(folder: Path, tmp_path: Path) -> None:
    examples = examples_of(tiny_gist_model("llama"), folder / "train.parquet")
    train(tiny_gist_model("llama"), examples, ONE_STEP, work_dir=tmp_path, use_cpu=True, dev_examples=examples[:2])
    with pytest.raises(ValueError, match="which differs in dev_rows;"):
        train(tiny_gist_model("llama"), examples, ONE_STEP, work_dir=tmp_path, use_cpu=True, dev_examples=examples[:3])


def test_rows_for_another_number_of_gist_tokens_or_beyond_the_context_are_refused(folder: Path, tmp_path: Path) -> None:
    gist_model = tiny_gist_model("llama", "gist", 1)
    examples = examples_of(gist_model, folder / "train.parquet")
    wrong = replace(examples[0], gist_end=examples[0].gist_end + 1)
    with pytest.raises(ValueError, match=f"row {wrong.row_id} has 2 gist tokens, and the model is for 1"):
        train(gist_model, [*examples, wrong], ONE_STEP, work_dir=tmp_path, use_cpu=True)
    long = replace(examples[0], answer=examples[0].answer * 10_000)
    with pytest.raises(ValueError, match=rf"1 rows are longer .*among them {long.row_id} .*Limits\(total=\d+\)"):
        train(gist_model, examples, ONE_STEP, work_dir=tmp_path, use_cpu=True, dev_examples=[long])


def test_weights_of_half_precision_are_refused(folder: Path, tmp_path: Path) -> None:
    gist_model = tiny_gist_model("llama")
    examples = examples_of(gist_model, folder / "train.parquet")
    gist_model.model.to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"the weights are torch.bfloat16.*load the model in float32"):
        train(gist_model, examples, ONE_STEP, work_dir=tmp_path, use_cpu=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps is 0; it must be a whole number from 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"micro_batch_size": -1}, "micro_batch_size is -1"),
        ({"save_every": 0}, "save_every is 0"),
        ({"lora_rank": 0}, "lora_rank is 0"),
        ({"batching": "pack"}, "batching is 'pack'; it is one of padded, grouped, packed"),
        ({"select": "best"}, "select is 'best'; it is one of last, dev_loss"),
        ({"lr_schedule": "step"}, "lr_schedule is 'step'; it is one of cosine, linear, constant"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a number above 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"warmup_ratio": 3.0}, "warmup_ratio is 3.0; it is a share of the steps"),
    ],
    ids=str,
)
def test_settings_out_of_their_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(ONE_STEP, **changed)


@pytest.mark.parametrize(
    "row",
    [{"row_id": "1", "instruction": "a", "input": "", "output": "b"}, ("1", "a", None, "b"), ("1", "a", "b"), "1abc"],
    ids=str,
)
def test_rows_that_are_not_four_texts_are_refused(row: Any) -> None:
    gist_model = tiny_gist_model("llama")
    with pytest.raises(ValueError, match=r"row 2 is .*; give each row as four texts"):
        make_examples(
            [("0", "a", "", "b"), row],
            gist_model.tokenizer,
            num_gist_tokens=1,
            is_encoder_decoder=False,
            limits=Limits(),
        )


def test_what_one_training_froze_the_next_one_trains(folder: Path, tmp_path: Path) -> None:
    gist_model = tiny_gist_model("llama", "gist", 1)
    examples = examples_of(gist_model, folder / "train.parquet")
    for name, frozen in (("frozen", replace(ONE_STEP, freeze_embeddings=True, frozen_layers=2)), ("whole", ONE_STEP)):
        before = {key: value.clone() for key, value in gist_model.model.state_dict().items()}
        train(gist_model, examples, frozen, work_dir=tmp_path / name, use_cpu=True)
        moved = {key for key, value in gist_model.model.state_dict().items() if not torch.equal(value, before[key])}
        assert any(".layers.2." in key for key in moved)
        assert (
            any(".layers.0." in key for key in moved)
            == any("embed_tokens" in key for key in moved)
            == (name == "whole")
        )


def test_layers_that_cannot_be_frozen_are_refused(folder: Path, tmp_path: Path) -> None:
    gist_model = tiny_gist_model("llama", "gist", 1)
    examples = examples_of(gist_model, folder / "train.parquet")
    with pytest.raises(ValueError, match="frozen_layers is -1"):
        train(gist_model, examples, replace(ONE_STEP, frozen_layers=-1), work_dir=tmp_path, use_cpu=True)


def test_a_model_that_was_trained_in_bf16_computes_in_float32_again(folder: Path, plain: Job, tmp_path: Path) -> None:
    gist_model = GistModel.from_pretrained(plain.output)
    examples = examples_of(gist_model, folder / "train.parquet")
    trainer = train(gist_model, examples, replace(ONE_STEP, bf16=True), work_dir=tmp_path / "work", use_cpu=True)
    trainer.save_model(str(tmp_path / "model"))
    gist_model.tokenizer.save_pretrained(tmp_path / "model")
    gist_model.settings.save(tmp_path / "model")
    saved = GistModel.from_pretrained(tmp_path / "model")
    for ours, theirs in zip(logits_of(gist_model, examples[:2]), logits_of(saved, examples[:2]), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a training on the CPU")
def test_a_training_gives_the_system_back_what_it_freed(folder: Path) -> None:
    pieces = [b"x" * 60_000 for _ in range(5_000)]
    kept = pieces[::40]  # what is between them stays with the process
    del pieces
    before = psutil.Process().memory_info().rss
    run_job(job(folder, "trimmed", steps=1))
    assert len(kept) == 125
    assert psutil.Process().memory_info().rss < before - 150e6


def test_options_that_do_not_belong_to_a_run_are_refused() -> None:
    usual = {"num_gist_tokens": 1, "start": "data/base_model"}
    with pytest.raises(ValidationError, match="teacher_weight needs condition: gist"):
        RunParams(condition="pos_control", **usual, teacher_weight=0.5)
    with pytest.raises(ValidationError, match="teacher_weight needs a teacher to start from"):
        RunParams(condition="gist", **usual, teacher_weight=0.5)
    with pytest.raises(ValidationError, match="num_gist_tokens 1 is not among drawn_gist_tokens"):
        RunParams(condition="gist", **usual, drawn_gist_tokens=[2, 5])


def test_a_run_goes_on_from_another_run_with_steps_rows_and_rate_of_its_own(folder: Path, plain: Job) -> None:
    later = job(folder, "goes-on").model_copy(update={"start": plain.output})
    run_job(with_run(later, steps=1, learning_rate=1e-12, seed=3))
    ours, theirs = weights(later.output), weights(plain.output)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-9) for name in theirs)
    assert [point["step"] for point in curve(later)] == [1]
    again = job(folder, "goes-on-twice", seed=3).model_copy(update={"start": plain.output})
    run_job(with_run(again, steps=1))
    assert curve(later)[0]["loss"] == curve(again)[0]["loss"] != curve(plain)[0]["loss"]
    summary = json.loads((Path(later.work_dir) / "summary.json").read_text(encoding="utf-8"))
    assert summary["seed"] == 3


def test_bf16_computes_in_bfloat16_and_keeps_the_weights_in_float32(folder: Path, plain: Job) -> None:
    halved = job(folder, "halved", bf16=True)
    run_job(halved)
    assert {tensor.dtype for tensor in weights(halved.output).values()} == {torch.float32}
    ours, theirs = ([point["loss"] for point in curve(which)] for which in (halved, plain))
    assert ours != theirs
    assert ours == pytest.approx(theirs, rel=0.02)


def test_the_progress_file_tells_how_far_a_training_is(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    run_job(job(folder, "seen-from-outside").model_copy(update={"progress_file": str(file)}))
    assert json.loads(file.read_text(encoding="utf-8")) == {"done": 12, "total": 12}


def test_the_dev_loss_is_that_of_the_saved_weights_and_changes_no_training(folder: Path, plain: Job) -> None:
    watched = job(folder, "watched").model_copy(update={"dev_rows": str(folder / "dev.parquet")})
    run_job(watched)
    ours, theirs = weights(watched.output), weights(plain.output)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    points = {point["step"]: point["dev_loss"] for point in curve(watched) if "dev_loss" in point}
    assert list(points) == [3, 6, 9, 12]
    saved = GistModel.from_pretrained(watched.output)
    assert points[12] == pytest.approx(loss_of(saved, examples_of(saved, folder / "dev.parquet")), abs=1e-5)
    assert [point["loss"] for point in curve(watched)] == [point["loss"] for point in curve(plain)]


def test_selecting_on_dev_loss_saves_the_best_checkpoint(folder: Path) -> None:
    # A rate at which the loss on the 6 held-out rows rises again before the end.
    how = {"learning_rate": 3e-2, "lr_schedule": "constant", "warmup_ratio": 0.0, "select": "dev_loss", "steps": 11}
    selected = job(folder, "selected", **how).model_copy(update={"dev_rows": str(folder / "dev.parquet")})
    run_job(selected)
    points = {point["step"]: point["dev_loss"] for point in curve(selected) if "dev_loss" in point}
    assert list(points) == [3, 6, 9, 11]
    best = min(points, key=points.__getitem__)
    assert best != 11
    summary = json.loads((Path(selected.work_dir) / "summary.json").read_text(encoding="utf-8"))
    assert summary["selected_step"] == best
    saved = GistModel.from_pretrained(selected.output)
    assert loss_of(saved, examples_of(saved, folder / "dev.parquet")) == pytest.approx(points[best], abs=1e-5)


def test_the_rows_that_a_training_took_are_named_in_order_with_how_often(folder: Path, plain: Job) -> None:
    short = job(folder, "short", steps=2)
    run_job(short)

    def rows(trained: Job) -> dict[str, int]:
        lines = (Path(trained.work_dir) / "trained_rows.jsonl").read_text(encoding="utf-8").splitlines()
        return {record["row_id"]: record["times"] for record in map(json.loads, lines)}

    given = {row.row_id for row in read_rows(folder / "train.parquet")}
    assert (len(rows(short)), set(rows(short).values())) == (2 * 4, {1})
    assert set(rows(plain)) == given  # 12 steps of 4 rows: every row twice, and a third time as far as they reach
    assert sum(rows(plain).values()) == 12 * 4
    assert list(rows(plain))[:8] == list(rows(short))  # the same order, whatever the number of steps
    summary = json.loads((Path(short.work_dir) / "summary.json").read_text(encoding="utf-8"))
    assert (summary["rows_trained_on"], summary["rows_short_enough"]) == (8, len(given))


def test_a_training_that_was_over_when_it_was_killed_makes_the_same_again_without_a_step(folder: Path) -> None:
    over = job(folder, "over")
    run_job(over)
    before, points = weights(over.output), curve(over)
    shutil.rmtree(over.output)  # as DVC does with the outs of a stage that it has not recorded
    run_job(over)
    after = weights(over.output)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert curve(over) == points


def test_the_last_two_checkpoints_stay_and_the_best_one_where_it_is_selected(folder: Path) -> None:
    how = {"learning_rate": 3e-2, "lr_schedule": "constant", "warmup_ratio": 0.0, "steps": 11, "save_every": 2}
    for select, names in (("last", {"10", "11"}), ("dev_loss", {"best", "10", "11"})):
        trained = job(folder, f"kept-{select}", select=select, **how)
        trained = trained.model_copy(update={"dev_rows": str(folder / "dev.parquet")})
        run_job(trained)
        points = {point["step"]: point["dev_loss"] for point in curve(trained) if "dev_loss" in point}
        best = str(min(points, key=points.__getitem__))
        assert best not in ("10", "11")
        found = {path.name.partition("-")[2] for path in Path(trained.work_dir).glob("checkpoint-*")}
        assert found == {best if name == "best" else name for name in names}


def test_selecting_without_a_dev_split_says_what_to_set(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no development rows; hold some out with data.num_dev"):
        run_job(job(folder, "nothing-held-out", select="dev_loss"))


@pytest.mark.slow
def test_two_processes_report_the_dev_loss_of_one(folder: Path) -> None:
    engine = {"zero_stage": 3, "processes": 2}
    dev = {"dev_rows": str(folder / "dev.parquet")}
    how = {"select": "dev_loss", "micro_batch_size": 2}
    single = job(folder, "dev-single", **how).model_copy(update=dev)
    sharded = job(folder, "dev-zero3", engine=engine, **how).model_copy(update=dev)
    run_job(single)
    process = start(sharded)
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 0, output
    losses = [[point["dev_loss"] for point in curve(which) if "dev_loss" in point] for which in (single, sharded)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_progress_says_speed_and_what_is_left(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_job(job(folder, "progress", steps=4))
    output = capsys.readouterr().err
    lines = re.findall(r"step (\d)/4  loss [\d.]+  learning rate \S+  (\d+) tokens/s  (\d:\d\d:\d\d) left", output)
    assert [step for step, _, _ in lines] == ["1", "2", "3", "4"]
    assert all(int(speed) > 0 for _, speed, _ in lines)
    assert lines[-1][2] == "0:00:00"


def test_no_memory_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out of memory.*Halve train.micro_batch_size"), explained(tmp_path):
        torch.empty(1 << 50)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("write", [torch.save, lambda tensors, path: Path(path).write_text("x" * 10_000)])
def test_a_full_disk_is_one_message(tmp_path: Path, write: object) -> None:
    message = "could not be written.*goes on from its last whole checkpoint"
    with pytest.raises(ValueError, match=message), explained(tmp_path):
        write({"a": torch.zeros(100_000)}, "/dev/full")  # type: ignore[operator]


def test_a_disk_that_is_too_small_is_told_before_training(tmp_path: Path) -> None:
    check_disk(tmp_path, 1)
    with pytest.raises(ValueError, match=r"take 1048576.0 GiB in .*, where"):
        check_disk(tmp_path, 1 << 50)


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), explained(tmp_path):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


@pytest.mark.slow
def test_a_missing_deepspeed_operator_is_one_message(tmp_path: Path) -> None:
    """DeepSpeed itself, in a process that finds neither ninja nor a compiler."""
    code = (
        "import os; os.environ['PATH'] = '/nowhere'; os.environ['TORCH_EXTENSIONS_DIR'] = os.getcwd()\n"
        "from gist_core.training.failures import explained\n"
        "from pathlib import Path\n"
        "from deepspeed.ops.op_builder.cpu import CPUAdamBuilder\n"
        "with explained(Path('.')):\n    CPUAdamBuilder().load()"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert result.stderr.rstrip().splitlines()[-1].startswith("ValueError: DeepSpeed could not load"), result.stderr
