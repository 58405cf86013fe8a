"""The figures of reports/human_eval.json."""

import json
import random

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from gist_core.scoring.human_eval.judge import JudgeRatings
from gist_core.scoring.human_eval.package import Pair, draw_package
from gist_core.scoring.human_eval.results import evaluate
from gist_core.scoring.statistics import bootstrap_mean
from tests.human_eval.packages import ANNOTATORS, choice_for

RUN, AGAINST = "gist-1", "pos_control"


def draw(n=40, swapped=False):
    items = []
    for i in range(n):
        run, other = ("same", "same") if i % 10 == 0 else (f"run {i}", f"other {i}")
        items.append(Pair(f"{i:032x}", f"Instruction {i}", "", run, other))
    if swapped:
        items = [Pair(p.row_id, p.instruction, p.input, p.against_answer, p.run_answer) for p in items]
    names = (AGAINST, RUN) if swapped else (RUN, AGAINST)
    return draw_package(items, run=names[0], against=names[1], num_items=n, annotators=ANNOTATORS, seed=3)


def answers_for(drawn, flip=False, complete=(1.0, 1.0, 0.5)):
    """Answers of people who agree more often than not; the last one stopped half way."""
    winners = {"run": "against", "against": "run"} if flip else {}
    result = {}
    for name, share in zip(ANNOTATORS, complete, strict=True):
        rng = random.Random(name)
        truth = random.Random(0)
        result[name] = {}
        for row_id in drawn.row_ids[: int(share * len(drawn.pairs))]:
            usual = truth.choice(["run", "against", "tie"])
            winner = usual if rng.random() < 0.6 else rng.choice(["run", "against", "tie", "unknown"])
            result[name][row_id] = choice_for(drawn, name, row_id, winners.get(winner, winner))
    return result


def judge_for(drawn, flip=False):
    rng = random.Random(9)
    ratings = {row_id: rng.choice([-1.0, 0.0, 1.0]) * (-1 if flip else 1) for row_id in drawn.row_ids[5:]}
    return JudgeRatings(ratings, {"provider": "test", "model": "m"})


def run(drawn, answers, judge=None, resamples=30, seed=0):
    return evaluate(drawn, answers, judge=judge, resamples=resamples, seed=seed)


def test_counts_are_those_of_a_plain_recount():
    drawn = draw()
    answers = answers_for(drawn)
    figures = run(drawn, answers)
    winners = [drawn.unblind(n, r, c) for n, given in answers.items() for r, c in given.items()]
    rate = figures["win_rate"]
    assert [rate["wins"], rate["ties"], rate["losses"], rate["unknown"]] == [
        winners.count(w) for w in ("run", "tie", "against", "unknown")
    ]
    decided = len(winners) - winners.count("unknown")
    assert rate["n"] == decided
    assert rate["win_rate_pct"] == pytest.approx(
        100 * (winners.count("run") + winners.count("tie") / 2) / decided, abs=1e-12
    )
    assert rate["ci95_pct"][0] < rate["win_rate_pct"] < rate["ci95_pct"][1]
    assert min(rate["wins"], rate["ties"], rate["losses"], rate["unknown"]) > 0


def test_incomplete_sets_are_counted_and_not_guessed():
    drawn = draw()
    figures = run(drawn, answers_for(drawn))
    assert figures["num_annotators"] == {"planned": 3, "started": 3, "complete": 2}
    assert figures["num_answers"] == {"expected": 120, "given": 100}
    last = figures["annotators"][ANNOTATORS[2]]
    assert (last["answered"], last["missing"], last["complete"]) == (20, 20, False)
    assert figures["complete"] is False
    pairs = figures["agreement"]["cohen_kappa_linear"]["pairs"]
    assert max(p["n"] for p in pairs if ANNOTATORS[2] in p["annotators"]) <= 20


