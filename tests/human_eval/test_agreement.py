"""Agreement coefficients against worked examples from the literature, to all digits that are printed there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gist_core.scoring.human_eval.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha, mean_pairwise_kappa

NAN = np.nan


def letters(*rows: str) -> np.ndarray:
    """One row per rater; a dot is a missing rating."""
    return np.array([[NAN if c == "." else float(ord(c)) for c in row] for row in rows])


def from_table(table: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Two raters' ratings from their cross table."""
    cells = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    first, second = zip(*cells, strict=True)
    return np.array(first, float), np.array(second, float)


def from_counts(counts: list[list[int]]) -> np.ndarray:
    """Ratings of shape (raters, items) from the number of raters per item and category."""
    return np.array([[c for c, n in enumerate(row) for _ in range(n)] for row in counts], float).T


# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", repository.upenn.edu/asc_papers/43:
# A, two observers and binary data; B, two observers and nominal data; C, four observers with missing data.
BINARY = letters("0100000010", "1110010000")
TWO_OBSERVERS = letters("aabbdcccedda", "babbbccceddd")
FOUR_OBSERVERS = letters("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
# Krippendorff's alpha, Wikipedia, "A computational example": three coders, 15 units, missing data.
THREE_CODERS = letters(".....34121133.3", "1.213343.......", "..21344.21133.4")


@pytest.mark.parametrize(
    ("ratings", "level", "printed"),
    [
        (BINARY, "nominal", "0.095"),
        (TWO_OBSERVERS, "nominal", "0.692"),
        (FOUR_OBSERVERS, "nominal", "0.743"),
        (FOUR_OBSERVERS, "ordinal", "0.815"),
        (THREE_CODERS, "nominal", "0.691"),
    ],
)
def test_krippendorff_alpha_equals_the_published_examples(ratings, level, printed):
    assert f"{krippendorff_alpha(ratings, level):.3f}" == printed


def test_linear_weighted_kappa_equals_the_published_example():
    """SAS/STAT User's Guide, The FREQ Procedure, "Agreement Study": two dermatologists; weighted kappa with the default
    Cicchetti-Allison (linear) weights."""
    first, second = from_table([[10, 4, 1, 0], [5, 10, 12, 2], [2, 4, 12, 5], [0, 2, 6, 13]])
    kappa = cohen_kappa(first, second, (0, 1, 2, 3))
    assert f"{kappa:.4f}" == "0.5082"


def test_fleiss_kappa_equals_the_published_examples():
    """Fleiss (1971), table 1: 30 patients, 6 psychiatrists, 5 diagnoses. And Wikipedia, "Fleiss' kappa", worked
    example: 10 subjects, 14 raters, 5 categories."""
    diagnoses = """00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
                   00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006"""
    counts = [[int(c) for c in patient] for patient in diagnoses.split()]
    assert np.sum(counts, axis=0).tolist() == [26, 26, 30, 55, 43]  # the column totals that Fleiss prints
    assert f"{fleiss_kappa(from_counts(counts)):.3f}" == "0.430"

    worked = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
              [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    assert f"{fleiss_kappa(from_counts(worked)):.3f}" == "0.210"


def test_missing_ratings_are_dropped_pair_by_pair():
    ratings = np.array([[1, 0, -1, 1, NAN, 0], [1, 0, 0, NAN, 1, 0], [NAN, 0, -1, 1, 1, -1]])
    pairs = [
        cohen_kappa(np.array([1, 0, -1, 0.0]), np.array([1, 0, 0, 0.0]), (-1, 0, 1)),
        cohen_kappa(np.array([0, -1, 1, 0.0]), np.array([0, -1, 1, -1.0]), (-1, 0, 1)),
        cohen_kappa(np.array([0, 0, 1, 0.0]), np.array([0, -1, 1, -1.0]), (-1, 0, 1)),
    ]
    assert mean_pairwise_kappa(ratings, (-1, 0, 1)) == pytest.approx(sum(pairs) / 3, abs=1e-15)


def test_a_rater_who_has_just_begun_weighs_little():
    first = np.array([1, 0, -1, 1, 0, 0, 1, -1, 0, 1.0])
    second = np.array([1, 0, 0, 1, 0, -1, 1, -1, 0, 1.0])
    begun = np.full(10, NAN)
    begun[0] = -1  # against both
    alone = mean_pairwise_kappa(np.stack([first, second]), (-1, 0, 1))
    assert mean_pairwise_kappa(np.stack([first, second, begun]), (-1, 0, 1)) == pytest.approx(alone * 10 / 12)


def test_fleiss_counts_only_items_that_all_rated():
    complete = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 0.0]])
    padded = np.hstack([complete, [[NAN], [1.0], [0.0]]])
    assert fleiss_kappa(padded) == fleiss_kappa(complete)


def test_the_distance_counts_two_categories_apart_as_two():
    """A rater who confuses win with loss agrees less than one who confuses win with tie."""
    truth = np.array([1, 1, 1, 0, 0, -1, -1, -1.0])
    near, far = truth.copy(), truth.copy()
    near[0], far[0] = 0, -1
    assert cohen_kappa(truth, near, (-1, 0, 1)) > cohen_kappa(truth, far, (-1, 0, 1))


@pytest.mark.parametrize(
    "ratings",
    [
        np.full((2, 3), NAN),
        np.array([[1.0, 1, 1], [1, 1, 1]]),
        np.array([[1.0, 0, NAN], [NAN, NAN, 1]]),
        np.array([[1.0, 0, 1]]),
        np.empty((0, 3)),
    ],
)
def test_what_the_data_do_not_define_is_none(ratings):
    assert mean_pairwise_kappa(ratings, (-1, 0, 1)) is None
    assert fleiss_kappa(ratings) is None
    assert krippendorff_alpha(ratings, "nominal") is None
    assert krippendorff_alpha(ratings, "ordinal") is None


rating_tables = st.integers(2, 4).flatmap(
    lambda raters: st.lists(
        st.lists(st.sampled_from([-1.0, 0.0, 1.0, NAN]), min_size=raters, max_size=raters), min_size=1, max_size=12
    )
)


@given(rating_tables)
def test_swapping_win_and_loss_or_the_raters_changes_no_coefficient(items):
    ratings = np.array(items).T
    for coefficient in (
        lambda r: mean_pairwise_kappa(r, (-1, 0, 1)),
        fleiss_kappa,
        lambda r: krippendorff_alpha(r, "nominal"),
        lambda r: krippendorff_alpha(r, "ordinal"),
    ):
        value = coefficient(ratings)
        for other in (coefficient(-ratings), coefficient(ratings[::-1])):
            assert (value is None) == (other is None)
            assert value is None or other == pytest.approx(value, abs=1e-12)
