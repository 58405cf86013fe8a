"""The scorer is the paper's, whatever the number of processes, and its figures are the published ones."""

import csv

import pytest

from gist_core.scoring.predictions import exactly_equal
from gist_core.scoring.rouge import RougeScores, has_words, mostly_read, rouge_l_pct, rouge_scores, score_pairs
from gist_core.scoring.summary import summarise_split
from tasks.rouge import runs_alike
from tasks.sections import RunParams

from .made_rows import AWKWARD, RELEASE, ROOT
from .released_files import read_released_judgement, read_released_outputs

upstream = [pytest.mark.upstream, pytest.mark.skipif(not RELEASE.exists(), reason=f"needs {RELEASE}")]


def test_rouge_l_equals_the_worked_example_of_lin_2004() -> None:
    """Lin (2004), section 3: against "police killed the gunman", "police kill the gunman" has an LCS of 3 of 4 words,
    "the gunman kill police" one of 2; stemming (which his example leaves out) turns killed into kill."""
    assert rouge_l_pct("police slew the gunman", "police kill the gunman") == pytest.approx(75.0)
    assert rouge_l_pct("police slew the gunman", "the gunman kill police") == pytest.approx(50.0)
    assert rouge_l_pct("police killed the gunman", "police kill the gunman") == 100.0


def test_the_three_scores_count_words_pairs_of_words_and_order() -> None:
    scores = rouge_scores("a b c d", "a b d c")
    assert scores.rouge_1_pct == pytest.approx(100.0)
    assert scores.rouge_2_pct == pytest.approx(100 / 3)
    assert scores.rouge_l_pct == pytest.approx(75.0)


@pytest.mark.parametrize("text", ["", " ", "\n", "???", "\N{PILE OF POO}"])
def test_a_text_without_words_scores_zero_and_is_known(text: str) -> None:
    assert rouge_scores("some words", text) == (0.0, 0.0, 0.0)
    assert rouge_scores(text, "some words") == (0.0, 0.0, 0.0)
    assert not has_words(text)
    assert has_words("Z 1")


@pytest.mark.parametrize(
    ("text", "read"),
    [("Plain words, 30.", True), ("価格は 30 円です", False), ("Größe", True), ("Привет, abc", False), ("???", False)],
)
def test_a_text_that_rouge_reads_less_than_half_of_is_known(text: str, read: bool) -> None:
    assert mostly_read(text) is read


def test_the_number_of_processes_does_not_change_a_score() -> None:
    references = [f"{text} word {i}" for i, text in enumerate(AWKWARD * 28)]
    predictions = list(reversed(references))
    alone = score_pairs(references, predictions, processes=1)
    assert len(alone) == 448
    assert score_pairs(references, predictions, processes=2) == alone


def test_unequal_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="2 references for 1 predictions"):
        score_pairs(["a", "b"], ["a"])


@pytest.mark.parametrize(
    ("matches", "n", "expected"),
    [(81, 263, [25.53, 36.62]), (15, 148, [6.24, 16.05]), (0, 20, [0.0, 16.11]), (1, 29, [0.61, 17.18])],
)
def test_the_interval_of_exact_match_is_wilsons(matches: int, n: int, expected: list[float]) -> None:
    """Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3 (score, no continuity correction)."""
    scores = dict.fromkeys(("pos_control", "neg_control"), [RougeScores(0.0, 0.0, 0.0)] * n)
    equal = [True] * matches + [False] * (n - matches)
    summary = summarise_split(scores, dict.fromkeys(scores, equal), resamples=2, seed=0)
    assert [round(end, 2) for end in summary["exact_match"]["pos_control"]["ci95_pct"]] == expected