def test_swapping_the_two_runs_swaps_the_result_exactly():
    """The same people with the same opinions, but the two runs have changed their places: wins become losses, the win
    rate its complement, and every agreement stays."""
    drawn, swapped = draw(), draw(swapped=True)
    one = run(drawn, answers_for(drawn), judge_for(drawn))
    two = run(swapped, answers_for(swapped, flip=True), judge_for(swapped, flip=True))
    for a, b in zip(
        [one["win_rate"], *one["annotators"].values()], [two["win_rate"], *two["annotators"].values()], strict=True
    ):
        assert (a["wins"], a["ties"], a["losses"], a["unknown"]) == (b["losses"], b["ties"], b["wins"], b["unknown"])
        assert a["win_rate_pct"] == pytest.approx(100 - b["win_rate_pct"], abs=1e-12)
        assert a["ci95_pct"] == pytest.approx([100 - b["ci95_pct"][1], 100 - b["ci95_pct"][0]], abs=1e-12)
    for group in ("agreement", "judge"):
        for name, value in one[group].items():
            if isinstance(value, dict) and "undefined_resamples" in value:
                key = "mean_pct" if "mean_pct" in value else "value"
                assert value[key] == pytest.approx(two[group][name][key], abs=1e-12), name


def test_the_place_on_the_page_does_not_change_what_is_counted():
    """Exchanging A and B on the page, together with the choices, leaves all but the share of the first place."""
    drawn = draw()
    answers = answers_for(drawn)
    mirrored = draw_package(drawn.pairs, run=RUN, against=AGAINST, num_items=40, annotators=ANNOTATORS, seed=3)
    mirrored.run_is_a.update({n: frozenset(drawn.row_ids) - drawn.run_is_a[n] for n in ANNOTATORS})
    other = {"A": "B", "B": "A"}
    flipped = {n: {r: other.get(c, c) for r, c in given.items()} for n, given in answers.items()}
    one, two = run(drawn, answers, judge_for(drawn)), run(mirrored, flipped, judge_for(drawn))
    share_one, share_two = one.pop("first_position"), two.pop("first_position")
    assert one.pop("package") != two.pop("package")
    assert one == two
    assert share_one["share_pct"] == pytest.approx(100 - share_two["share_pct"], abs=1e-12)


def test_bootstrap_intervals_are_reproducible_to_the_bit():
    drawn = draw()
    one = run(drawn, answers_for(drawn), judge_for(drawn), seed=5)
    again = run(drawn, answers_for(drawn), judge_for(drawn), seed=5)
    assert json.dumps(one) == json.dumps(again)
    # The order in which files were imported is no part of the result either.
    backwards = {n: dict(reversed(list(a.items()))) for n, a in reversed(list(answers_for(drawn).items()))}
    assert json.dumps(run(drawn, backwards, judge_for(drawn), seed=5)) == json.dumps(one)
    assert run(drawn, answers_for(drawn), seed=6)["win_rate"]["ci95_pct"] != one["win_rate"]["ci95_pct"]


def test_the_interval_of_a_complete_win_rate_is_that_of_the_shared_bootstrap():
    drawn = draw()
    winners = [("run", "against", "tie", "run")[i % 4] for i in range(40)]
    choices = {r: choice_for(drawn, ANNOTATORS[0], r, w) for r, w in zip(drawn.row_ids, winners, strict=True)}
    rate = run(drawn, {ANNOTATORS[0]: choices}, resamples=200, seed=4)["win_rate"]
    scores = [{"run": 100.0, "tie": 50.0, "against": 0.0}[winner] for winner in winners]
    shared = bootstrap_mean(scores, resamples=200, seed=4)
    assert (rate["win_rate_pct"], rate["ci95_pct"]) == (shared.mean, list(shared.ci95))


