"""The annotation page in a real headless Chromium, by keyboard, and what it exports through the real import."""

import json
import time
from pathlib import Path

import pytest

from gist_core.scoring.human_eval.files import write_package
from gist_core.scoring.human_eval.store import import_answers, load_answers
from tests.human_eval.browser import CHROMEDRIVER, CHROMIUM, chromium, press
from tests.human_eval.packages import ANNOTATORS, package, write_page_export

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="needs chromium and chromedriver"),
]
ONE, TWO, _ = ANNOTATORS
PATIENCE_SECONDS = 60  # for a busy machine; normally hundredths of a second
LEFT, RIGHT, DELETE = "\ue012", "\ue014", "\ue017"


@pytest.fixture(scope="module")
def drawn():
    return package()


@pytest.fixture(scope="module")
def pages(drawn, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("human_eval") / "package"
    write_package(drawn, folder)
    return folder / "hand_out"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        driver.downloads = Path(driver.capabilities["chrome"]["userDataDir"]) / "downloads"
        yield driver


@pytest.fixture
def page(browser, pages):
    """A fresh page of the first annotator: nothing answered."""
    browser.get((pages / ONE / f"{ONE}.html").as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    return browser


def text(page, element: str) -> str:
    return page.execute_script("return document.getElementById(arguments[0]).textContent", element)


def exported(page) -> Path:
    """Presses E and waits for the file."""
    before = set(page.downloads.glob("*.json"))
    press(page, "e")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if new := set(page.downloads.glob("*.json")) - before:
            return new.pop()
        time.sleep(0.02)
    raise AssertionError("no file was downloaded in time")


def choose_file(page, path: Path, expect: str) -> None:
    """Imports a file and waits for the notice."""
    page.find_element("id", "file").send_keys(str(path))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while expect not in text(page, "notice"):
        assert time.monotonic() < deadline, text(page, "notice")
        time.sleep(0.02)


def test_answer_reload_go_on_export_and_import(page, drawn, tmp_path):
    keys = ["1231021302"[i % 10] for i in range(len(drawn.pairs))]
    choice_of = {"1": "A", "2": "B", "3": "tie", "0": "unknown"}
    expected = {row_id: choice_of[key] for row_id, key in zip(drawn.row_ids, keys, strict=True)}

    press(page, *keys[:12])
    assert text(page, "count") == "12 of 30 answered"
    assert text(page, "where") == "Item 13 of 30"
    page.refresh()
    assert text(page, "count") == "12 of 30 answered"
    assert text(page, "where") == "Item 13 of 30"

    part = exported(page)
    [imported] = import_answers(drawn, [part], tmp_path / "annotations")
    assert (imported.annotator, imported.new, imported.missing) == (ONE, 12, 18)

    press(page, *keys[12:])
    assert text(page, "count") == "30 of 30 answered"
    assert "All 30 items are answered" in text(page, "notice")
    [imported] = import_answers(drawn, [exported(page)], tmp_path / "annotations")
    assert (imported.new, imported.known, imported.missing) == (18, 12, 0)
    assert load_answers(drawn, tmp_path / "annotations") == {ONE: expected}

    # Another browser goes on from the first file.
    page.execute_script("localStorage.clear()")
    page.refresh()
    assert text(page, "count") == "0 of 30 answered"
    choose_file(page, part, "12 answers read")
    assert text(page, "count") == "12 of 30 answered"
    assert text(page, "where") == "Item 13 of 30"


def test_arrows_move_and_n_finds_what_is_open(page):
    press(page, RIGHT, RIGHT, "1", "1")
    assert text(page, "where") == "Item 5 of 30"
    press(page, LEFT, LEFT)
    assert (text(page, "where"), text(page, "state")) == ("Item 3 of 30", "A is better")
    press(page, "2")
    assert (text(page, "where"), text(page, "state")) == ("Item 3 of 30", "B is better")
    press(page, "n")
    assert text(page, "where") == "Item 5 of 30"
    press(page, LEFT, DELETE)
    assert text(page, "count") == "1 of 30 answered"
    press(page, *[RIGHT] * 40, "1")
    assert text(page, "where") == "Item 1 of 30"
    assert text(page, "count") == "2 of 30 answered"


def test_every_text_is_shown_as_it_is_and_nothing_in_it_runs(page, drawn):
    title = page.title
    for shown in drawn.shown_to(ONE):
        expected = [shown.instruction, shown.input, shown.answer_a, shown.answer_b]
        elements = ["instruction", "input", "answer-A", "answer-B"]
        assert [text(page, e) for e in elements] == [t or "empty answer" for t in expected]
        hidden = page.execute_script("return document.getElementById('input-block').hidden")
        assert hidden == (shown.input == "")
        press(page, RIGHT)
    made = page.execute_script("return document.querySelectorAll('main script, main img, main b b').length")
    assert made == 0
    assert page.title == title
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_fences_become_code_blocks(page, drawn):
    at = next(i for i, s in enumerate(drawn.shown_to(ONE)) if s.answer_a.startswith("```python"))
    press(page, *[RIGHT] * at)
    block = page.execute_script("return document.querySelector('#answer-A > pre').textContent")
    assert block == "```python\nprint('hi')  # <b>&amp;\n```\n"


def test_the_page_refuses_files_that_are_not_its_own(page, drawn, tmp_path):
    press(page, "1")
    row_id = drawn.row_ids[0]
    other = package(seed=1)
    for path, expect in (
        (write_page_export(tmp_path / "two.json", drawn, TWO, {row_id: "B"}), f"belongs to {TWO}"),
        (write_page_export(tmp_path / "old.json", other, ONE, {row_id: "B"}), f"package {other.id[:8]}"),
        (write_page_export(tmp_path / "bad.json", drawn, ONE, {row_id: "C"}), "Nothing was imported"),
    ):
        choose_file(page, path, expect)
    twice = json.loads((tmp_path / "bad.json").read_text(encoding="utf-8"))
    twice["answers"] = [{"item": row_id, "choice": choice} for choice in "AB"]
    (tmp_path / "twice.json").write_text(json.dumps(twice), encoding="utf-8")
    choose_file(page, tmp_path / "twice.json", "answers an item twice")
    (tmp_path / "no.json").write_text("{", encoding="utf-8")
    choose_file(page, tmp_path / "no.json", "is not a file that this page exported")
    assert json.loads(exported(page).read_text(encoding="utf-8"))["answers"] == [{"item": row_id, "choice": "A"}]


def test_two_annotators_on_one_computer_do_not_share_answers(page, pages):
    press(page, "1", "2")
    page.get((pages / TWO / f"{TWO}.html").as_uri())
    assert text(page, "count") == "0 of 30 answered"
    page.get((pages / ONE / f"{ONE}.html").as_uri())
    assert text(page, "count") == "2 of 30 answered"


def test_a_browser_that_keeps_nothing_says_so_to_the_end(page, drawn):
    page.execute_script("Storage.prototype.setItem = () => { throw new Error('full') }")
    press(page, "1")
    assert "keeps nothing" in text(page, "notice")
    press(page, *["1"] * (len(drawn.pairs) - 1))
    assert text(page, "count") == "30 of 30 answered"
    assert "All 30 items are answered" in text(page, "notice")
    assert "keeps nothing" in text(page, "notice")
    exported(page)
