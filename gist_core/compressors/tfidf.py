"""TF-IDF, the paper's baseline: an instruction is replaced by its words of highest weight.

weight(word) = count in the instruction * (ln((1 + n) / (1 + df)) + 1), with df of n training instructions holding the
word: scikit-learn's smoothed inverse document frequency, which is also defined for a word that training never saw.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import PreTrainedTokenizerBase

from gist_core.compressors import Compressor
from gist_core.models.tokens import tokens_in_prompt

_WORD = r"(?u)\b\w+\b"


def make_compressor(instructions: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Compressor:
    """Counts words in `instructions` (distinct ones of the training split), ignoring case."""
    unseen = math.log(1 + len(instructions)) + 1
    known: dict[str, float] = {}
    if any(re.search(_WORD, instruction) for instruction in instructions):
        vectorizer = TfidfVectorizer(token_pattern=_WORD).fit(instructions)
        known = dict(zip(vectorizer.get_feature_names_out(), map(float, vectorizer.idf_), strict=True))

    def weight(word: str) -> float:
        return known.get(word, unseen)

    def compress(instruction: str, num_tokens: int) -> str:
        """Takes words by falling weight (the earlier of two equals first) as long as all taken so far, in the order of
        the instruction, fit into `num_tokens`; a word that does not fit is passed over. If no word fits, the first tokens
        of the best one are left. An instruction without a word stays as much of itself as fits."""
        words = re.findall(_WORD, instruction)
        counts = Counter(word.lower() for word in words)
        first = {word.lower(): position for position, word in reversed(list(enumerate(words)))}
        ranked = sorted(counts, key=lambda word: (-counts[word] * weight(word), first[word]))
        kept: list[str] = []
        for word in ranked:
            longer = sorted([*kept, word], key=first.__getitem__)
            length = len(tokens_in_prompt(tokenizer, _text(words, first, longer)))
            if length <= num_tokens:
                kept = longer
            if length == num_tokens:
                break
        if kept:
            return _text(words, first, kept)
        return _cut(tokenizer, words[first[ranked[0]]] if ranked else instruction.strip(), num_tokens)

    return compress


def _cut(tokenizer: PreTrainedTokenizerBase, text: str, num_tokens: int) -> str:
    """The first tokens of a text in a prompt; if those are only the space before it, as many of the text by itself. Whole
    characters only: where not one fits, the first, which is then more than was allowed, and told as such."""
    for ids in (tokens_in_prompt(tokenizer, text), tokenizer.encode(text, add_special_tokens=False)):
        if whole := str(tokenizer.decode(ids[:num_tokens])).strip().rstrip("\N{REPLACEMENT CHARACTER}"):
            return whole
    return text[:1]


def _text(words: Sequence[str], first: dict[str, int], kept: Sequence[str]) -> str:
    return " ".join(words[first[word]] for word in kept)
