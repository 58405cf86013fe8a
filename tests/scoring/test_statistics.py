"""The estimators against closed forms, published figures and their own seeds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gist_core.scoring.statistics import (
    bootstrap_mean,
    normalised_score,
    paired_difference,
    paired_relative_difference,
    resampled_means,
)

VALUES = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0]
scores = st.lists(st.floats(0, 100), min_size=2, max_size=30)


def test_the_bootstrap_is_reproducible_to_the_bit() -> None:
    first, second = (bootstrap_mean(VALUES, resamples=500, seed=7) for _ in range(2))
    assert first == second
    assert bootstrap_mean(VALUES, resamples=500, seed=8) != first


def test_the_bootstrap_equals_one_written_out_by_hand() -> None:
    generator = np.random.Generator(np.random.PCG64(11))
    rows = generator.integers(0, 10, size=(200, 10))
    means = [sum(VALUES[row] for row in draw) / 10 for draw in rows]
    estimate = bootstrap_mean(VALUES, resamples=200, seed=11)
    assert estimate.mean == 3.9
    assert estimate.ci95 == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=1e-12)
    assert estimate.bootstrap_median == pytest.approx(float(np.median(means)), abs=1e-12)


def test_the_bootstrap_interval_is_close_to_the_normal_one_on_a_large_sample() -> None:
    values = np.random.Generator(np.random.PCG64(0)).normal(50, 10, size=2000)
    estimate = bootstrap_mean(values, resamples=4000, seed=0)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert estimate.ci95 == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)


def test_paired_samples_draw_the_same_rows() -> None:
    means = resampled_means(VALUES, [value + 2 for value in VALUES], resamples=50, seed=1)
    assert means[1] - means[0] == pytest.approx(np.full(50, 2.0), abs=1e-12)


def test_blocks_of_resamples_bound_the_memory_and_not_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gist_core.scoring.statistics._ROWS_DRAWN_AT_ONCE", 30)
    in_blocks = resampled_means(VALUES, resamples=101, seed=3)
    monkeypatch.undo()
    assert in_blocks.shape == (1, 101)
    assert np.array_equal(in_blocks, resampled_means(VALUES, resamples=101, seed=3))


def test_the_controls_normalise_to_zero_and_one_without_any_spread() -> None:
    negative, positive = np.array(VALUES), np.array(VALUES) * 2 + 1
    one = normalised_score(positive, negative, positive, seed=2)
    zero = normalised_score(negative, negative, positive, seed=2)
    assert one.value == 1.0
    assert one.ci95 == (1.0, 1.0)
    assert zero.value == 0.0
    assert zero.ci95 == (0.0, 0.0)


def test_values_that_are_all_alike_are_no_certainty() -> None:
    assert bootstrap_mean([20.0]).ci95 is None
    assert bootstrap_mean([0.0] * 9).ci95 is None
    assert paired_difference([3.0, 4.0], [1.0, 2.0]).ci95 is None
    assert normalised_score([2.0], [1.0], [3.0]).ci95 is None
    assert normalised_score([2.0], [1.0], [3.0]).value == 0.5


def test_normalisation_gives_the_papers_figures() -> None:
    """LLaMA-7B gist-1 ROUGE-L, seen / unseen / human: 99.1 / 91.1 / 75.5 % (the paper, table of validation results)."""
    for gist, negative, positive, expected in (
        (57.779, 31.5104, 58.0104, 99.1),
        (46.6212, 31.4194, 48.0998, 91.1),
        (23.9176, 14.4014, 27.0024, 75.5),
    ):
        value = normalised_score([gist, gist], [negative, negative], [positive, positive]).value
        assert value is not None
        assert round(100 * value, 1) == expected


def test_a_normalised_score_without_a_gap_between_the_controls_is_undefined_and_not_a_number() -> None:
    estimate = normalised_score(VALUES, VALUES, VALUES)
    assert estimate.value is None
    assert estimate.ci95 is None


def test_controls_whose_means_differ_by_rounding_alone_have_no_gap() -> None:
    negative = [57.14, 66.67, 28.57, 33.33, 57.14]
    positive = [57.14, 28.57, 33.33, 66.67, 57.14]  # the same values on other rows
    assert 0 < np.mean(positive) - np.mean(negative) < 1e-13
    estimate = normalised_score([50.0, 40.0, 60.0, 10.0, 20.0], negative, positive, seed=0)
    assert (estimate.value, estimate.ci95) == (None, None)


def test_a_normalised_score_with_an_uncertain_gap_has_no_finite_interval() -> None:
    estimate = normalised_score([1.0, 1.0, 1.0, 1.0], [0.0, 4.0, 0.0, 4.0], [4.0, 0.0, 4.0, 1.0])
    assert estimate.value is not None
    assert estimate.ci95 is None


def test_resamples_without_a_gap_lie_beyond_the_end_of_the_interval_and_do_not_shorten_it() -> None:
    n = 40
    positive = [1.0] * 27 + [-1.0] * 13  # some one % of the resamples have no positive mean
    values, negative = [0.5] * n, [0.0] * n
    found = normalised_score(values, negative, positive, resamples=4000, seed=0)
    gaps = resampled_means(positive, resamples=4000, seed=0)[0]
    assert 0 < (gaps <= 0).mean() < 0.025
    ratios = sorted(0.5 / gap if gap > 0 else math.inf for gap in gaps)
    assert found.ci95 is not None
    assert found.ci95[1] == pytest.approx(ratios[round(0.975 * 3999)], rel=0.1)
    assert found.ci95[1] > 1.2 * sorted(0.5 / gap for gap in gaps if gap > 0)[round(0.975 * (gaps > 0).sum()) - 1]


def test_the_relative_difference_is_the_ratio_of_means_and_not_the_mean_of_ratios() -> None:
    estimate = paired_relative_difference([1.0, 90.0], [2.0, 100.0])
    assert estimate.value == pytest.approx((45.5 - 51) / 51)
    assert estimate.value != pytest.approx((-0.5 - 0.1) / 2)


def test_a_constant_relative_saving_has_an_interval_of_no_width() -> None:
    estimate = paired_relative_difference([value * 0.6 for value in VALUES], VALUES)
    assert estimate.value == pytest.approx(-0.4)
    assert estimate.ci95 == pytest.approx((-0.4, -0.4))


def test_significance_of_a_clear_difference_and_of_none() -> None:
    generator = np.random.Generator(np.random.PCG64(5))
    a = generator.normal(0, 1, 200)
    clear = paired_difference(a + 1, a + generator.normal(0, 0.5, 200), resamples=999)
    assert clear.p_value == 0.001
    assert clear.ci95 is not None
    assert clear.ci95[0] > 0.8
    assert paired_difference(a, a).p_value == 1.0


def test_the_p_value_is_that_of_the_exact_randomisation_test() -> None:
    """Eight differences, all positive: 2 of the 256 sign patterns are as extreme as the observed one."""
    assert paired_difference(range(1, 9), [0] * 8, resamples=200_000).p_value == pytest.approx(2 / 256, abs=6e-4)


@settings(max_examples=30)
@given(st.data(), scores)
def test_swapping_two_runs_negates_the_difference_and_keeps_the_p_value(data: st.DataObject, a: list[float]) -> None:
    b = data.draw(st.lists(st.floats(0, 100), min_size=len(a), max_size=len(a)))
    one, other = paired_difference(a, b, resamples=50), paired_difference(b, a, resamples=50)
    assert one.difference == -other.difference
    assert one.p_value == other.p_value
    if one.ci95 is None or other.ci95 is None:
        assert one.ci95 is other.ci95
    else:
        assert one.ci95 == pytest.approx((-other.ci95[1], -other.ci95[0]), abs=1e-9)


def test_nothing_to_average_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        bootstrap_mean([])
    with pytest.raises(ValueError, match=r"value 1 of sample 0 is nan"):
        bootstrap_mean([1.0, float("nan")])
    with pytest.raises(ValueError, match="same rows"):
        paired_difference([1.0], [1.0, 2.0])
