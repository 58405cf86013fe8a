"""Turns examples into the tensors of one forward pass: padded, or packed into few full rows.

Packed batches carry the bounds of the gist mask (gist_core/masks.py), which attention cannot find by itself in them. Labels
stand where they are predicted (shifted already), so that the same loop trains a decoder and a T5.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from gist_core.masks import Condition, GistSpan, cross_bounds, decoder_bounds, encoder_bounds
from gist_core.models.tokens import pad_rows
from gist_core.training.examples import Batching, Example

IGNORED = -100
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Collator:
    """Makes a batch of examples under a condition.

    row_capacity: tokens that a packed row may hold; if an example has more, as many as that example.
    decoder_start_token_id: of an encoder-decoder; None for a decoder.
    width_multiple: the width of a decoder's packed rows is a multiple of this many slots.
    """

    condition: Condition
    batching: Batching
    pad_token_id: int
    row_capacity: int
    decoder_start_token_id: int | None = None
    width_multiple: int = 1

    def __call__(self, examples: Sequence[Example]) -> Batch:
        packed = self.batching == "packed"
        if packed:
            examples = [self._seen(example) for example in examples]
        if self.decoder_start_token_id is None:
            return self._packed_decoder(examples) if packed else self._padded_decoder(examples)
        return self._packed_encoder_decoder(examples) if packed else self._padded_encoder_decoder(examples)

    def order(self, examples: Sequence[Example]) -> list[int]:
        """Indices of the examples in the order in which a batch of them holds their labels."""
        if self.batching != "packed":
            return list(range(len(examples)))
        return [i for row in self._rows([self._seen(example) for example in examples]) for i in row]

    def _seen(self, example: Example) -> Example:
        """The example without tokens that no labelled token attends to: in neg_control, all up to the last gist token.
        They would cost time and change nothing."""
        if self.condition != "neg_control":
            return example
        end = example.gist_end
        return replace(example, prompt=example.prompt[end:], gist_start=0, gist_end=0, position=example.position + end)

    def _rows(self, examples: Sequence[Example]) -> list[list[int]]:
        """Indices of the examples that share a packed row."""
        lengths = [example.num_tokens for example in examples]
        return _fill_bins(lengths, self._whole(max(self.row_capacity, *lengths)))

    def _whole(self, width: int) -> int:
        return width + -width % self.width_multiple

    def _padded_decoder(self, examples: Sequence[Example]) -> Batch:
        batch = pad_rows([example.prompt + example.answer for example in examples], self.pad_token_id, "left")
        labels = pad_rows([_labels(example) for example in examples], IGNORED, "left").input_ids
        positions = (batch.attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        return {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "position_ids": positions,
            "labels": labels,
        }

    def _packed_decoder(self, examples: Sequence[Example]) -> Batch:
        lengths = [example.num_tokens for example in examples]
        bins = self._rows(examples)
        width = self._whole(max(sum(lengths[i] for i in row) for row in bins))
        spans = GistSpan(
            torch.tensor([example.gist_start for example in examples]),
            torch.tensor([example.gist_end for example in examples]),
        )
        bounds = decoder_bounds(self.condition, spans, torch.arange(max(lengths))[None])
        first = bounds.first.clamp(min=0).tolist()
        # Lists, since a tensor for each of hundreds of short rows takes three times as long, and a GPU may wait for it.
        batch: dict[str, list[list[int]]] = {"input_ids": [], "position_ids": [], "first_visible": [], "labels": []}
        for members in bins:
            ids: list[int] = []
            positions: list[int] = []
            visible: list[int] = []
            labels: list[int] = []
            for index in members:
                example, length, offset = examples[index], lengths[index], len(ids)
                visible += [offset + slot for slot in first[index][:length]]
                ids += example.prompt + example.answer
                positions += range(example.position, example.position + length)
                labels += _labels(example)
            filled, padding = len(ids), width - len(ids)
            batch["input_ids"].append(ids + [self.pad_token_id] * padding)
            batch["position_ids"].append(positions + [0] * padding)
            batch["first_visible"].append(visible + [filled] * padding)  # padding sees padding only
            batch["labels"].append(labels + [IGNORED] * padding)
        return {name: torch.from_numpy(np.array(rows, dtype=np.int64)) for name, rows in batch.items()}

    def _padded_encoder_decoder(self, examples: Sequence[Example]) -> Batch:
        source = pad_rows([example.prompt for example in examples], self.pad_token_id, "right")
        target = pad_rows([example.answer for example in examples], self.pad_token_id, "right")
        labels = target.input_ids.masked_fill(target.attention_mask == 0, IGNORED)
        return {
            "input_ids": source.input_ids,
            "attention_mask": source.attention_mask,
            "decoder_input_ids": self._shifted(target.input_ids),
            "labels": labels,
        }

    def _packed_encoder_decoder(self, examples: Sequence[Example]) -> Batch:
        bins = self._rows(examples)
        source_width = max(sum(len(examples[i].prompt) for i in row) for row in bins)
        target_width = max(sum(len(examples[i].answer) for i in row) for row in bins)
        source, target = (len(bins), source_width), (len(bins), target_width)
        batch = {
            "input_ids": torch.full(source, self.pad_token_id),
            "decoder_input_ids": torch.full(target, self.pad_token_id),
            "labels": torch.full(target, IGNORED),
            # Padding sees only itself, and in cross-attention slot 0; nothing reads the result.
            "encoder_first": torch.arange(source_width).repeat(len(bins), 1),
            "encoder_end": torch.arange(1, source_width + 1).repeat(len(bins), 1),
            "decoder_first": torch.arange(target_width).repeat(len(bins), 1),
            "cross_first": torch.zeros(target, dtype=torch.long),
            "cross_end": torch.ones(target, dtype=torch.long),
        }
        for row, members in enumerate(bins):
            s = t = 0
            for index in members:
                example = examples[index]
                n, m = len(example.prompt), len(example.answer)
                bounds = encoder_bounds(self.condition, _span(example), n)
                assert bounds.end is not None
                batch["input_ids"][row, s : s + n] = torch.tensor(example.prompt)
                batch["encoder_first"][row, s : s + n] = s + bounds.first[0].clamp(min=0)
                batch["encoder_end"][row, s : s + n] = s + bounds.end[0].clamp(max=n)
                answer = torch.tensor(example.answer)
                batch["labels"][row, t : t + m] = answer
                batch["decoder_input_ids"][row, t : t + m] = self._shifted(answer[None])[0]
                batch["decoder_first"][row, t : t + m] = t
                batch["cross_first"][row, t : t + m] = s + cross_bounds(self.condition, _span(example)).first[0].clamp(
                    min=0
                )
                batch["cross_end"][row, t : t + m] = s + n
                s, t = s + n, t + m
        return batch

    def _shifted(self, targets: torch.Tensor) -> torch.Tensor:
        assert self.decoder_start_token_id is not None
        start = torch.full_like(targets[:, :1], self.decoder_start_token_id)
        return torch.cat([start, targets[:, :-1]], dim=1)


def _labels(example: Example) -> list[int]:
    """For each slot the token after it, if that is part of the answer; else IGNORED."""
    return [*([IGNORED] * len(example.prompt) + example.answer)[1:], IGNORED]


def _span(example: Example) -> GistSpan:
    return GistSpan(torch.tensor([example.gist_start]), torch.tensor([example.gist_end]))


def _fill_bins(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices of the rows that share a packed row: few, evenly filled bins of at most `capacity` tokens.

    capacity: at least the length of the longest row.

    Rows are placed longest first, each in the emptiest bin, so that little of the batch is padding.
    """
    longest_first = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    count = -(-sum(lengths) // capacity)
    while True:
        bins: list[list[int]] = [[] for _ in range(count)]
        filled = [(0, number) for number in range(count)]  # a heap
        for index in longest_first:
            tokens, emptiest = filled[0]
            bins[emptiest].append(index)
            heapq.heapreplace(filled, (tokens + lengths[index], emptiest))
        if max(filled)[0] <= capacity or count == len(lengths):
            return bins
        count = min(count + max(1, count // 64), len(lengths))
