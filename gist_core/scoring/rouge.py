"""ROUGE-1, -2 and -L of single rows, in parallel processes.

The scorer is the paper's: the F measure of `rouge_score` with Porter stemming. It compares only words of the letters a-z
and digits, so a text without any of these (a symbol, another script) has no words and scores 0.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from tqdm import tqdm

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

_PAIRS_PER_CHUNK = 200


class RougeScores(NamedTuple):
    """F measures of one row, 0 to 100."""

    rouge_1_pct: float
    rouge_2_pct: float
    rouge_l_pct: float


def rouge_scores(reference: str, prediction: str) -> RougeScores:
    """Scores one prediction. An empty prediction scores 0."""
    scores = _scorer(("rouge1", "rouge2", "rougeL")).score(reference, prediction)
    return RougeScores(*(100 * float(scores[kind].fmeasure) for kind in ("rouge1", "rouge2", "rougeL")))


def rouge_l_pct(reference: str, prediction: str) -> float:
    """ROUGE-L alone, 0 to 100."""
    return 100 * float(_scorer(("rougeL",)).score(reference, prediction)["rougeL"].fmeasure)


def has_words(text: str) -> bool:
    """Whether ROUGE sees any word in the text: a letter a-z or a digit after lower-casing."""
    return any(character in _WORD_CHARACTERS for character in text.lower())


def mostly_read(text: str) -> bool:
    """Whether ROUGE sees at least half of the text's letters and digits, and at least one. Otherwise two quite different
    texts of another script that share a number would count as equal."""
    lower = text.lower()
    seen = sum(character in _WORD_CHARACTERS for character in lower)
    return seen > 0 and 2 * seen >= sum(character.isalnum() for character in lower)


def score_pairs(references: Sequence[str], predictions: Sequence[str], *, processes: int = 1) -> list[RougeScores]:
    """Scores many rows; the result is in the order given and does not depend on the number of processes.

    Raises:
        ValueError: the two sequences differ in length.
    """
    if len(references) != len(predictions):
        raise ValueError(f"{len(references)} references for {len(predictions)} predictions")
    show = partial(tqdm, total=len(references), desc="ROUGE", unit="row", disable=None)
    if processes == 1 or len(references) <= _PAIRS_PER_CHUNK:
        return list(show(map(rouge_scores, references, predictions)))
    # spawn, because the caller may have threads, and a forked copy of a held lock is never released.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(show(pool.map(rouge_scores, references, predictions, chunksize=_PAIRS_PER_CHUNK)))


@cache
def _scorer(kinds: tuple[str, ...]) -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer  # it imports nltk, which takes longer than a judge stage

    return RougeScorer(list(kinds), use_stemmer=True)


_WORD_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
