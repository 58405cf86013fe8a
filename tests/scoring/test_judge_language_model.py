"""The judge against a real language model behind `transformers serve`: a tiny Llama with random weights, made here.

It answers noise, so what is proved is the wiring: real tokens, real token counts, a status for every row. Set
GIST_JUDGE_MODEL to the folder of a trained model with a chat template (e.g. data/base_model) to ask that one instead."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from gist_core.scoring.judge.openai_judge import OpenAISettings, judge_with_openai
from gist_core.scoring.judge.pair import Pair
from gist_core.scoring.judge.store import CallStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"


def make_tiny_model(folder: Path) -> Path:
    """Two layers of random weights and a byte-level tokenizer with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<eos>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["choose the better answer"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")
    fast.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=8192,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_real_language_model_gives_every_row_a_verdict_with_token_counts(tmp_path: Path) -> None:
    given = os.environ.get("GIST_JUDGE_MODEL")
    folder = Path(given).resolve() if given else make_tiny_model(tmp_path / "model")
    port = free_port()
    transformers = Path(sys.executable).with_name("transformers")
    command = [str(transformers), "serve", str(folder), "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        deadline = time.monotonic() + 600
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, "transformers serve ended by itself"
                assert time.monotonic() < deadline
                time.sleep(0.5)
        settings = OpenAISettings(
            model=str(folder),
            base_url=f"http://127.0.0.1:{port}/v1",
            max_output_tokens=40,
            timeout_s=300,
            concurrency=1,
        )
        pairs = [Pair(f"row {i}", "Name a colour.", "", "Red.", f"Blue {i}.", f"Seven {i}.") for i in range(3)]
        with CallStore(tmp_path / "calls.sqlite") as store:
            verdicts = judge_with_openai({"human": pairs}, "paper", 0, settings, store, api_key="none")["human"]
    finally:
        server.kill()
        server.wait()
    for verdict in verdicts:
        (call,) = verdict.calls
        print(verdict.status, call.error, repr(call.raw)[:200])
        assert verdict.status in ("ok", "unparsable"), call.error
        assert call.raw is not None
        assert (call.prompt_tokens or 0) > 100
        assert 0 < (call.completion_tokens or 0) <= 40
