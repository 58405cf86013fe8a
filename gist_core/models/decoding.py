"""Decoding a batch without computing the rows that have ended.

Transformers' `generate` computes every row of a batch until the last one has ended. Here it stops whenever half of the rows
have, and is called again for the others, with their part of the cache.
"""

from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, StoppingCriteria
from transformers.modeling_outputs import BaseModelOutput

from gist_core.masks import Bounds
from gist_core.models.attention import CACHE_NAME, GistState

# Options that do not look back: with them it makes no difference whether one call makes an answer or a second one its rest.
_NOT_LOOKING_BACK = (
    "max_new_tokens",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "use_cache",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
)

# What others mean that are written out without asking for anything.
_NEUTRAL = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "return_dict_in_generate": False,
}


def may_drop_rows(asked: dict[str, Any]) -> bool:
    """Whether rows that have ended may leave their batch.

    asked: every option of a generation. Beams, penalties and whatever counts an answer's tokens need all of it in one call,
    and a user's own processors and criteria may.
    """
    neutral = vars(GenerationConfig()) | _NEUTRAL

    def looks_back(name: str, value: object) -> bool:
        if value is None or name in _NOT_LOOKING_BACK:
            return False
        return not isinstance(value, (int, float, str)) or value != neutral.get(name)

    return asked["eos_token_id"] is not None and not any(looks_back(*option) for option in asked.items())


def decode(model: PreTrainedModel, arguments: dict[str, Any], options: dict[str, Any]) -> torch.Tensor:
    """What `model.generate` answers.

    arguments: what to continue from. options: all others.

    Returns: token ids of the answers alone, shape (batch, new_tokens), padded on the right.
    """
    output = model.generate(**arguments, **options)  # type: ignore[operator]
    return output[:, _given(model, arguments) :]


def decode_without_ended_rows(
    model: PreTrainedModel,
    arguments: dict[str, Any],
    options: dict[str, Any],
    *,
    ends: Any,
    pad: int,
    max_new_tokens: int,
) -> torch.Tensor:
    """As `decode`, for options with which `may_drop_rows` is true.

    arguments: with an attention_mask. ends: the token, or tokens, that end an answer. max_new_tokens: of each answer.

    Returns: token ids of the answers alone, shape (batch, new_tokens), padded on the right with `pad`.
    """
    rest = _rest_in_decoder
    if model.config.is_encoder_decoder:
        rest = _rest_in_encoder_decoder
        if "encoder_outputs" not in arguments:
            mask = arguments["attention_mask"]
            encoded = model.get_encoder()(input_ids=arguments["input_ids"], attention_mask=mask)
            arguments = {"encoder_outputs": encoded, "attention_mask": mask}
    ends = torch.as_tensor(ends, device=model.device)
    rows = torch.arange(len(arguments["attention_mask"]), device=model.device)
    answers = torch.full((len(rows), max_new_tokens), pad, device=model.device)
    done = 0
    while True:
        given = _given(model, arguments)
        this_call = {
            "max_new_tokens": max_new_tokens - done,
            "stopping_criteria": [_HalfHaveEnded(given, ends)],
            "pad_token_id": pad,
            "return_dict_in_generate": True,
        }
        output = model.generate(**arguments, **options | this_call)  # type: ignore[operator]
        new = output.sequences[:, given:]
        answers[rows, done : done + new.shape[1]] = new
        done += new.shape[1]
        going_on = (~_ended(new, ends)).nonzero().flatten()
        if done == max_new_tokens or not len(going_on):
            return answers[:, :done]
        rows = rows[going_on]
        arguments = rest(arguments, output, going_on)


class _HalfHaveEnded(StoppingCriteria):
    """Ends a call of `generate` as soon as half of its rows have ended. given: tokens that stand before its first new one."""

    def __init__(self, given: int, ends: torch.Tensor) -> None:
        self.given, self.ends = given, ends

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """input_ids: shape (batch, seq_len). Returns torch.BoolTensor, shape (batch,)."""
        ended = _ended(input_ids[:, self.given :], self.ends)
        return (2 * ended.sum() >= len(ended)).expand(len(ended))


def _ended(new: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Which answers have ended; torch.BoolTensor, shape (batch,). new: shape (batch, new_tokens). ends: a token, or shape
    (tokens,)."""
    return torch.isin(new, ends).any(dim=1)


def _given(model: PreTrainedModel, arguments: dict[str, Any]) -> int:
    """Number of tokens that `generate` puts before an answer: what it continues from, or a decoder's start token."""
    if model.config.is_encoder_decoder:
        return arguments["decoder_input_ids"].shape[1] if "decoder_input_ids" in arguments else 1
    return arguments["input_ids"].shape[1]


def _rest_in_decoder(arguments: dict[str, Any], output: Any, rows: torch.Tensor) -> dict[str, Any]:
    """The arguments that continue some rows of a batch from their last token, the only one that is not in the cache yet.

    output: of a call with `arguments`; its sequences have the shape (batch, given and new tokens). rows: torch.LongTensor, shape
    (rows,), their places in that batch.
    """
    cache = getattr(output, CACHE_NAME)
    slots = cache.get_seq_length()
    cache.batch_select_indices(rows)
    mask = arguments["attention_mask"][rows]
    mask = torch.cat([mask, mask.new_ones(len(rows), slots + 1 - mask.shape[1])], dim=1)
    state: GistState | None = getattr(cache, "gist_state", None)
    if state is None:  # the stock model: pos_control from full prompts
        positions = mask.sum(dim=1, keepdim=True) - 1
    else:
        positions = state.positions[rows, slots - 1 : slots] + 1
        cache.gist_state = GistState(state.first_visible[rows], state.positions[rows])
    return {
        "input_ids": output.sequences[rows, -1:],
        "attention_mask": mask,
        "position_ids": positions,
        CACHE_NAME: cache,
    }


def _rest_in_encoder_decoder(arguments: dict[str, Any], output: Any, rows: torch.Tensor) -> dict[str, Any]:
    """As `_rest_in_decoder`. The decoder's tokens are given whole, because `generate` puts a start token before others, and
    with a mask of their length, from which it sees that all but the last are in the cache. Bounds of cross-attention have no
    end."""
    cache, encoded = getattr(output, CACHE_NAME), arguments["encoder_outputs"]
    cache.batch_select_indices(rows)
    encoder_outputs = BaseModelOutput(last_hidden_state=encoded.last_hidden_state[rows])
    encoder_outputs.gist_cross = Bounds(encoded.gist_cross.first[rows])
    sequences = output.sequences[rows]
    return {
        "encoder_outputs": encoder_outputs,
        "attention_mask": arguments["attention_mask"][rows],
        "decoder_input_ids": sequences,
        "decoder_attention_mask": torch.ones_like(sequences),
        CACHE_NAME: cache,
    }