def test_without_answers_every_figure_is_null_and_the_counts_say_so():
    figures = run(draw(), {})
    assert figures["win_rate"]["win_rate_pct"] is None
    assert figures["agreement"]["krippendorff_alpha_ordinal"]["value"] is None
    assert figures["num_answers"]["given"] == 0
    assert figures["annotators"][ANNOTATORS[0]]["missing"] == 40
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize(("winner", "rate"), [("run", 100), ("tie", 50), ("against", 0)])
def test_ratings_that_are_all_the_same_are_no_certainty(winner, rate):
    drawn = draw(10)
    answers = {name: {r: choice_for(drawn, name, r, winner) for r in drawn.row_ids} for name in ANNOTATORS[:2]}
    found = run(drawn, answers)["win_rate"]
    low, high = proportion_confint(rate / 10, 10, method="wilson")  # of ten items, not of twenty answers
    assert found["win_rate_pct"] == rate
    assert found["ci95_pct"] == pytest.approx([100 * low, 100 * high])
    assert (found["interval"], run(draw(), answers_for(draw()))["win_rate"]["interval"]) == ("wilson", "bootstrap")


def test_items_that_all_come_to_the_same_are_no_certainty():
    drawn = draw(10)
    answers = {
        name: {r: choice_for(drawn, name, r, winner) for r in drawn.row_ids}
        for name, winner in zip(ANNOTATORS[:2], ("run", "against"), strict=True)
    }
    found = run(drawn, answers)["win_rate"]
    low, high = proportion_confint(5, 10, method="wilson")
    assert (found["win_rate_pct"], found["interval"]) == (50, "wilson")
    assert found["ci95_pct"] == pytest.approx([100 * low, 100 * high])


def test_one_annotator_has_a_win_rate_but_no_agreement():
    drawn = draw()
    figures = run(drawn, {ANNOTATORS[1]: answers_for(drawn)[ANNOTATORS[1]]}, judge_for(drawn))
    assert figures["win_rate"]["win_rate_pct"] is not None
    assert figures["agreement"]["cohen_kappa_linear"]["value"] is None
    assert figures["agreement"]["fleiss_kappa"] == {"value": None, "ci95": None, "undefined_resamples": 0, "n_items": 0}
    assert figures["judge"]["cohen_kappa_linear"]["value"] is not None
    json.dumps(figures, allow_nan=False)


def test_people_who_always_agree_with_the_judge_have_kappa_one():
    drawn = draw()
    judge = judge_for(drawn)
    winner = {1.0: "run", 0.0: "tie", -1.0: "against"}
    answers = {n: {r: choice_for(drawn, n, r, winner[v]) for r, v in judge.ratings.items()} for n in ANNOTATORS}
    figures = run(drawn, answers, judge)
    assert figures["judge"]["cohen_kappa_linear"] == {"value": 1.0, "ci95": None, "undefined_resamples": 0}
    assert figures["judge"]["percent_agreement"] == {"mean_pct": 100.0, "ci95_pct": None, "undefined_resamples": 0}
    assert figures["judge"]["verdicts"] == 35
    assert figures["agreement"]["krippendorff_alpha_ordinal"]["value"] == 1.0
    assert figures["win_rate"]["win_rate_pct"] == pytest.approx(figures["judge"]["win_rate_of_judge_pct"], abs=1e-12)


def test_identical_answers_are_counted_apart():
    drawn = draw()
    everything_a = {n: dict.fromkeys(drawn.row_ids, "A") for n in ANNOTATORS}
    figures = run(drawn, everything_a)
    assert figures["items"]["identical"] == 4
    assert figures["identical_called_tie"] == {"ties": 0, "n": 12}
    assert figures["first_position"] == {"share_pct": 100.0, "n": 120}


def test_an_interval_with_too_many_undefined_resamples_is_none():
    drawn = draw(6)
    choices = dict.fromkeys(drawn.row_ids[1:], "tie")
    answers = {n: choices | {drawn.row_ids[0]: choice_for(drawn, n, drawn.row_ids[0], "run")} for n in ANNOTATORS}
    alpha = run(drawn, answers, resamples=200)["agreement"]["krippendorff_alpha_nominal"]
    assert alpha["value"] == 1.0
    assert alpha["undefined_resamples"] > 5
    assert alpha["ci95"] is None
    assert np.isfinite(alpha["value"])
