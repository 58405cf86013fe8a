"""A judge that is not a language model: the answer closer to the row's reference by ROUGE-L wins.

It needs no key and no network and costs nothing, so the whole pipeline runs anywhere. It measures likeness to the
reference, not quality, so each of its verdicts and summaries says what it is.
"""

from gist_core.scoring.judge.pair import Pair, Protocol, orders
from gist_core.scoring.judge.verdict import Call, Judge, Verdict, identical_verdict, verdict_of
from gist_core.scoring.rouge import has_words, rouge_l_pct

JUDGE = Judge(
    provider="reference_rule",
    model="reference_rule: ROUGE-L against the reference",
    is_language_model=False,
    note="Not a language model: the answer with the higher ROUGE-L against the reference output wins.",
)


def judge_by_reference(pair: Pair, protocol: Protocol, seed: int) -> Verdict:
    """The verdict of the rule. If the reference has no words that ROUGE could compare, it is "failed", not a tie."""
    if pair.identical:
        return identical_verdict(pair)
    calls = []
    for order in orders(pair, protocol, seed):
        if not has_words(pair.reference):
            calls.append(Call(order, "failed", error="the reference has no words that ROUGE could compare"))
            continue
        # Equal scores of answers of different length may differ in the last bit, which is no reason to prefer one.
        one, other = (round(rouge_l_pct(pair.reference, answer), 9) for answer in pair.shown(order))
        reason = f"ROUGE-L against the reference: A {one:.4f}, B {other:.4f}"
        calls.append(Call(order, "ok", "A" if one > other else "B" if other > one else "tie", reason))
    return verdict_of(pair, calls)
