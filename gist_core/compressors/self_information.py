"""Self-information: an instruction is replaced by the words that the model could least have guessed.

After Selective Context (Li et al. 2023, arXiv 2310.06201), with whole words as units; the model that answers is also the one
that guesses. weight(word) = the sum over its tokens of -ln p(token | all before it in the prompt), in nats.
"""

import re
from collections.abc import Sequence

import torch

from gist_core.compressors import Compressor
from gist_core.compressors._words import heaviest_words
from gist_core.data.prompt import BEFORE_INSTRUCTION, instruction_part
from gist_core.models.gist_model import GistModel

_WORD = r"\S+"


def make_compressor(instructions: Sequence[str], gist_model: GistModel) -> Compressor:
    """`instructions` are not used.

    Raises:
        ValueError: the model does not predict a prompt's tokens from all those before (an encoder-decoder, or a condition
            other than pos_control), or its tokenizer does not say which characters a token stands for.
    """
    tokenizer = gist_model.tokenizer
    if gist_model.is_encoder_decoder or gist_model.settings.condition != "pos_control":
        raise ValueError(
            "the compressor self_information needs a decoder of condition pos_control, which reads an instruction from left to "
            f"right; this is a {gist_model.model.config.model_type} of {gist_model.settings.condition}"
        )
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} has no character offsets, which the compressor self_information needs"
        )

    def compress(instruction: str, num_tokens: int) -> str:
        words, weights = zip(*self_information(gist_model, instruction), strict=True)
        return heaviest_words(words, weights, tokenizer, num_tokens)

    return compress


def self_information(gist_model: GistModel, instruction: str) -> list[tuple[str, float]]:
    """The words of an instruction, with their weights in its prompt in nats.

    Raises:
        ValueError: the instruction is longer than the model's context.
    """
    words = list(re.finditer(_WORD, instruction))
    word_at = {character: index for index, word in enumerate(words) for character in range(*word.span())}
    weights = [0.0] * len(words)
    for start, end, nats in _of_tokens(gist_model, instruction):
        for index in {word_at[character] for character in range(start, end) if character in word_at}:
            weights[index] += nats
    return [(word.group(), weight) for word, weight in zip(words, weights, strict=True)]


@torch.inference_mode()
def _of_tokens(gist_model: GistModel, instruction: str) -> list[tuple[int, int, float]]:
    """For each token up to the end of the instruction in its prompt: where its characters start and end, counted from the
    instruction's first, and -ln of its probability. The gist token, which a text never holds, gets no probability."""
    encoded = gist_model.tokenizer(
        instruction_part(instruction), add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )
    length = gist_model.num_prefix_tokens + len(encoded.input_ids)
    ids = torch.tensor(gist_model.encode_instructions([instruction])[0][:length], device=gist_model.device)
    gist_model.refuse_longer([length], [f"the instruction {instruction[:40]!r}"])
    logits = gist_model.model(ids[None], use_cache=False).logits[0, :-1].float()
    logits[:, gist_model.gist_token_id] = -torch.inf
    nats = -logits.log_softmax(-1).gather(1, ids[1:, None]).flatten()
    # Paired from the end: the prompt's first token (BOS or the template's first) was not predicted.
    pairs = zip(reversed(encoded.offset_mapping), reversed(nats.tolist()), strict=False)
    return [(start - len(BEFORE_INSTRUCTION), end - len(BEFORE_INSTRUCTION), lost) for (start, end), lost in pairs]
