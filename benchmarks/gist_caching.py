"""Speed of gist caching against no caching and instruction caching, and of batched against one-by-one compression.

    python benchmarks/gist_caching.py [--model data/models/gist-1]

Runs all ways in turn, and prints medians and their ratios for prompts of 25, 200 and 1,000 tokens at batch sizes 1, 8 and 32.
One run is the forward pass up to the first answer token; the caches are made beforehand (the paper's protocol, section 6.2).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from gist_core.benchmark.measure import ForwardPass
from gist_core.benchmark.summary import STRATEGIES
from gist_core.cache import compress
from gist_core.data.prompt import Prompt
from gist_core.models.gist_model import GistModel

SENTENCE = "Read the text below and answer in one short sentence without adding anything that it does not say. "


def instruction_of(gist_model: GistModel, tokens: int) -> str:
    """Plain words, cut to about this many tokens."""
    ids = gist_model.tokenizer(SENTENCE * (tokens // 10 + 1), add_special_tokens=False).input_ids[:tokens]
    return gist_model.tokenizer.decode(ids)


def median_ms(runs: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Median of the times that each function returns; called in turn, so that a drift of the machine affects all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, function in runs.items():
            times[name].append(function())
    return {name: statistics.median(values[1:]) for name, values in times.items()}  # the first is a warm-up


def pass_ms(forward: ForwardPass) -> float:
    """One forward pass: device time on a GPU, wall time elsewhere."""
    wall, device, _ = forward.time_ms()
    return wall if device is None else device


def compress_ms(gist_model: GistModel, batches: list[list[str]]) -> float:
    """Wall time of compressing batch after batch."""
    started = time.perf_counter()
    for texts in batches:
        compress(gist_model, texts, batch_size=len(texts))
    if gist_model.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="data/models/gist-1", help="folder of a trained gist model")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--tokens", type=int, nargs="+", default=[25, 200, 1000], help="prompt lengths")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32])
    args = parser.parse_args()
    gist_model = GistModel.from_pretrained(args.model, device=args.device, dtype=getattr(torch, args.dtype))
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{args.model}, {where}, {args.dtype}, medians of {args.repeats} runs in turn")
    print("| prompt tokens | batch | none ms | instruction ms | gist ms | none / gist | instruction / gist |")
    print("|---|---|---|---|---|---|---|")
    for tokens in args.tokens:
        text = instruction_of(gist_model, tokens)
        for size in args.batch_sizes:
            prompts = [Prompt(str(i), text, f"Item {i} is blue.") for i in range(size)]
            passes = {strategy: ForwardPass(gist_model, prompts, strategy) for strategy in STRATEGIES}
            ms = median_ms({name: lambda one=one: pass_ms(one) for name, one in passes.items()}, args.repeats)
            none, instruction, gist = (ms[strategy] for strategy in STRATEGIES)
            print(
                f"| {tokens} | {size} | {none:.1f} | {instruction:.1f} | {gist:.1f} | {none / gist:.2f} "
                f"| {instruction / gist:.2f} |",
                flush=True,
            )
    print("\n| prompt tokens | 8 prompts one by one, ms | 8 at once, ms | ratio |\n|---|---|---|---|")
    for tokens in args.tokens:
        texts = [instruction_of(gist_model, tokens - i) for i in range(8)]
        ways = {"alone": [[text] for text in texts], "batch": [texts]}
        ms = median_ms(
            {name: lambda way=way: compress_ms(gist_model, way) for name, way in ways.items()},
            args.repeats,
        )
        print(f"| {tokens} | {ms['alone']:.1f} | {ms['batch']:.1f} | {ms['alone'] / ms['batch']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
