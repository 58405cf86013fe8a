"""The judge asked at a scripted server, with waits short enough for tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gist_core.scoring.judge.openai_judge import judge_with_openai
from gist_core.scoring.judge.pair import Pair, Protocol
from gist_core.scoring.judge.prices import Prices
from gist_core.scoring.judge.settings import OpenAISettings
from gist_core.scoring.judge.store import CallStore
from gist_core.scoring.judge.verdict import Verdict

from .scripted_server import ScriptedServer

PRICES = Prices("2025-08-01", input_usd_per_million=1.0, output_usd_per_million=10.0)


def make_pairs(count: int) -> list[Pair]:
    return [Pair(f"row {i}", f"task {i}", "", "reference", "x" * (i % 5 + 1), "y" * (i % 3 + 2)) for i in range(count)]


def judge(
    server: ScriptedServer,
    store: Path,
    pairs: Sequence[Pair],
    protocol: Protocol = "paper",
    api_key: str = "any",
    **changes: Any,
) -> list[Verdict]:
    settings = OpenAISettings(model="judge", base_url=server.base_url, **{"timeout_s": 2.0, "poll_s": 0.01} | changes)
    with CallStore(store) as calls:
        return judge_with_openai({"human": pairs}, protocol, 0, settings, calls, api_key=api_key)["human"]
