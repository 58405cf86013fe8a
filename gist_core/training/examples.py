"""Rows of text as token ids with their labels, and the order in which training sees them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from transformers import PreTrainedTokenizerBase

from gist_core.models.tokens import encode_answers, encode_inputs, encode_instructions, prefix_of

Batching = Literal["padded", "grouped", "packed"]
ROWS_AT_ONCE = 1000  # tokenised in one call, on all cores
GROUP_STEPS = 50  # with "grouped", the rows of this many optimizer steps are sorted by length together


@dataclass(frozen=True)
class Example:
    """One training row in tokens.

    row_id: of the data row. prompt: instruction, gist tokens and input. answer: what is learnt, with end of text.
    gist_start, gist_end: where the gist tokens stand in `prompt`, as in `gist_core.masks.GistSpan`.
    position: of the first token of `prompt`.
    """

    row_id: str
    prompt: list[int]
    answer: list[int]
    gist_start: int
    gist_end: int
    position: int = 0

    @property
    def num_tokens(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True)
class Limits:
    """Longest rows to train on, in tokens: prompt and answer together, the prompt, the answer. None: no limit."""

    total: int | None = None
    source: int | None = None
    target: int | None = None


def make_examples(
    rows: Iterable[tuple[str, str, str, str]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    num_gist_tokens: int,
    is_encoder_decoder: bool,
    limits: Limits,
    drawn_gist_tokens: Sequence[int] = (),
    seed: int = 0,
) -> tuple[list[Example], list[str]]:
    """Tokenises rows of (row_id, instruction, input, output), each a tuple or list of four `str`.

    drawn_gist_tokens, seed: numbers of gist tokens, from which each row draws one by the SHA-256 of its id and the seed;
        without them every row has `num_gist_tokens`.

    A row longer than the limits is left out whole, not cut: a cut could remove the gist tokens or the answer's end.

    Returns: the examples, and the row ids that were left out.

    Raises:
        ValueError: a row is not four texts (a mapping is none), or what `encode_instructions` and `encode_inputs` refuse.
    """
    prefix = prefix_of(tokenizer, is_encoder_decoder=is_encoder_decoder)
    examples: list[Example] = []
    too_long: list[Example] = []
    rows = iter(rows)
    while some := list(islice(rows, ROWS_AT_ONCE)):
        _refuse_other_than_texts(some, len(examples) + len(too_long))
        row_ids, instructions, inputs, outputs = zip(*some, strict=True)
        ks = [_drawn(row_id, seed, drawn_gist_tokens) if drawn_gist_tokens else num_gist_tokens for row_id in row_ids]
        heads = encode_instructions(tokenizer, instructions, ks, prefix)
        tails = encode_inputs(tokenizer, inputs, is_encoder_decoder=is_encoder_decoder)
        answers = encode_answers(tokenizer, outputs, is_encoder_decoder=is_encoder_decoder)
        for row_id, k, head, tail, answer in zip(row_ids, ks, heads, tails, answers, strict=True):
            example = Example(row_id, head + tail, answer, len(head) - k, len(head))
            (examples if _fits(example, limits) else too_long).append(example)
    return examples, [example.row_id for example in too_long]


def _refuse_other_than_texts(rows: Sequence[object], before: int) -> None:
    for number, row in enumerate(rows, before + 1):
        if not isinstance(row, tuple | list) or len(row) != 4 or not all(isinstance(text, str) for text in row):
            raise ValueError(
                f"row {number} is {row!r:.200}; give each row as four texts (row_id, instruction, input, output), with an "
                'input of "" where there is none'
            )


def _drawn(row_id: str, seed: int, choices: Sequence[int]) -> int:
    digest = hashlib.sha256(f"{row_id}:{seed}:gist tokens".encode()).digest()
    return choices[int.from_bytes(digest, "big") % len(choices)]


def plan_micro_batches(
    examples: Sequence[Example], *, steps: int, batch_size: int, micro_batch_size: int, batching: Batching, seed: int
) -> list[list[int]]:
    """Indices of the rows of every forward pass, for `steps` optimizer steps of `batch_size` rows each.

    Every epoch goes through the rows in the order of sha256(row_id, seed, epoch); nothing depends on the number of
    processes. "grouped" sorts the rows of GROUP_STEPS steps by length before cutting them into batches.

    Raises:
        ValueError: no rows.
    """
    if not examples:
        raise ValueError("no training rows are left; see train.max_length and the data's facts")
    order: list[int] = []
    for epoch in range(-(-steps * batch_size // len(examples))):
        keys = [hashlib.sha256(f"{example.row_id}:{seed}:{epoch}".encode()).digest() for example in examples]
        order += sorted(range(len(examples)), key=keys.__getitem__)
    order = order[: steps * batch_size]
    if batching == "grouped":
        order = _grouped(order, examples, batch_size, seed)
    return [order[i : i + micro_batch_size] for i in range(0, len(order), micro_batch_size)]


def _grouped(order: list[int], examples: Sequence[Example], batch_size: int, seed: int) -> list[int]:
    grouped: list[int] = []
    for start in range(0, len(order), GROUP_STEPS * batch_size):
        window = sorted(order[start : start + GROUP_STEPS * batch_size], key=lambda i: examples[i].num_tokens)
        batches = [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
        batches.sort(
            key=lambda batch: hashlib.sha256(f"{[examples[i].row_id for i in batch]}:{seed}".encode()).digest()
        )
        grouped += [index for batch in batches for index in batch]
    return grouped


def _fits(example: Example, limits: Limits) -> bool:
    return (
        (limits.total is None or example.num_tokens <= limits.total)
        and (limits.source is None or len(example.prompt) <= limits.source)
        and (limits.target is None or len(example.answer) <= limits.target)
    )
