"""Answers from transformers' stock `generate`, batch by batch, and which of its options can be served."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import GenerationConfig, LogitsProcessor

from gist_core.models.attention import nothing_left_behind
from gist_core.models.decoding import decode, decode_without_ended_rows, may_drop_rows

if TYPE_CHECKING:
    from gist_core.models.gist_model import GistModel

NEW_TOKENS = 20  # of an answer, if no number is asked for: transformers' own default
# Options for which transformers makes further passes over a prompt, or over a part of it, without its gist tokens.
_NOT_SERVED = ("guidance_scale", "negative_prompt_ids", "token_healing")


def whole_number(value: object, name: str) -> int:
    """`value` as an int. Raises ValueError if it is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number from 1")
    return int(value)


def without_unset(generate_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `generate` without those that are None and then mean the model's own setting. For other arguments None
    is a value in itself (no end-of-text token, say)."""
    unset = ("generation_config", "num_beams", "num_return_sequences", "logits_processor")
    return {name: value for name, value in generate_kwargs.items() if value is not None or name not in unset}


def asked_of(gist_model: "GistModel", options: dict[str, Any]) -> dict[str, Any]:
    """Every option of a generation, looked up as transformers does: as given, else from a given generation_config, else
    (where that has None) from the model's.

    options: as `without_unset` leaves them.

    Raises:
        ValueError: generation_config is not a GenerationConfig, or a number of tokens, beams or answers is not a whole number
            of at least 1.
    """
    own = gist_model.model.generation_config
    config = options.get("generation_config", own)
    if not isinstance(config, GenerationConfig):
        raise ValueError(
            f"generation_config is a {type(config).__name__}; transformers.GenerationConfig(...) makes one"
        )
    asked = {**vars(own), **{name: value for name, value in vars(config).items() if value is not None}, **options}
    for name in ("max_new_tokens", "num_beams", "num_return_sequences"):
        if asked[name] is not None:
            whole_number(asked[name], name)
    return asked


def answer_in_batches(
    gist_model: "GistModel",
    prompt_tokens: Sequence[int],
    begin: Callable[[slice], dict[str, Any]],
    options: dict[str, Any],
    *,
    batch_size: int,
    what: str,
) -> torch.Tensor:
    """Generates answers, which never contain the gist token: a tied head would rate it as high as the token whose embedding
    it started with. Whatever is refused is refused before the first answer.

    prompt_tokens: for each row the number of positions before its answer, cached ones included.
    begin: for a slice of the rows, the arguments of `generate` that say what to continue from.
    options: all other arguments, as `without_unset` leaves them.
    batch_size: rows that are answered together. what: what messages call a row ("input", "prompt").

    Returns: token ids of the answers alone, shape (batch, new_tokens), padded on the right.

    Raises:
        ValueError: no rows, a batch size below 1, a row that does not fit into the model's context together with its answer,
            an option that cannot be served (`use_cache=False`, `return_dict_in_generate=True`, guidance, token
            healing), a decoder's `max_length`, a `streamer` for several rows, or a model in training mode.
    """
    batch_size = whole_number(batch_size, "batch_size")
    if not prompt_tokens:
        raise ValueError(f"no {what}s to answer")
    gist_model.require_eval()
    asked = asked_of(gist_model, options)
    if asked["use_cache"] is False or asked["return_dict_in_generate"]:
        raise ValueError(
            "answers are generated with a key-value cache and returned as token ids: use_cache=False and "
            "return_dict_in_generate=True cannot be served"
        )
    if str(asked.get("cache_implementation")).startswith("paged"):
        raise ValueError(
            f"cache_implementation={asked['cache_implementation']!r} cannot be served: it batches prompts by itself, without "
            "their gist tokens"
        )
    processors = options.get("logits_processor", [])
    if not isinstance(processors, list):
        raise ValueError(f"logits_processor is a {type(processors).__name__}; give a list of processors")
    given = {name: asked.get(name) for name in _NOT_SERVED}
    if given["guidance_scale"] == 1:  # which means no guidance
        given["guidance_scale"] = None
    if unserved := [name for name, value in given.items() if value is not None and value is not False]:
        raise ValueError(
            f"{', '.join(unserved)} cannot be served: it makes transformers read a prompt, or a part of it, without gist tokens"
        )
    if asked.get("streamer") is not None and len(prompt_tokens) > 1:
        raise ValueError(
            f"a streamer takes one answer, and there are {len(prompt_tokens)} {what}s; call for each of them"
        )
    if asked["max_length"] is not None and asked["max_new_tokens"] is None and not gist_model.is_encoder_decoder:
        raise ValueError(
            f"max_length={asked['max_length']} counts padding and nothing that is cached; give max_new_tokens"
        )
    new_tokens = NEW_TOKENS if asked["max_new_tokens"] is None else asked["max_new_tokens"]
    numbered = [f"{what} {number}" for number in range(1, len(prompt_tokens) + 1)]
    gist_model.refuse_longer([tokens + new_tokens for tokens in prompt_tokens], numbered)

    # A processor class of our own, run last: with `suppress_tokens` a user's SuppressTokens processor would replace ours.
    never = _NeverTheGistToken(gist_model.gist_token_id)
    options = {**options, "logits_processor": [*processors, never]}
    options.pop("use_cache", None)
    if "generation_config" in options:  # transformers wants no separate options beside it
        options["generation_config"] = copy.deepcopy(options["generation_config"])
        options["generation_config"].use_cache = True
    else:
        options["use_cache"] = True
    allowed = options.get("prefix_allowed_tokens_fn")
    answers, pad = [], gist_model.tokenizer.pad_token_id
    for start in range(0, len(prompt_tokens), batch_size):
        arguments = begin(slice(start, min(start + batch_size, len(prompt_tokens))))
        if allowed is not None:  # a user's function, which counts rows over all batches
            options["prefix_allowed_tokens_fn"] = partial(_of_row, allowed, start)
        with nothing_left_behind():
            if may_drop_rows(asked):
                answers.append(
                    decode_without_ended_rows(
                        gist_model.model,
                        arguments,
                        options,
                        ends=asked["eos_token_id"],
                        pad=pad if asked["pad_token_id"] is None else asked["pad_token_id"],
                        max_new_tokens=new_tokens,
                    )
                )
            else:
                answers.append(decode(gist_model.model, arguments, options))
    width = max(tokens.shape[1] for tokens in answers)
    return torch.cat([nn.functional.pad(tokens, (0, width - tokens.shape[1]), value=pad) for tokens in answers])


class _NeverTheGistToken(LogitsProcessor):
    def __init__(self, gist_token_id: int) -> None:
        self.gist_token_id = gist_token_id

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """input_ids: shape (batch, seq_len). scores: shape (batch, vocab_size), of the next token."""
        gist = torch.arange(scores.shape[-1], device=scores.device) == self.gist_token_id
        return scores.masked_fill(gist, -torch.inf)


def _of_row(allowed: Callable[[int, torch.Tensor], list[int]], start: int, row: int, ids: torch.Tensor) -> list[int]:
    return allowed(start + row, ids)
