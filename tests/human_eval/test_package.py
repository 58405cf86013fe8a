"""Drawing, blinding and the key."""

import hashlib
import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gist_core.scoring.human_eval.files import HAND_OUT, KEY, read_package, write_package
from gist_core.scoring.human_eval.package import Pair, draw_package
from tests.human_eval.packages import ANNOTATORS, package, pairs


def draw(items, n=20, annotators=ANNOTATORS, seed=0):
    return draw_package(items, run="gist-1", against="pos_control", num_items=n, annotators=annotators, seed=seed)


def test_the_items_are_those_with_the_smallest_hash_of_row_id_and_seed():
    items = [Pair(f"{i:032x}", "instruction", "", "one", "two") for i in range(200)]
    drawn = draw(items, n=100, seed=7).row_ids
    by_hash = sorted(
        (p.row_id for p in items),
        key=lambda r: hashlib.sha256(json.dumps([r, 7], separators=(",", ":")).encode()).digest(),
    )
    assert list(drawn) == by_hash[:100]


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 40), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(seed, n, shuffler: random.Random):
    items = pairs(30)
    shuffled = items.copy()
    shuffler.shuffle(shuffled)
    assert draw(items, n, seed=seed) == draw(shuffled, n, seed=seed)


def test_one_more_annotator_moves_no_position_of_the_others():
    few, many = draw(pairs(), annotators=ANNOTATORS[:1]), draw(pairs())
    assert few.run_is_a[ANNOTATORS[0]] == many.run_is_a[ANNOTATORS[0]]


def test_positions_are_balanced_and_differ_between_annotators():
    items = [Pair(f"{i:032x}", "instruction", "", "one", "two") for i in range(1000)]
    drawn = draw(items, n=1000)
    shares = [len(drawn.run_is_a[name]) / 1000 for name in ANNOTATORS]
    assert all(0.44 < share < 0.56 for share in shares)  # 4 standard deviations
    both = len(drawn.run_is_a[ANNOTATORS[0]] & drawn.run_is_a[ANNOTATORS[1]]) / 1000
    assert 0.19 < both < 0.31


def test_fewer_rows_than_asked_for_are_all_drawn_and_counted():
    drawn = draw(pairs(5), n=100)
    assert (len(drawn.pairs), drawn.asked, drawn.eligible) == (5, 100, 5)


def test_the_id_changes_with_every_text_the_key_and_the_question(monkeypatch):
    original = package()
    first = original.pairs[0]
    others = [
        replace(original, pairs=(replace(first, **{name: getattr(first, name) + " "}), *original.pairs[1:]))
        for name in ("instruction", "input", "run_answer", "against_answer")
    ]
    others.append(replace(original, pairs=original.pairs[::-1]))
    name = ANNOTATORS[0]
    flipped = original.run_is_a[name] ^ {first.row_id}
    others.append(replace(original, run_is_a=original.run_is_a | {name: flipped}))
    others.append(replace(original, run="gist-2"))
    ids = {other.id for other in others} | {original.id}
    assert len(ids) == len(others) + 1
    assert replace(original, asked=200, eligible=300).id == original.id
    monkeypatch.setattr("gist_core.scoring.human_eval.package.QUESTION", "Which one is longer?")
    assert package().id not in ids


def test_a_package_with_awkward_texts_survives_its_key(tmp_path):
    original = package()
    write_package(original, tmp_path / "p")
    again = read_package(tmp_path / "p")
    assert again == original
    assert again.id == original.id


def test_writing_twice_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_package(package(), tmp_path / name)
    files = [sorted((f.relative_to(root), f.read_bytes()) for f in root.rglob("*") if f.is_file())
             for root in (tmp_path / "one", tmp_path / "two")]  # fmt: skip
    assert files[0] == files[1]
    assert len(files[0]) == 4 * len(ANNOTATORS) + 1


def test_nothing_that_is_handed_out_names_a_run_or_holds_the_key(tmp_path):
    items = [Pair(f"{i:032x}", "instruction", "", f"one {i}", f"two {i}") for i in range(10)]
    write_package(draw(items, n=10), tmp_path / "p")
    files = list((tmp_path / "p" / HAND_OUT).rglob("*.*"))
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert "gist-1" not in text
        assert "pos_control" not in text
        assert "shown_as" not in text


def test_an_edited_key_is_refused(tmp_path):
    write_package(package(), tmp_path / "p")
    path = tmp_path / "p" / KEY
    key = json.loads(path.read_text(encoding="utf-8"))
    key["items"][0]["run_answer"] += "!"
    path.write_text(json.dumps(key), encoding="utf-8")
    with pytest.raises(ValueError, match="its content has the id"):
        read_package(tmp_path / "p")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not valid JSON"), ("{}", "not the key"), ("[]", "not the key"), (None, "dvc repro human_package")],
)
def test_a_missing_or_broken_key_says_what_to_do(tmp_path, content, message):
    path = tmp_path / KEY
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_package(tmp_path)


def test_nothing_to_draw_from_and_double_names_are_refused():
    with pytest.raises(ValueError, match="nothing to judge"):
        draw([])
    with pytest.raises(ValueError, match="occurs twice"):
        draw([*pairs(3), pairs(1)[0]])
    with pytest.raises(ValueError, match="each once"):
        draw(pairs(3), annotators=("a", "a"))


def test_without_the_secret_neither_order_nor_seed_tell_the_sides():
    """All that a page shows: row ids in their order and the annotator's name. Of a hundred sides that a seed would give, about
    half are right by chance."""
    items = [Pair(f"row-{n}", "i", "", f"run {n}", f"other {n}") for n in range(100)]
    same = {"run": "gist-1", "against": "pos_control", "num_items": 100, "annotators": ["annotator-1"], "seed": 0}
    hidden = draw_package(items, **same, secret=["fingerprint of one", "fingerprint of the other"])
    guessed = draw_package(items, **same)
    assert guessed.row_ids == hidden.row_ids
    right = 100 - len(guessed.run_is_a["annotator-1"] ^ hidden.run_is_a["annotator-1"])
    assert 30 < right < 70
