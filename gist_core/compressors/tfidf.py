"""TF-IDF, the paper's baseline: an instruction is replaced by its words of highest weight.

weight(word) = count in the instruction * (ln((1 + n) / (1 + df)) + 1), with df of n training instructions holding the
word: scikit-learn's smoothed inverse document frequency, which is also defined for a word that training never saw.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer

from gist_core.compressors import Compressor
from gist_core.compressors._words import first_tokens, heaviest_words
from gist_core.models.gist_model import GistModel

_WORD = r"(?u)\b\w+\b"


def make_compressor(instructions: Sequence[str], gist_model: GistModel) -> Compressor:
    """Counts words in `instructions` (distinct ones of the training split), ignoring case."""
    tokenizer = gist_model.tokenizer
    unseen = math.log(1 + len(instructions)) + 1
    known: dict[str, float] = {}
    if any(_words(instruction) for instruction in instructions):
        vectorizer = TfidfVectorizer(tokenizer=_words, token_pattern=None, lowercase=False).fit(instructions)
        known = dict(zip(vectorizer.get_feature_names_out(), map(float, vectorizer.idf_), strict=True))

    def compress(instruction: str, num_tokens: int) -> str:
        """Keeps each word once, at its first place. Of an instruction without words, as much is left as fits."""
        words = re.findall(_WORD, instruction)
        if not words:
            return first_tokens(instruction.strip(), tokenizer, num_tokens)
        counts = Counter(_words(instruction))
        first = {word.lower(): word for word in reversed(words)}
        weights = [count * known.get(word, unseen) for word, count in counts.items()]
        return heaviest_words([first[word] for word in counts], weights, tokenizer, num_tokens)

    return compress


def _words(text: str) -> list[str]:
    """Cut first and then in lower case: of "İ" lower case is two characters, the second of which is no letter."""
    return [word.lower() for word in re.findall(_WORD, text)]
