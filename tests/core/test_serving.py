"""A service: threads, interrupts, files that others write, models that are replaced under it."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch
from transformers import TextStreamer

from gist_core.cache import GistCache, compress, generate, load_cache, save_cache
from gist_core.models import gist_model as gist_model_module
from gist_core.models.gist_model import GistModel, GistSettings
from tests.tiny import tiny_gist_model, tiny_model

PROMPTS = ["Sort the list.", "Name a colour. " * 4]


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("interrupted", ["compress", "generate", "generate_masked"])
def test_an_interrupt_leaves_no_mask_behind(family: str, interrupted: str) -> None:
    gist_model, stock = tiny_gist_model(family, "gist", 2), tiny_model(family)
    ids = {"input_ids": torch.tensor([[5, 6, 7, 8, 9, 10]])}
    ids |= {"decoder_input_ids": torch.tensor([[0, 5]])} if gist_model.is_encoder_decoder else {}
    before = stock(**ids).logits
    masked = gist_model.generate_masked(PROMPTS, ["a", "b"], max_new_tokens=3)
    cache = compress(gist_model, PROMPTS)
    last = (gist_model.model.get_encoder().block if family == "t5" else gist_model.model.get_decoder().layers)[-1]

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    calls = {
        "compress": lambda: compress(gist_model, PROMPTS),
        "generate": lambda: generate(gist_model, cache, ["a", "b"], max_new_tokens=3),
        "generate_masked": lambda: gist_model.generate_masked(PROMPTS, ["a", "b"], max_new_tokens=3),
    }
    with last.register_forward_hook(stop), pytest.raises(KeyboardInterrupt):
        calls[interrupted]()
    assert torch.equal(stock(**ids).logits, before)
    assert torch.equal(gist_model.generate_masked(PROMPTS, ["a", "b"], max_new_tokens=3), masked)


def test_a_forward_pass_that_was_interrupted_does_not_mask_the_next_model_of_the_library() -> None:
    gist_model, control = tiny_gist_model("llama", "gist", 2), tiny_gist_model("llama", "pos_control", 2)
    ids = torch.tensor([gist_model.encode_instructions(["Sort."])[0]])
    before = control.model(input_ids=ids).logits
    interrupt = gist_model.model.get_decoder().layers[-1].register_forward_hook(_interrupt)
    with pytest.raises(KeyboardInterrupt):
        gist_model.model(input_ids=ids)
    interrupt.remove()
    assert torch.equal(control.model(input_ids=ids).logits, before)


def _interrupt(*args: object) -> None:
    raise KeyboardInterrupt


def test_a_user_may_call_the_tokenizer_while_others_answer() -> None:
    interval = sys.getswitchinterval()
    gist_model, over = tiny_gist_model("llama", "gist", 2), Event()

    def use() -> None:
        while not over.is_set():
            gist_model.tokenizer("hello <eos>")

    expected = gist_model.encode_inputs(["a <eos> b"])[0]
    user = Thread(target=use)
    user.start()
    sys.setswitchinterval(1e-6)  # one thread may stop another anywhere
    try:
        assert all(gist_model.encode_inputs(["a <eos> b"])[0] == expected for _ in range(15_000))
    finally:
        sys.setswitchinterval(interval)
        over.set()
        user.join()


def test_many_may_write_and_read_one_path(tmp_path: Path) -> None:
    gist_model, path = tiny_gist_model("llama", "gist", 2), tmp_path / "c.safetensors"
    caches = [compress(gist_model, PROMPTS), compress(gist_model, PROMPTS * 3)]
    save_cache(caches[0], path)

    def write(number: int) -> None:
        save_cache(caches[number % 2], path)

    with ThreadPoolExecutor(6) as pool:
        written, read = pool.map(write, range(60)), pool.map(lambda _: load_cache(path), range(60))
        assert len(list(written)) == 60
        assert {len(cache) for cache in read} <= {2, 6}
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


def test_a_loaded_cache_does_not_change_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_cache(compress(tiny_gist_model("llama", "gist", 2), PROMPTS), path)
    cache = load_cache(path)
    before = cache.keys[0].clone()
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)
    assert torch.equal(cache.keys[0], before)


def test_a_model_whose_folder_was_changed_since_makes_no_cache_in_its_name(tmp_path: Path) -> None:
    made = tiny_gist_model("llama", "gist", 2)
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    GistSettings("gist", 2).save(tmp_path)
    unchanged, changed = GistModel.from_pretrained(tmp_path), GistModel.from_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("a card")
    compress(unchanged, PROMPTS)
    tiny_gist_model("llama", "gist", 2, seed=1).model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has changed since this model was loaded from it; load it once more"):
        compress(changed, PROMPTS)


def test_a_model_whose_folder_is_changed_while_it_is_loaded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_gist_model("llama", "gist", 2)
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    GistSettings("gist", 2).save(tmp_path)
    (tmp_path / "extra").mkdir()
    load = gist_model_module.load_pretrained

    def load_slowly(*args: Any, **kwargs: Any) -> Any:
        loaded = load(*args, **kwargs)
        (tmp_path / "extra" / "merges.txt").write_text("of another model")  # the fingerprint covers it
        return loaded

    monkeypatch.setattr(gist_model_module, "load_pretrained", load_slowly)
    with pytest.raises(ValueError, match="was changed while it was loaded; load it once more"):
        GistModel.from_pretrained(tmp_path)


def test_a_model_that_was_pickled_answers_in_another_process(tmp_path: Path) -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    expected = gist_model.generate_masked(PROMPTS, ["a", "b"], max_new_tokens=3).tolist()
    (tmp_path / "model").write_bytes(pickle.dumps((gist_model, PROMPTS)))
    program = (
        "import pickle, sys; gist_model, prompts = pickle.load(open(sys.argv[1], 'rb')); "
        "print(gist_model.generate_masked(prompts, ['a', 'b'], max_new_tokens=3).tolist())"
    )
    found = subprocess.run([sys.executable, "-c", program, tmp_path / "model"], capture_output=True, text=True)
    assert found.stdout.strip() == str(expected), found.stderr


def test_what_belongs_to_one_answer_or_one_row_keeps_to_it() -> None:
    gist_model = tiny_gist_model("llama", "gist", 2)
    cache, inputs = compress(gist_model, PROMPTS[:1]), ["a", "b", "c"]
    with pytest.raises(ValueError, match="a streamer takes one answer, and there are 3 inputs"):
        generate(gist_model, cache, inputs, streamer=TextStreamer(gist_model.tokenizer))
    allowed = generate(
        gist_model, cache, inputs, batch_size=2, max_new_tokens=2, prefix_allowed_tokens_fn=lambda row, ids: [40 + row]
    )
    assert allowed.tolist() == [[40, 40], [41, 41], [42, 42]]


def test_a_cache_is_shown_in_a_line_and_compared_by_identity() -> None:
    cache: GistCache = compress(tiny_gist_model("llama", "gist", 2), PROMPTS)
    assert repr(cache).startswith("GistCache(2 prompts of k=2, ")
    assert len(repr(cache)) < 120
    assert cache == cache
    assert cache != cache.select([0, 1])