def test_a_split_is_summarised_for_every_run_and_every_two_runs() -> None:
    scores = {
        "pos_control": score_pairs(["a b", "c d"], ["a b", "c d"]),
        "neg_control": score_pairs(["a b", "c d"], ["x", "y"]),
        "gist-1": score_pairs(["a b", "c d"], ["a b", ""]),
    }
    matches = {"pos_control": [True, True], "neg_control": [False, False], "gist-1": [True, False]}
    summary = summarise_split(scores, matches, resamples=100, seed=0)
    assert summary["rouge_l"]["gist-1"]["mean_pct"] == 50.0
    assert summary["rouge_l"]["gist-1"]["n"] == 2
    assert summary["exact_match"]["gist-1"]["mean_pct"] == 50.0
    assert summary["normalised"]["gist-1"]["rouge_l"]["pct"] == 50.0
    assert summary["normalised"]["pos_control"]["rouge_l"] == {"pct": 100.0, "ci95_pct": [100.0, 100.0]}
    pairs = [(pair["a"], pair["b"]) for pair in summary["significance"]]
    assert pairs == [("pos_control", "neg_control"), ("pos_control", "gist-1"), ("neg_control", "gist-1")]
    assert summary == summarise_split(scores, matches, resamples=100, seed=0)


def test_runs_that_differ_in_their_seed_alone_are_summarised_as_one() -> None:
    answers = {
        "pos_control": ["a b", "c d"],
        "neg_control": ["x", "y"],
        "neg-seed1": ["a b", "y"],
        "gist-1": ["a b", "c"],
        "gist-1-seed1": ["a b", ""],
    }
    scores = {run: score_pairs(["a b", "c d"], texts) for run, texts in answers.items()}
    matches = {run: [False, False] for run in answers}
    alike = [["neg_control", "neg-seed1"], ["gist-1", "gist-1-seed1"]]
    summary = summarise_split(scores, matches, resamples=100, seed=0, alike=alike)
    negative, gist = summary["over_seeds"]
    # By hand: rows score 100, 66.7 and 100, 0, so 83.3 and 50; the controls 100 and (0 + 50) / 2.
    assert (gist["runs"], negative["runs"]) == (alike[1], alike[0])
    assert gist["controls"] == ["neg_control", "neg-seed1", "pos_control"]
    assert gist["rouge_l"]["mean_pct"] == pytest.approx(66.6667, abs=1e-4)
    assert gist["rouge_l"]["sd_pct"] == pytest.approx(23.5702, abs=1e-4)
    kept = gist["normalised"]["rouge_l"]
    assert kept["pct"] == pytest.approx(55.5556, abs=1e-4)
    assert kept["sd_pct"] == pytest.approx(31.4270, abs=1e-4)
    assert negative["normalised"]["rouge_l"]["pct"] == 0.0
    assert summarise_split(scores, matches, resamples=100, seed=0)["over_seeds"] == []
    assert {key: value for key, value in summary.items() if key != "over_seeds"} == {
        key: value
        for key, value in summarise_split(scores, matches, resamples=100, seed=0).items()
        if key != "over_seeds"
    }


def test_runs_are_alike_where_their_seeds_alone_differ() -> None:
    def run(**options: object) -> RunParams:
        return RunParams(**{"condition": "gist", "num_gist_tokens": 1, "start": "data/base_model"} | options)

    runs = {
        "pos_control": run(condition="pos_control"),
        "gist-1": run(),
        "gist-2": run(num_gist_tokens=2, seed=1),
        "gist-1-seed1": run(seed=1),
        "gist-1-again": run(seed=1),
        "gist-1-longer": run(seed=2, steps=9),
    }
    assert runs_alike(runs) == [["gist-1", "gist-1-seed1"]]


