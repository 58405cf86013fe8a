"""Raw measurements of three ways to give a model its prompt (the paper, section 6.2 and table 3).

One measurement is one forward pass of a batch of prompts, up to the first new token. For each prompt
- "none": everything is encoded,
- "instruction": the instruction's keys and values come from a cache, the input is encoded,
- "gist": those of the gist tokens come from a cache, the input is encoded.
The caches are made beforehand and not counted, as in the paper. All three strategies of a batch are timed one after
another, in an order drawn from the row id, so that a drift of the machine's speed affects them alike.

For "instruction", a T5 of a gist condition keeps what its encoder makes of the instruction by itself; later tokens see
all of it. Its pos_control computes something else (there the instruction also sees the input), but at the same cost.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from gist_core.benchmark.flops import DecoderShape, decoder_flops, encoder_decoder_flops, shape_of
from gist_core.benchmark.summary import STRATEGIES, Strategy
from gist_core.cache import GistCache, compress
from gist_core.cache.generate import continuation, encoder_pass
from gist_core.data.prompt import Prompt
from gist_core.masks import cross_bounds, decoder_bounds, encoder_bounds, find_gist_span
from gist_core.models.gist_model import GistModel


def measure(
    gist_model: GistModel,
    prompts: Sequence[Prompt],
    *,
    batch_sizes: Sequence[int],
    warmup: int,
    repeats: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Measures every batch size and strategy; one dict per batch, strategy and repeat (keys: gist_core/benchmark/summary.py).

    warmup: uncounted passes of each strategy, for each batch. No prompt is in two batches of the same size, so intervals are
    over independent measurements. Prompts left over at the end are not measured. If there are too few prompts for one
    batch, they are repeated in it.

    Raises:
        ValueError: no prompts, or one that is longer than the model's context.
    """
    if not prompts:
        raise ValueError("there are no prompts to measure")
    heads = gist_model.encode_instructions([prompt.instruction for prompt in prompts])
    tails = gist_model.encode_inputs([prompt.input for prompt in prompts])
    lengths = [len(head) + len(tail) for head, tail in zip(heads, tails, strict=True)]
    gist_model.refuse_longer(lengths, [f"row {prompt.row_id}" for prompt in prompts])
    ordered = sorted(prompts, key=lambda prompt: hashlib.sha256(f"{prompt.row_id}:{seed}".encode()).digest())
    batches = [batch for size in batch_sizes for batch in _disjoint(ordered, size)]
    for batch in tqdm(batches, desc="benchmark", unit="batch", disable=None):
        yield from _measure_batch(gist_model, batch, warmup, repeats, seed)


def _disjoint(prompts: Sequence[Prompt], size: int) -> list[list[Prompt]]:
    starts = range(0, max(len(prompts) - size, 0) + 1, size)
    return [[prompts[(start + i) % len(prompts)] for i in range(size)] for start in starts]


def _measure_batch(
    gist_model: GistModel, batch: Sequence[Prompt], warmup: int, repeats: int, seed: int
) -> Iterator[dict[str, Any]]:
    passes = {strategy: ForwardPass(gist_model, batch, strategy) for strategy in STRATEGIES}
    counted = {strategy: one.count_gflops() for strategy, one in passes.items()}
    for _ in range(warmup):
        for one in passes.values():
            one.time_ms()
    for repeat in range(repeats):
        order = sorted(
            STRATEGIES, key=lambda s: hashlib.sha256(f"{batch[0].row_id}:{seed}:{repeat}:{s}".encode()).digest()
        )
        for strategy in order:
            wall_ms, device_ms, peak_bytes = passes[strategy].time_ms()
            yield {
                "row_id": batch[0].row_id,
                "strategy": strategy,
                "batch_size": len(batch),
                "repeat": repeat,
                "wall_ms": wall_ms,
                "device_ms": device_ms,
                "peak_bytes": peak_bytes,
                "gflops_counted": counted[strategy],
            } | passes[strategy].facts


