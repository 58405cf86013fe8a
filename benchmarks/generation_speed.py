"""Time to answer the rows of a split, with rows that have ended left out of their batch and without.

    python benchmarks/generation_speed.py [--model data/models/gist-1] [--batch-sizes 32 128]

Answers from cached gists, prompts of similar length together, as the stage `generate` does; the caches are made beforehand. Both
ways run in turn; printed are medians, their ratio, and how many rows got other tokens (only a near tie may, see
gist_exactness.py).
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from gist_core.cache import compress, generate
from gist_core.data.rows import read_rows
from gist_core.models.gist_model import GistModel

# With a processor of its own, or an empty list of them, a batch is decoded to its end by one call of transformers' `generate`.
WAYS = {"whole": {"logits_processor": []}, "dropped": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="data/models/gist-1", help="folder of a trained gist model")
    parser.add_argument("--data", default="data/alpaca_plus", type=Path)
    parser.add_argument("--splits", nargs="+", default=["seen", "unseen", "human"])
    parser.add_argument("--rows", type=int, default=128, help="at most so many of each split")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    args = parser.parse_args()
    gist_model = GistModel.from_pretrained(args.model, device=args.device, dtype=getattr(torch, args.dtype))
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"{args.model}, {where}, {args.dtype}, up to {args.max_new_tokens} new tokens, medians of {args.repeats} in turn"
    )
    print("| split | rows | mean tokens | batch | whole s | dropped s | whole / dropped | rows that differ |")
    print("|---|---|---|---|---|---|---|---|")
    for split in args.splits:
        rows = read_rows(args.data / f"{split}.parquet")[: args.rows]
        rows.sort(key=lambda row: len(row.instruction) + len(row.input))
        cache, inputs = compress(gist_model, [row.instruction for row in rows]), [row.input for row in rows]
        for size in args.batch_sizes:
            seconds: dict[str, list[float]] = {way: [] for way in WAYS}
            answers = {}
            for _ in range(args.repeats):
                for way, options in WAYS.items():
                    started = time.perf_counter()
                    answers[way] = generate(
                        gist_model, cache, inputs, batch_size=size, max_new_tokens=args.max_new_tokens, **options
                    ).cpu()
                    seconds[way].append(time.perf_counter() - started)
            differing = int((answers["whole"] != answers["dropped"]).any(dim=1).sum())
            tokens = float((answers["dropped"] != gist_model.tokenizer.pad_token_id).sum(dim=1).double().mean())
            whole, dropped = (statistics.median(seconds[way]) for way in WAYS)
            print(
                f"| {split} | {len(rows)} | {tokens:.1f} | {size} | {whole:.2f} | {dropped:.2f} | {whole / dropped:.2f} "
                f"| {differing} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
