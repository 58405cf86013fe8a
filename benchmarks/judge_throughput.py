"""Verdicts per second against an endpoint at several concurrencies.

    python benchmarks/judge_throughput.py                                             # a local server that only waits
    python benchmarks/judge_throughput.py --base-url http://localhost:8000/v1 --model SmolLM2 --rows 16

Without --base-url it starts the scripted server of the tests in a process of its own. That server answers each call after
--latency-ms, so the client and the store are measured, not a language model. Each concurrency asks all rows anew.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gist_core.scoring.judge.openai_judge import judge_with_openai
from gist_core.scoring.judge.pair import Pair
from gist_core.scoring.judge.settings import OpenAISettings
from gist_core.scoring.judge.store import CallStore

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=200)
parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
parser.add_argument("--latency-ms", type=float, default=50.0, help="of the scripted server")
parser.add_argument("--base-url", help="an endpoint that speaks OpenAI's protocol; the key from OPENAI_API_KEY")
parser.add_argument("--model", default="scripted")


def measure(base_url: str, model: str, rows: int, concurrency: int) -> None:
    pairs = [
        Pair(f"row {i}", f"Name {i} things.", "", "", f"one thing {i}", f"two things, {i} and more")
        for i in range(rows)
    ]
    settings = OpenAISettings(model=model, base_url=base_url, concurrency=concurrency, timeout_s=300.0)
    key = os.environ.get("OPENAI_API_KEY", "none")
    with tempfile.TemporaryDirectory() as folder, CallStore(Path(folder) / "calls.sqlite") as store:
        begun = time.perf_counter()
        verdicts = judge_with_openai({"all": pairs}, "paper", 0, settings, store, api_key=key)["all"]
        seconds = time.perf_counter() - begun
    ok = sum(verdict.status == "ok" for verdict in verdicts)
    print(f"concurrency {concurrency:3}: {rows / seconds:7.1f} verdicts/s ({seconds:.2f} s, {ok} of {rows} ok)")


if __name__ == "__main__":
    arguments = parser.parse_args()
    server = None
    if arguments.base_url is None:
        command = [sys.executable, "-m", "tests.scoring.scripted_server", str(arguments.latency_ms / 1000)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
        assert server.stdout is not None
        arguments.base_url = server.stdout.readline().strip()
    try:
        for concurrency in arguments.concurrency:
            measure(arguments.base_url, arguments.model, arguments.rows, concurrency)
    finally:
        if server is not None:
            server.kill()
            server.wait()