class ForwardPass:
    """One forward pass that can be run again and again; what it uses up is made anew outside of the time measured."""

    def __init__(self, gist_model: GistModel, batch: Sequence[Prompt], strategy: Strategy) -> None:
        self.gist_model = gist_model
        instructions = [prompt.instruction for prompt in batch]
        self.heads = gist_model.encode_instructions(instructions)
        self.tails = gist_model.encode_inputs([prompt.input for prompt in batch])
        self.cache: GistCache | None = None
        if strategy != "none":
            # On the device only during its own pass: one strategy's peak memory must not include another's cache.
            self.cache = compress(gist_model, instructions, keep=strategy).to("cpu")
        self.facts = self._facts()

    @torch.inference_mode()
    def time_ms(self) -> tuple[float, float | None, int | None]:
        """Wall time, device time (CUDA only) and peak device memory in bytes (CUDA only) of one pass.

        Device time is the time between two events on the stream: the kernels, and the gaps where the GPU waits for the host.
        The paper's is a profiler's sum over kernels, which leaves the gaps out.
        """
        run = self._prepared()
        if self.gist_model.device.type != "cuda":
            started = time.perf_counter()
            run()
            return (time.perf_counter() - started) * 1e3, None, None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        started = time.perf_counter()
        before.record()
        run()
        after.record()
        torch.cuda.synchronize()
        return (time.perf_counter() - started) * 1e3, before.elapsed_time(after), torch.cuda.max_memory_allocated()

    @torch.inference_mode()
    def count_gflops(self) -> float:
        """GFLOPs of one pass, from counting its matrix products (with attention's math kernel, which can be counted)."""
        run = self._prepared()
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops() / 1e9

    def _prepared(self) -> Callable[[], Any]:
        model = self.gist_model.model
        start: dict[str, Any]
        if self.gist_model.is_encoder_decoder:
            decoder_start = torch.full((len(self.tails), 1), model.config.decoder_start_token_id)
            start = {"decoder_input_ids": decoder_start.to(model.device)}
        else:
            start = {"logits_to_keep": 1, "use_cache": True}
        if self.cache is None:
            batch = self._full_prompts()
            # Found here, where no time is measured: a pass from a cache does not look for the gist tokens either.
            start |= self._bounds(batch.input_ids)
            return lambda: model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **start)
        cache = self.cache.to(model.device)
        if self.gist_model.is_encoder_decoder:
            encode = encoder_pass(self.gist_model, cache, self.tails)
            return lambda: model(**encode(), **start)
        arguments = continuation(self.gist_model, cache, self.tails)
        return lambda: model(**arguments, **start)

    def _bounds(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor | None]:
        """Arguments that tell the model which slots of full prompts are visible."""
        condition, length = self.gist_model.settings.condition, input_ids.shape[1]
        span = find_gist_span(input_ids, self.gist_model.gist_token_id)
        if self.gist_model.is_encoder_decoder:
            encoder = encoder_bounds(condition, span, length)
            cross = cross_bounds(condition, span)
            return {"encoder_first": encoder.first, "encoder_end": encoder.end, "cross_first": cross.first}
        queries = torch.arange(length, device=input_ids.device)[None]
        return {"first_visible": decoder_bounds(condition, span, queries).first}

    def _full_prompts(self) -> Any:
        rows = [head + tail for head, tail in zip(self.heads, self.tails, strict=True)]
        return self.gist_model.pad(rows, "right" if self.gist_model.is_encoder_decoder else "left")

    def _facts(self) -> dict[str, Any]:
        model = self.gist_model
        heads, tails = [*map(len, self.heads)], [*map(len, self.tails)]
        size = len(heads)
        if self.cache is None:
            new, cached = max(a + b for a, b in zip(heads, tails, strict=True)), 0
        else:
            new, cached = max(tails), self.cache.mask.shape[1]
        overhead = model.settings.num_gist_tokens + model.num_prefix_tokens
        return {
            "gflops_formula": self._gflops_formula(new, cached),
            "kv_bytes": 0 if self.cache is None else self.cache.nbytes,
            "prompt_tokens": sum(heads) + sum(tails),
            "instruction_tokens": sum(heads) - overhead * size,
            "input_tokens": sum(tails),
        }

    def _gflops_formula(self, new: int, cached: int) -> float | None:
        """None for a model that the formula does not cover; its FLOPs are still counted."""
        try:
            shape = shape_of(self.gist_model.model.config)
        except ValueError:
            return None
        if isinstance(shape, DecoderShape):
            flops = decoder_flops(shape, new, cached, logits_to_keep=1, batch_size=len(self.tails))
        else:
            flops = encoder_decoder_flops(shape, new, cached, batch_size=len(self.tails))
        return flops / 1e9
