"""Answers to a whole split, made batch by batch; after an interruption only the missing rows are answered."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from gist_core.cache import compress, generate
from gist_core.data.prompt import Prompt
from gist_core.models.gist_model import GistModel


def answer_split(
    gist_model: GistModel,
    prompts: Sequence[Prompt],
    progress_file: Path,
    *,
    batch_size: int,
    max_new_tokens: int,
    description: str = "generate",
) -> Iterator[dict[str, Any]]:
    """Greedy answers, in the order of `prompts`; from cached gists for a gist model, else from the full prompt.

    Raises ValueError, before anything is answered, if a prompt and max_new_tokens do not fit into the model's context.
    Every finished batch is appended to `progress_file`; rows found there are not generated again. Prompts of similar
    length share a batch. Yields one dict per row: row_id, prediction, finish_reason and token counts.
    """
    heads = gist_model.encode_instructions([prompt.instruction for prompt in prompts])
    tails = gist_model.encode_inputs([prompt.input for prompt in prompts])
    lengths = {prompt.row_id: (len(head), len(tail)) for prompt, head, tail in zip(prompts, heads, tails, strict=True)}
    gist_model.refuse_longer(
        [head + tail + max_new_tokens for head, tail in lengths.values()], [f"row {row_id}" for row_id in lengths]
    )
    done = _read_progress(progress_file)
    todo = sorted(
        (prompt for prompt in prompts if prompt.row_id not in done),
        key=lambda prompt: len(prompt.instruction) + len(prompt.input),
    )
    with (
        progress_file.open("a", encoding="utf-8") as file,
        tqdm(total=len(prompts), initial=len(prompts) - len(todo), desc=description, unit="row", disable=None) as bar,
    ):
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            for answer in _answer_batch(gist_model, batch, lengths, max_new_tokens):
                done[answer["row_id"]] = answer
                file.write(json.dumps(answer, ensure_ascii=False) + "\n")
            file.flush()
            bar.update(len(batch))
    for prompt in prompts:
        yield done[prompt.row_id]


def _answer_batch(
    gist_model: GistModel, batch: Sequence[Prompt], lengths: dict[str, tuple[int, int]], max_new_tokens: int
) -> Iterator[dict[str, Any]]:
    """lengths: tokens of the instruction, with its gist tokens, and of the input, by row id."""
    instructions, inputs = [q.instruction for q in batch], [q.input for q in batch]
    if gist_model.settings.condition == "gist":
        cache = compress(gist_model, instructions, batch_size=len(batch))
        tokens = generate(
            gist_model, cache, inputs, batch_size=len(batch), max_new_tokens=max_new_tokens, do_sample=False
        )
    else:
        tokens = gist_model.generate_masked(
            instructions, inputs, batch_size=len(batch), max_new_tokens=max_new_tokens, do_sample=False
        )
    k = gist_model.settings.num_gist_tokens
    for prompt, text, ids in zip(batch, gist_model.decode(tokens), tokens, strict=True):
        head, tail = lengths[prompt.row_id]
        finish_reason, length = finish(ids, gist_model.tokenizer.eos_token_id)
        yield {
            "row_id": prompt.row_id,
            "prediction": text,
            "finish_reason": finish_reason,
            "num_instruction_tokens": head - k - gist_model.num_prefix_tokens,
            "num_input_tokens": tail,
            "num_gist_tokens": k,
            "num_output_tokens": length,
        }


def finish(ids: torch.Tensor, eos_token_id: int) -> tuple[Literal["stop", "length"], int]:
    """Whether an answer ended by itself or at the limit of new tokens, and its number of tokens before the end of text.

    ids: shape (new_tokens,), padded on the right.
    """
    ends = torch.nonzero(ids == eos_token_id).flatten()
    return ("stop", int(ends[0])) if len(ends) else ("length", len(ids))


def _read_progress(path: Path) -> dict[str, dict[str, Any]]:
    """Finished rows by row id. A last line that a kill cut short, maybe inside a character, is removed from the file."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    answers = [json.loads(line) for line in data[:whole].split(b"\n")[:-1]]
    return {answer["row_id"]: answer for answer in answers}
