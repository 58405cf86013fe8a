"""Throughput of gist caching against no caching and instruction caching, and of batched against one-by-one compression.

    python benchmarks/gist_caching.py [--model data/models/gist-1]

Prints ratios of medians of runs done in turn, for prompts of 25, 200 and 1,000 tokens at batch sizes 1, 8 and 32. One run
is the forward pass up to the first answer token; the caches are made beforehand (the paper's protocol, section 6.2).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from gist_core.benchmark.measure import STRATEGIES, ForwardPass, Prompt
from gist_core.cache import compress
from gist_core.models.gist_model import GistModel

SENTENCE = "Read the text below and answer in one short sentence without adding anything that it does not say. "


def instruction_of(gist_model: GistModel, tokens: int) -> str:
    """Plain words, cut to about that many tokens."""
    ids = gist_model.tokenizer(SENTENCE * (tokens // 10 + 1), add_special_tokens=False).input_ids[:tokens]
    return gist_model.tokenizer.decode(ids)


def median_ms(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median time of each function, called in turn so that a drift of the machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, function in runs.items():
            started = time.perf_counter()
            function()
            times[name].append((time.perf_counter() - started) * 1e3)
    return {name: statistics.median(values[1:]) for name, values in times.items()}  # the first is a warm-up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="data/models/gist-1", help="folder of a trained gist model")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    gist_model = GistModel.from_pretrained(args.model)
    print(f"{args.model}, {torch.get_num_threads()} threads, fp32, medians of {args.repeats} runs in turn")
    print("| prompt tokens | batch | none ms | instruction ms | gist ms | none / gist | instruction / gist |")
    print("|---|---|---|---|---|---|---|")
    for tokens in (25, 200, 1000):
        for batch_size in (1, 8, 32):
            prompts = [
                Prompt(str(i), instruction_of(gist_model, tokens), f"Item {i} is blue.") for i in range(batch_size)
            ]
            passes = {strategy: ForwardPass(gist_model, prompts, strategy) for strategy in STRATEGIES}
            ms = {s: [] for s in STRATEGIES}
            for repeat in range(args.repeats + 1):
                for strategy in STRATEGIES:
                    elapsed = passes[strategy].time_ms()[0]
                    if repeat:  # the first is a warm-up
                        ms[strategy].append(elapsed)
            none, instruction, gist = (statistics.median(ms[s]) for s in STRATEGIES)
            print(
                f"| {tokens} | {batch_size} | {none:.1f} | {instruction:.1f} | {gist:.1f} | {none / gist:.2f} "
                f"| {instruction / gist:.2f} |",
                flush=True,
            )
    print("\n| prompt tokens | 8 prompts one by one, ms | 8 at once, ms | ratio |\n|---|---|---|---|")
    for tokens in (25, 200, 1000):
        texts = [instruction_of(gist_model, tokens - i) for i in range(8)]
        ms_by_way = median_ms(
            {
                "alone": lambda texts=texts: [compress(gist_model, [text]) for text in texts],
                "batch": lambda texts=texts: compress(gist_model, texts, batch_size=8),
            },
            args.repeats,
        )
        alone, batch = ms_by_way["alone"], ms_by_way["batch"]
        print(f"| {tokens} | {alone:.1f} | {batch:.1f} | {alone / batch:.2f} |", flush=True)


if __name__ == "__main__":
    main()