class TestAgainstTheRelease:
    pytestmark = upstream

    @pytest.mark.parametrize("split", ["seen", "unseen", "human"])
    def test_rouge_l_is_within_0_2_of_the_published_figure(self, split: str) -> None:
        with (RELEASE / "rouge.csv").open(encoding="utf-8", newline="") as file:
            published = {(row["condition"], row["split"]): float(row["value"]) for row in csv.DictReader(file)}
        for condition in ("pos_control", "neg_control", "gist"):
            rows = read_released_outputs(RELEASE / "model_outputs" / f"LLaMA-{condition}-1-{split}.csv")
            values = [rouge_l_pct(row.reference, row.prediction) for row in rows]
            assert sum(values) / len(values) == pytest.approx(published[condition, split], abs=0.2)

    @pytest.mark.parametrize(("split", "expected"), [("seen", 44.9), ("unseen", 21.1), ("human", 9.1)])
    def test_exact_match_of_gist_1_with_pos_control_is_the_published_one(self, split: str, expected: float) -> None:
        gist, positive = (
            read_released_outputs(RELEASE / "model_outputs" / f"LLaMA-{condition}-1-{split}.csv")
            for condition in ("gist", "pos_control")
        )
        equal = [exactly_equal(a.prediction, b.prediction) for a, b in zip(gist, positive, strict=True)]
        assert 100 * sum(equal) / len(equal) == pytest.approx(expected, abs=0.3)

    @pytest.mark.parametrize(
        ("run", "split", "stated", "recounted"),
        [
            ("gist", "human", (115.5, 136.5), (114.5, 137.5)),
            ("gist", "unseen", (496.5, 503.5), (496.5, 503.5)),
            ("neg_control", "human", (56.0, 196.0), (56.5, 195.5)),
            ("neg_control", "unseen", (254.5, 745.5), (254.5, 745.5)),
        ],
    )
    def test_stated_and_recounted_points_come_out_and_a_difference_is_reported(
        self, run: str, split: str, stated: tuple[float, float], recounted: tuple[float, float]
    ) -> None:
        judged = read_released_judgement(RELEASE / "chatgpt" / f"LLaMA-{run}-1-vs-LLaMA-pos_control-1-{split}.json")
        assert judged.stated_points == stated
        assert judged.recounted_points == recounted
        assert (judged.discrepancy is None) == (stated == recounted)
        if judged.discrepancy:
            assert f"{stated[0]:g} to {stated[1]:g}" in judged.discrepancy

    @pytest.mark.parametrize(
        ("split", "won", "decided"),
        [("human", 149, 223), ("unseen", 414, 727)],
    )
    def test_the_share_won_by_the_first_position(self, split: str, won: int, decided: int) -> None:
        judged = read_released_judgement(RELEASE / "chatgpt" / f"LLaMA-gist-1-vs-LLaMA-pos_control-1-{split}.json")
        assert judged.decided == decided
        assert judged.first_position_share_pct == pytest.approx(100 * won / decided)

    def test_the_table_of_first_position_shares_in_the_docs_is_what_the_files_say(self) -> None:
        columns = []
        for split in ("human", "unseen"):
            path = RELEASE / "chatgpt" / f"LLaMA-gist-1-vs-LLaMA-pos_control-1-{split}.json"
            verdicts = read_released_judgement(path).verdicts
            decided = [verdict for verdict in verdicts if verdict.winner != "tie"]
            won = sum(bool(verdict.won_by_first) for verdict in decided)
            ties = len(verdicts) - len(decided)
            differ = [verdict for verdict in decided if verdict.answer_a != verdict.answer_b]
            first = {name: [verdict for verdict in decided if verdict.first == name] for name in "ab"}
            winner = {name: [verdict for verdict in decided if verdict.winner == name] for name in "ab"}
            groups = [decided, differ, first["a"], first["b"], winner["a"], winner["b"]]
            shares = [(float(sum(bool(v.won_by_first) for v in group)), len(group)) for group in groups]
            shares += [(won + ties / 2, len(verdicts)), (won, len(verdicts)), (len(winner["a"]), len(decided))]
            columns.append([f"{100 * count / of:.1f} % ({count:g} of {of})" for count, of in shares])
        docs = (ROOT / "docs/scoring.md").read_text(encoding="utf-8")
        table = [line.split(" | ")[1:] for line in docs.split("\n") if " % (" in line and line.endswith(") |")]
        assert [[human, unseen.removesuffix(" |")] for human, unseen in table] == list(
            map(list, zip(*columns, strict=True))
        )
