"""What a training step costs: gist against pos_control, and ours against the recipe of the paper's release.

    python benchmarks/training_speed.py --alpaca ../shared/data/upstream/alpaca_data.json [--model data/base_model]

Rows are real ones, taken in the order of the SHA-256 of their content. All ways train on the same rows, in turn and in
alternating order, and the fastest of a few runs on each batch counts. A step is collation, forward, backward and AdamW in
float32. The released recipe, rebuilt here: rows in random batches padded on the left, a dense additive (batch, 1, seq, seq)
mask, logits at every position. It must give the same loss as ours, or the benchmark ends. Peak memory is that of a process
of its own that takes the longest of the batches.
"""

import argparse
import hashlib
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from gist_core.data.prompt import GIST_TOKEN
from gist_core.masks import Condition, GistSpan, decoder_bounds
from gist_core.models.attention import attach_gist_attention
from gist_core.models.gist_model import pad_rows
from gist_core.training.collate import IGNORED, Collator
from gist_core.training.examples import Example, Limits, make_examples

Step = Callable[[Sequence[Example]], torch.Tensor]
WAYS = ("gist", "pos_control", "recipe")


class Bench:
    """One model and optimizer that every way trains in turn. Row capacity is the longest row allowed, as in training."""

    def __init__(self, folder: Path, max_length: int) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
        self.model.get_input_embeddings().requires_grad_(False)  # as the default run
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-6)
        self.max_length = max_length
        self._labelled: torch.Tensor | None = None

    def loss(self, way: str, examples: Sequence[Example]) -> torch.Tensor:
        return self.recipe(examples) if way == "recipe" else self.ours(way, examples)  # type: ignore[arg-type]

    def ours(self, condition: Condition, examples: Sequence[Example]) -> torch.Tensor:
        """Packed rows, bounds in place of a mask, logits only where there is a label: what the train stage does."""
        batch = Collator(condition, "packed", self.tokenizer.pad_token_id, self.max_length)(examples)
        labels = batch.pop("labels")
        labelled = labels != IGNORED
        gist = self.tokenizer.get_vocab()[GIST_TOKEN]
        hooks = attach_gist_attention(self.model, condition=condition, gist_token_id=gist, num_gist_tokens=1)
        head = self.model.get_output_embeddings()
        hooks.append(head.register_forward_pre_hook(lambda module, args: (args[0][labelled],)))
        try:
            logits = self.model(**batch, use_cache=False).logits
        finally:
            for hook in hooks:
                hook.remove()
        return nn.functional.cross_entropy(logits.float(), labels[labelled])

    def recipe(self, examples: Sequence[Example]) -> torch.Tensor:
        """The release's: left padding, a dense mask of the gist condition, cross-entropy over all positions."""
        rows = [example.prompt + example.answer for example in examples]
        batch = pad_rows(rows, self.tokenizer.pad_token_id, "left")
        count, width = batch.input_ids.shape
        offsets = torch.tensor([width - len(row) for row in rows])
        starts = torch.tensor([example.gist_start for example in examples]) + offsets
        ends = torch.tensor([example.gist_end for example in examples]) + offsets
        slots = torch.arange(width)
        first = decoder_bounds("gist", GistSpan(starts, ends), slots[None]).first
        allowed = (slots[None, None] >= first[..., None]) & (slots[None, :, None] >= slots[None, None])
        allowed &= batch.attention_mask[:, None].bool()
        mask = torch.zeros(count, 1, width, width).masked_fill(~allowed[:, None], torch.finfo(torch.float32).min)
        labels = torch.full_like(batch.input_ids, IGNORED)
        for row, example in enumerate(examples):
            labels[row, width - len(example.answer) :] = torch.tensor(example.answer)
        positions = (batch.attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        logits = self.model(batch.input_ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        shifted = logits[:, :-1].float().reshape(-1, logits.shape[-1])
        return nn.functional.cross_entropy(shifted, labels[:, 1:].reshape(-1), ignore_index=IGNORED)

    def step_s(self, way: str, examples: Sequence[Example]) -> float:
        """Seconds of one optimizer step."""
        started = time.perf_counter()
        self.loss(way, examples).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - started

    def check_same_loss(self, examples: Sequence[Example]) -> None:
        with torch.no_grad():
            ours, recipe = (float(self.loss(way, examples)) for way in ("gist", "recipe"))
        if abs(ours - recipe) > 1e-4:
            raise SystemExit(f"the rebuilt recipe's loss is {recipe}, ours {ours}: they do not train the same thing")
        print(f"same rows, same weights: loss {ours:.6f} packed, {recipe:.6f} in the recipe\n")


def batches_of(bench: Bench, alpaca: Path, batch_size: int, count: int) -> list[list[Example]]:
    """`count` batches of real rows in an order that depends on their content only."""
    rows = json.loads(alpaca.read_text(encoding="utf-8"))
    keyed = {hashlib.sha256(json.dumps(row).encode()).hexdigest(): row for row in rows if row["output"]}
    chosen = sorted(keyed)[: batch_size * count * 2]
    examples, _ = make_examples(
        ((key, keyed[key]["instruction"], keyed[key]["input"], keyed[key]["output"]) for key in chosen),
        bench.tokenizer,
        num_gist_tokens=1,
        is_encoder_decoder=False,
        limits=Limits(total=bench.max_length),
    )
    return [examples[i * batch_size : (i + 1) * batch_size] for i in range(count)]


def peak_memory_mib(way: str) -> int:
    """Peak resident memory of two steps of one way in a new process, which prints it last."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", way]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(result.stdout.split()[-1])


def peak_resident_mib() -> int:
    """Of this process (Linux). Not `ru_maxrss`, which a started process inherits from the one that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alpaca", type=Path, required=True, help="the upstream alpaca_data.json")
    parser.add_argument("--model", type=Path, default=Path("data/base_model"), help="what the base_model stage made")
    parser.add_argument("--batch-size", type=int, default=8, help="rows per step")
    parser.add_argument("--steps", type=int, default=5, help="batches, each timed in every way")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way on each batch; the fastest counts")
    parser.add_argument("--max-length", type=int, default=512, help="longest row, in tokens")
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    bench = Bench(args.model, args.max_length)
    batches = batches_of(bench, args.alpaca, args.batch_size, args.steps)
    if args.peak_of:
        longest = max(batches, key=lambda batch: max(example.num_tokens for example in batch))
        for _ in range(2):
            bench.step_s(args.peak_of, longest)
        print(peak_resident_mib())
        return
    lengths = [example.num_tokens for batch in batches for example in batch]
    print(
        f"{args.model}, {torch.get_num_threads()} threads, fp32; {args.steps} steps of {args.batch_size} rows, "
        f"{statistics.mean(lengths):.0f} tokens a row on average, {max(lengths)} at most",
        flush=True,
    )
    bench.check_same_loss(batches[0])
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for batch in batches:
        rounds = [WAYS if repeat % 2 else WAYS[::-1] for repeat in range(args.repeats)]
        taken: dict[str, list[float]] = {}
        for order in rounds:
            for way in order:
                taken.setdefault(way, []).append(bench.step_s(way, batch))
        for way in WAYS:
            seconds[way].append(min(taken[way]))  # what else the machine did only ever adds
    for name, above, below in (("gist / pos_control", "gist", "pos_control"), ("recipe / gist", "recipe", "gist")):
        ratios = sorted(a / b for a, b in zip(seconds[above], seconds[below], strict=True))
        print(
            f"{name}, paired step times: median {statistics.median(ratios):.3f} (from {ratios[0]:.3f} to "
            f"{ratios[-1]:.3f}), of the sums {sum(seconds[above]) / sum(seconds[below]):.3f}"
        )
    del bench.model, bench.optimizer
    print("\n| way | step, median s | tokens/s | peak memory, MiB |\n|---|---|---|---|")
    for way in WAYS:
        speed = sum(lengths) / sum(seconds[way])
        print(f"| {way} | {statistics.median(seconds[way]):.2f} | {speed:.0f} | {peak_memory_mib(way)} |", flush=True)


if __name__ == "__main__":
    main()
