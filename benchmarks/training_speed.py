"""What a training step costs: gist against pos_control, and ours against the recipe of the paper's release.

    python benchmarks/training_speed.py --alpaca alpaca_data.json [--model data/base_model]
    ... --device cuda --bf16 --batch-size 128 --peak-tflops 989 --in-a-row 4 [--attention ...] [--compile ours]    # on an H100

Rows are real ones, taken in the order of the SHA-256 of their content. All ways train on the same rows, in turn and in
alternating order; of a few runs on each batch the fastest counts. A step is collation, forward, backward and (fused) AdamW,
with weights in float32. With `--in-a-row` a GPU may work on one step while the host prepares the next, as in a training.

The released recipe is rebuilt here: rows in random batches padded on the left, a dense additive (batch, 1, seq, seq) mask
under sdpa, logits at every position. It must give the same loss as ours, or the benchmark ends. Its logits fill a GPU long
before ours do, so leave it out for larger batches (`--ways gist pos_control padded`).

Peak memory is that of two steps of the batch with the longest row: allocated on the GPU, or else resident in a process of its
own. Utilisation is the FLOPs by formula, for forward and backward of each row by itself without padding, over the peak that
`--peak-tflops` names. Every row counts whole, even in neg_control, which leaves out what no labelled token sees.
"""

import argparse
import hashlib
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from gist_core.benchmark.flops import DecoderShape, decoder_flops, shape_of
from gist_core.data.prompt import GIST_TOKEN
from gist_core.masks import Condition, GistSpan, decoder_bounds
from gist_core.models.attention import FLEX_BLOCK, SUPPORTED_IMPLEMENTATIONS, attach_gist_attention
from gist_core.models.tokens import pad_rows
from gist_core.training.collate import IGNORED, Collator
from gist_core.training.compiled import compile_layers
from gist_core.training.examples import Batching, Example, Limits, make_examples
from gist_core.training.head import TrainingHead, cross_entropy, only_labelled

WAYS = ("gist", "pos_control", "neg_control", "padded", "recipe")


