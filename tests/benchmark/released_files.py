"""Reads the measurements that the paper's authors released, to hold our arithmetic against what they published from them.

One CSV per comparison, two rows per prompt (`model`: "standard" is no caching, "gist" is the cached pass), times in
microseconds, FLOPs at two per multiply-add. `effective_num_gist_tokens` is the length of the cache: 1 in the file for
gist caching, the instruction's length in the file for instruction caching."""

import csv
from dataclasses import dataclass
from pathlib import Path

from gist_core.benchmark.flops import DecoderShape, decoder_flops

LLAMA_7B = DecoderShape(
    layers=32, hidden=4096, intermediate=11008, heads=32, kv_heads=32, head_dim=128, vocab=32000, gated=True
)


@dataclass(frozen=True)
class ReleasedPass:
    """One measured forward pass of the release."""

    prompt_id: int
    cached: bool
    new_tokens: int
    cached_tokens: int
    device_ms: float
    gflops: float


def read_release(path: Path) -> list[ReleasedPass]:
    """Reads one released CSV.

    Raises:
        ValueError: a column is missing.
    """
    with path.open(encoding="utf-8", newline="") as file:
        try:
            return [
                ReleasedPass(
                    prompt_id=int(row["id"]),
                    cached=row["model"] == "gist",
                    new_tokens=int(row["num_input_tokens" if row["model"] == "gist" else "num_prompt_tokens"]),
                    cached_tokens=int(row["effective_num_gist_tokens"]) if row["model"] == "gist" else 0,
                    device_ms=int(row["cuda_time"]) / 1e3,
                    gflops=int(row["flops"]) / 1e9,
                )
                for row in csv.DictReader(file)
            ]
        except KeyError as error:
            raise ValueError(f"{path} has no column {error}; it is not a benchmark file of the release") from None


def pairs(passes: list[ReleasedPass], quantity: str) -> tuple[list[float], list[float]]:
    """(without caching, with the cache) of `quantity` ("device_ms" or "gflops"), in the order of the prompts."""
    without = {p.prompt_id: getattr(p, quantity) for p in passes if not p.cached}
    cached = {p.prompt_id: getattr(p, quantity) for p in passes if p.cached}
    order = sorted(without.keys() & cached.keys())
    return [without[i] for i in order], [cached[i] for i in order]


def formula_gflops(released: ReleasedPass, shape: DecoderShape) -> float:
    """The formula's GFLOPs for a released pass; the release kept the logits of every new token."""
    return decoder_flops(shape, released.new_tokens, released.cached_tokens) / 1e9
