"""The paper's published efficiency figures from its released measurements, to hold our arithmetic against.

One CSV per comparison, two rows per prompt (`model`: "standard" is no caching, "gist" is the cached pass), times in
microseconds, FLOPs at two per multiply-add. `effective_num_gist_tokens` is the length of the cache: 1 in the file for
gist caching, the instruction's length in the file for instruction caching."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from gist_core.benchmark.flops import DecoderShape, decoder_flops

Z95 = 1.959963984540054  # the 97.5 % point of the standard normal


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


def relative_difference_normal(without: list[float], cached: list[float]) -> tuple[float, float, float]:
    """(estimate, low, high) in %: the estimator of the paper's efficiency table.

    Estimate: difference of the means over the mean without caching. Interval: the normal 95 % interval of the mean
    paired difference, over the same mean without caching, which is taken as fixed. On the released files this gives
    39.6 % [36.9, 42.3] FLOPs and 6.8 % [5.5, 8.1] CUDA time, as published; a t interval would print [36.8, 42.4].
    The second mean varies from sample to sample as well: a bootstrap over the prompts, which lets it, gives the wider
    [34.9, 44.7] for FLOPs."""
    if len(without) != len(cached) or len(without) < 2:
        raise ValueError(f"a paired interval needs at least two pairs, got {len(without)} and {len(cached)} values")
    n = len(without)
    differences = [a - b for a, b in zip(without, cached, strict=True)]
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    half = Z95 * math.sqrt(variance / n)
    scale = 100 * n / sum(without)
    return mean * scale, (mean - half) * scale, (mean + half) * scale


def formula_gflops(released: ReleasedPass, shape: DecoderShape) -> float:
    """The formula's GFLOPs for a released pass; the release kept the logits of every new token."""
    return decoder_flops(shape, released.new_tokens, released.cached_tokens) / 1e9
