"""Turns texts into the token ids of prompts and answers, and rows of token ids into a batch."""

from collections.abc import Callable, Iterable, KeysView, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial

import torch
from transformers import PreTrainedTokenizerBase

from gist_core.data.prompt import BEFORE_INSTRUCTION, GIST_TOKEN, input_part, instruction_part


@dataclass(frozen=True)
class PaddedBatch:
    """input_ids, attention_mask: torch.LongTensor, shape (batch, seq_len); 1 = a real token."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor


def as_texts(texts: Iterable[str], what: str) -> list[str]:
    """A list of texts, from whatever holds them: a list, a column of a data frame, a generator.

    Raises:
        ValueError: `texts` is a single text, which would be read letter by letter; its rows have no order (a set) or are
            not texts (a dict, a data frame); or one of them is not a text, or not Unicode.
    """
    if isinstance(texts, str):
        raise ValueError(f"{what} must be a list of texts; write [{texts[:40]!r}] for a single one")
    if (
        not isinstance(texts, Iterable)
        or (isinstance(texts, (Mapping, Set)) and not isinstance(texts, KeysView))
        or hasattr(texts, "columns")
    ):
        raise ValueError(f"{what} must be a list of texts (or one column of a table), not a {type(texts).__name__}")
    found = list(texts)
    for number, text in enumerate(found, 1):
        if not isinstance(text, str):
            raise ValueError(f"number {number} of the {what} is {text!r:.80}, which is not a text")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"number {number} of the {what} is not Unicode: {error}") from None
    return found


def prefix_of(tokenizer: PreTrainedTokenizerBase, *, is_encoder_decoder: bool) -> list[int]:
    """Token ids that the tokenizer puts before a decoder's prompt: BOS, if it has one. What some add at the end is left out."""
    if is_encoder_decoder:
        return []
    whole: list[int] = tokenizer("a").input_ids
    bare: list[int] = tokenizer("a", add_special_tokens=False).input_ids
    return whole[: next(start for start in range(len(whole)) if whole[start : start + len(bare)] == bare)]


def encode_instructions(
    tokenizer: PreTrainedTokenizerBase,
    instructions: Sequence[str],
    num_gist_tokens: Sequence[int],
    prefix_ids: Sequence[int],
) -> list[list[int]]:
    """The compressed part of each prompt: prefix (BOS), instruction, then as many gist tokens as `num_gist_tokens` says.

    The parts of a prompt are tokenised separately, so that a cached instruction and a full prompt have the same tokens.
    """
    gist_token_id = tokenizer.convert_tokens_to_ids(GIST_TOKEN)
    assert isinstance(gist_token_id, int)
    bodies = _token_ids(tokenizer, _parts(instruction_part, instructions))
    return [[*prefix_ids, *body, *[gist_token_id] * k] for body, k in zip(bodies, num_gist_tokens, strict=True)]


def tokens_in_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of an instruction's text as it stands in a prompt, after the template's space. There a word is often one
    token that would be two at the beginning of a text or line."""
    space = BEFORE_INSTRUCTION[len(BEFORE_INSTRUCTION.rstrip(" ")) :]
    return _token_ids(tokenizer, [f"{space}{text}"])[0]


def encode_inputs(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, is_encoder_decoder: bool
) -> list[list[int]]:
    """The part of each prompt after the gist tokens; ends with the end-of-text token for an encoder."""
    rows = _token_ids(tokenizer, _parts(partial(input_part, is_encoder_decoder=is_encoder_decoder), texts))
    return [[*row, tokenizer.eos_token_id] for row in rows] if is_encoder_decoder else rows


def encode_answers(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, is_encoder_decoder: bool
) -> list[list[int]]:
    """The tokens to learn: each answer (after a space, for a decoder) and the end-of-text token."""
    rows = _token_ids(tokenizer, list(texts) if is_encoder_decoder else [f" {text}" for text in texts])
    return [[*row, tokenizer.eos_token_id] for row in rows]


def _parts(part: Callable[[str], str], texts: Sequence[str]) -> list[str]:
    """That part of each text's prompt. Where `part` refuses one of several texts, its ValueError says which."""
    parts = []
    for number, text in enumerate(texts, 1):
        try:
            parts.append(part(text))
        except ValueError as error:
            raise ValueError(f"number {number} of {len(texts)}: {error}" if len(texts) > 1 else str(error)) from None
    return parts


def _token_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Reads what looks like a special token in a user's text (`<s>` in HTML) as text; as a token it could end an answer.
    Only T5's tokenizers still read some as tokens, because they have these among the pieces of text too."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(
        texts, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False
    ).input_ids
    return ids


def pad_rows(
    rows: Sequence[Sequence[int]], pad_token_id: int, side: str, device: torch.device | str = "cpu"
) -> PaddedBatch:
    """Stacks rows of token ids, padded on the `side` "left" or "right". Raises ValueError if there are no rows."""
    if not rows:
        raise ValueError("an empty batch: there is nothing to pad")
    width = max(map(len, rows))
    input_ids = torch.full((len(rows), width), pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        input_ids[index, where] = torch.tensor(row, dtype=torch.long)
        attention_mask[index, where] = 1
    return PaddedBatch(input_ids.to(device), attention_mask.to(device))
