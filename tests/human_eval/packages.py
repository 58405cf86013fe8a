"""A small package with the texts that get lost most easily, and helpers to answer it."""

import json
from pathlib import Path

from gist_core.scoring.human_eval.package import Choice, Package, Pair, Winner, draw_package

ANNOTATORS = ("annotator-1", "annotator-2", "annotator-3")

AWKWARD = (
    "",
    "None",
    "NA",
    "null",
    "two\nlines\n\nand a third\n",
    "carriage\rreturn\r\nand both",
    "tab\tinside",
    "emoji 🎉👩‍🔬 and Ünïcödé",
    "```python\nprint('hi')  # <b>&amp;\n```\nafter the fence",
    "<script>document.title = 'broken out'</script><img src=x onerror=\"document.title='broken out'\">",
    "</script><!-- <script> -->",
    "</script a",
    '=HYPERLINK("http://example.com")',
    "+1",
    "-1",
    "@SUM(A1)",
    "'quoted'",
    "''=1",
    'a "quoted" word; semicolon, comma',
    "line separator\u2028paragraph separator\u2029",
    "nul \x00 and bell \x07",
    " \t leading and trailing \n",
    "{{ template }} ${placeholder} %s {0}",
)


def pairs(n: int = 30) -> list[Pair]:
    """Every awkward text in every place, at least once when n >= 23."""
    k = len(AWKWARD)
    return [
        Pair(
            f"{i:032x}",
            f"Instruction {i}: {AWKWARD[i % k]}",
            AWKWARD[(i + 1) % k],
            AWKWARD[i % k],
            AWKWARD[(i + 2) % k],
        )
        for i in range(n)
    ]


def package(n: int = 30, annotators: tuple[str, ...] = ANNOTATORS, seed: int = 0) -> Package:
    return draw_package(pairs(n), run="gist-1", against="pos_control", num_items=n, annotators=annotators, seed=seed)


def choice_for(package: Package, annotator: str, row_id: str, winner: Winner) -> Choice:
    """The choice that says that `winner` won, as this annotator sees the item."""
    if winner == "tie" or winner == "unknown":
        return winner
    return "A" if (winner == "run") == (row_id in package.run_is_a[annotator]) else "B"


def write_page_export(path: Path, package: Package, annotator: str, choices: dict[str, Choice]) -> Path:
    """A file as the page exports it (tests/human_eval/test_browser.py exports real ones)."""
    answers = [{"item": row_id, "choice": choice} for row_id, choice in choices.items()]
    content = {
        "format": "gist-human-eval-answers", "package": package.id, "annotator": annotator,
        "answered": len(answers), "missing": len(package.pairs) - len(answers), "answers": answers,
    }  # fmt: skip
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