class Bench:
    """One model and optimizer, which all ways train in turn. Row capacity is the longest row allowed, as in training."""

    def __init__(
        self,
        folder: Path,
        max_length: int,
        *,
        device: str,
        bf16: bool,
        attention: str,
        compiled: Literal["ours", "all"] | None = None,
        in_a_row: int = 1,
    ) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.compiled, self.in_a_row = compiled, in_a_row
        self.device, self.bf16, self.attention = torch.device(device), bf16, attention
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)
        self.model: PreTrainedModel = model.to(self.device).train()
        self.model.get_input_embeddings().requires_grad_(False)  # as in the default run
        self.gist_token_id = self.tokenizer.get_vocab()[GIST_TOKEN]
        self.head = TrainingHead(self.model, self.gist_token_id)
        self.cross_entropy = torch.compile(cross_entropy, dynamic=True) if compiled else cross_entropy
        if compiled:
            compile_layers(self.model)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)  # as in training
        self.max_length = max_length

    def loss(self, way: str, examples: Sequence[Example]) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            if way == "recipe":
                with torch.compiler.set_stance("default" if self.compiled == "all" else "force_eager"):
                    return self.recipe(examples)
            return self.ours("gist", examples, "padded") if way == "padded" else self.ours(way, examples)  # type: ignore[arg-type]

    def ours(self, condition: Condition, examples: Sequence[Example], batching: Batching = "packed") -> torch.Tensor:
        """Packed or padded rows, bounds in place of a mask, logits only where there is a label: what the train stage does."""
        self.model.set_attn_implementation(self.attention)
        collator = Collator(
            condition,
            batching,
            self.tokenizer.pad_token_id,
            self.max_length,
            width_multiple=FLEX_BLOCK if self.attention == "flex_attention" else 1,
        )
        rows = only_labelled(collator(examples))
        if self.device.type == "cuda":
            rows = {name: tensor.pin_memory() for name, tensor in rows.items()}
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in rows.items()}
        slots, labels = batch.pop("slots"), batch.pop("labels")
        hooks = attach_gist_attention(
            self.model, condition=condition, gist_token_id=self.gist_token_id, num_gist_tokens=1
        )
        try:
            with self.head.only(slots):
                logits = self.model(**batch, use_cache=False).logits
        finally:
            for hook in hooks:
                hook.remove()
        return self.cross_entropy(logits, labels) / len(slots)

    def recipe(self, examples: Sequence[Example]) -> torch.Tensor:
        """What the release does: left padding, a dense mask of the gist condition, cross-entropy over all positions."""
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
        dtype = torch.bfloat16 if self.bf16 else torch.float32
        mask = torch.zeros(count, 1, width, width, dtype=dtype).masked_fill(~allowed[:, None], torch.finfo(dtype).min)
        labels = torch.full_like(batch.input_ids, IGNORED)
        for row, example in enumerate(examples):
            labels[row, width - len(example.answer) :] = torch.tensor(example.answer)
        positions = (batch.attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        ids, mask, positions, labels = (t.to(self.device) for t in (batch.input_ids, mask, positions, labels))
        self.model.set_attn_implementation("sdpa")  # FlexAttention takes no dense mask
        logits = self.model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        shifted = logits[:, :-1].float().reshape(-1, logits.shape[-1])
        return nn.functional.cross_entropy(shifted, labels[:, 1:].reshape(-1), ignore_index=IGNORED)

    def step_s(self, way: str, examples: Sequence[Example]) -> float:
        """Seconds of an optimizer step, as the mean of `in_a_row` steps."""
        self._synchronise()
        started = time.perf_counter()
        for _ in range(self.in_a_row):
            self.loss(way, examples).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        self._synchronise()
        return (time.perf_counter() - started) / self.in_a_row

    def flops(self, examples: Sequence[Example]) -> float:
        """FLOPs of forward and backward of each row by itself, with logits where there is a label. The backward pass counts as
        two forward passes, but in the head, whose weights are frozen, as one."""
        shape = shape_of(self.model.config)
        assert isinstance(shape, DecoderShape)
        whole = sum(3 * decoder_flops(shape, row.num_tokens, logits_to_keep=len(row.answer)) for row in examples)
        return whole - 2 * shape.hidden * shape.vocab * sum(len(row.answer) for row in examples)

    def resident_peak_mib(self) -> int:
        # Linux only. Not `ru_maxrss`, which a process inherits from the one that started it.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found
        return int(found[1]) >> 10

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def check_same_loss(self, examples: Sequence[Example]) -> None:
        """Ours never predicts the gist token. The release's recipe could, so for this check the token is excluded there too."""
        head = self.model.get_output_embeddings()

        def exclude(module: nn.Module, args: tuple[torch.Tensor, ...], logits: torch.Tensor) -> None:
            logits[..., self.gist_token_id] = torch.finfo(logits.dtype).min

        with torch.no_grad(), head.register_forward_hook(exclude):
            ours, recipe = (float(self.loss(way, examples)) for way in ("gist", "recipe"))
        if abs(ours - recipe) > (2e-2 if self.bf16 else 1e-4):
            raise SystemExit(f"the rebuilt recipe's loss is {recipe}, ours {ours}: they do not train the same thing")
        print(f"same rows, same weights: loss {ours:.6f} packed, {recipe:.6f} in the recipe\n")


def batches_of(bench: Bench, alpaca: Path, batch_size: int, count: int) -> list[list[Example]]:
    """`count` batches of real rows, in an order that depends only on their content."""
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


def peak_memory_mib(bench: Bench, way: str, longest: Sequence[Example]) -> int:
    """Peak memory of two steps of one way: allocated on the GPU, or of a new process, which prints it last."""
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(2):
            bench.step_s(way, longest)
        return torch.cuda.max_memory_allocated() >> 20
    command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", way]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"the peak memory of {way} was not measured:\n{result.stderr}")
    return int(result.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alpaca", type=Path, required=True, help="the upstream alpaca_data.json")
    parser.add_argument("--model", type=Path, default=Path("data/base_model"), help="what the base_model stage made")
    parser.add_argument("--batch-size", type=int, default=8, help="rows per step")
    parser.add_argument("--steps", type=int, default=5, help="batches, each timed in every way")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way on each batch; the fastest counts")
    parser.add_argument("--max-length", type=int, default=512, help="longest row, in tokens")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16 where autocast does")
    parser.add_argument(
        "--attention",
        default="sdpa",
        choices=SUPPORTED_IMPLEMENTATIONS,
        help="attention implementation of our ways",
    )
    parser.add_argument(
        "--compile",
        choices=("ours", "all"),
        help="torch.compile layers and loss: of our ways, or the recipe's layers too",
    )
    parser.add_argument(
        "--in-a-row",
        type=int,
        default=1,
        help="steps between two looks at the clock: a GPU may lag behind its host in them",
    )
    parser.add_argument("--peak-tflops", type=float, help="of the device, for its utilisation")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="which to run")
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    bench = Bench(
        args.model,
        args.max_length,
        device=args.device,
        bf16=args.bf16,
        attention=args.attention,
        compiled=args.compile,
        in_a_row=args.in_a_row,
    )
    batches = batches_of(bench, args.alpaca, args.batch_size, args.steps)
    longest = max(batches, key=lambda batch: max(example.num_tokens for example in batch))
    if args.peak_of:
        for _ in range(2):
            bench.step_s(args.peak_of, longest)
        print(bench.resident_peak_mib())
        return
    lengths = [example.num_tokens for batch in batches for example in batch]
    how = [
        _device(args.device),
        "bf16" if args.bf16 else "fp32",
        args.attention,
        *([f"compiled: {args.compile}"] if args.compile else []),
    ]
    print(
        f"{args.model}, {', '.join(how)}; {args.steps} steps of {args.batch_size} rows, "
        f"{statistics.mean(lengths):.0f} tokens a row on average, {max(lengths)} at most",
        flush=True,
    )
    if "recipe" in args.ways:
        bench.check_same_loss(batches[0])
    seconds: dict[str, list[float]] = {way: [] for way in args.ways}
    for batch in batches:
        rounds = [args.ways if repeat % 2 else args.ways[::-1] for repeat in range(args.repeats)]
        taken: dict[str, list[float]] = {}
        for order in rounds:
            for way in order:
                taken.setdefault(way, []).append(bench.step_s(way, batch))
        for way in args.ways:
            seconds[way].append(min(taken[way]))  # other work on the machine can only add time
    for above, below in (("gist", "pos_control"), ("neg_control", "gist"), ("padded", "gist"), ("recipe", "gist")):
        if not {above, below} <= seconds.keys():
            continue
        ratios = sorted(a / b for a, b in zip(seconds[above], seconds[below], strict=True))
        print(
            f"{above} / {below}, paired step times: median {statistics.median(ratios):.3f} (from {ratios[0]:.3f} to "
            f"{ratios[-1]:.3f}), of the sums {sum(seconds[above]) / sum(seconds[below]):.3f}"
        )
    flops = sum(map(bench.flops, batches))
    if bench.device.type == "cpu":
        del bench.model, bench.optimizer  # each peak is of a process of its own
    print("\n| way | step, median s | tokens/s | TFLOP/s | utilisation | peak memory, MiB |\n|---|---|---|---|---|---|")
    for way in args.ways:
        speed, tflops = sum(lengths) / sum(seconds[way]), flops / sum(seconds[way]) / 1e12
        used = f"{100 * tflops / args.peak_tflops:.0f} %" if args.peak_tflops else "-"
        step = f"{statistics.median(seconds[way]):.3f}"
        print(
            f"| {way} | {step} | {speed:.0f} | {tflops:.3f} | {used} | {peak_memory_mib(bench, way, longest)} |",
            flush=True,
        )


def _device(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
