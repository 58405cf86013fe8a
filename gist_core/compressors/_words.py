"""Which words of an instruction to keep within a number of tokens."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from gist_core.models.tokens import tokens_in_prompt


def heaviest_words(
    words: Sequence[str], weights: Sequence[float], tokenizer: PreTrainedTokenizerBase, num_tokens: int
) -> str:
    """Takes words by falling weight (of equal ones the earlier first) while those taken so far, put in the order of the
    instruction, fit into `num_tokens`; a word that does not fit is skipped. If none fits, the first tokens of the heaviest
    word are left.

    words: in the order of the instruction, at least one. weights: one for each word.
    """
    ranked = sorted(range(len(words)), key=lambda index: -weights[index])
    kept: list[int] = []
    for index in ranked:
        longer = sorted([*kept, index])
        length = len(tokens_in_prompt(tokenizer, " ".join(words[i] for i in longer)))
        if length <= num_tokens:
            kept = longer
        if length == num_tokens:
            break
    return " ".join(words[i] for i in kept) if kept else first_tokens(words[ranked[0]], tokenizer, num_tokens)


def first_tokens(text: str, tokenizer: PreTrainedTokenizerBase, num_tokens: int) -> str:
    """The longest run of a text's first tokens that takes at most `num_tokens` tokens in a prompt. The text is tokenised as in
    a prompt or, if that yields nothing, by itself. Only whole characters are kept; if not even one fits, the first
    character is returned, which then counts as the larger number of tokens that it has."""
    bare = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    for ids in (tokens_in_prompt(tokenizer, text), bare):
        for end in range(num_tokens, 0, -1):
            whole = str(tokenizer.decode(ids[:end])).strip().rstrip("\N{REPLACEMENT CHARACTER}")
            if whole and len(tokens_in_prompt(tokenizer, whole)) <= num_tokens:
                return whole
    return text[:1]
