"""The report from files in the contracts' shapes: complete, faithful, safe, deterministic, honest about gaps."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gist_core.report import paper, protocol
from gist_core.report.figures import THEME
from gist_core.report.inputs import load_inputs
from gist_core.report.material import compression_table, run_table, samples
from gist_core.report.page import Page, to_html, to_markdown
from gist_core.report.table import byte_size, estimate, number, significant
from tests.report.fixtures import PARAMS, write_inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    return root, write_inputs(root)


@pytest.fixture(scope="module")
def inputs(folder):
    return load_inputs(params=PARAMS, **folder[1])


@pytest.fixture(scope="module")
def page(inputs):
    return Page("A <title> & more", inputs)


@pytest.fixture(scope="module")
def html(page):
    return to_html(page)


@pytest.fixture(scope="module")
def markdown(page):
    return to_markdown(page)


class Reader(HTMLParser):
    """Collects tables as rows of cell texts, ids, loaded addresses, and checks that tags close."""

    VOID = frozenset({"meta", "link", "br", "use", "path", "rect", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href"):
                self.addresses.append(value)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def test_the_page_is_whole_and_loads_nothing(html):
    reader = Reader(html)
    assert reader.open == []
    assert "script" not in reader.tags
    assert [a for a in reader.addresses if not a.startswith("#")] == []
    assert not re.search(r"@import|url\((?!#)", html)
    assert len(set(reader.ids)) == len(reader.ids)


def test_every_reference_of_a_figure_is_to_its_own_ids(html):
    ids = set(Reader(html).ids)
    used = set(re.findall(r'href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert used
    assert used <= ids


def test_the_parts_stand_in_their_order(html, markdown):
    sections = re.findall(r'<section id="([^"]+)"', html)
    order = ["headline", "quality", "training", "preference", "efficiency", "material", "samples", "protocol", "trace"]
    assert sections == order
    headings = re.findall(r"^## (.+)$", markdown, re.MULTILINE)
    assert headings == re.findall(r"<h2>([^<]+)</h2>", html)


def test_scores_are_the_inputs_with_their_intervals(inputs, html, markdown):
    entry = inputs.metrics["seen"]["rouge_l"]["gist-1"]
    value, (low, high) = entry["mean_pct"], entry["ci95_pct"]
    line = next(row for row in _table(html, "ROUGE-L", "Exact") if row and row[0] == "gist-1")
    assert line[1] == f"{value:.1f}[{low:.1f}, {high:.1f}]"
    assert f"| gist-1 | {value:.1f} [{low:.1f}, {high:.1f}] |" in markdown


def test_the_papers_rows_stand_beside_ours(html):
    table = _table(html, "ROUGE-L", "Exact")
    assert [row[0] for row in table[2:]] == [
        *(
            "pos_control",
            "gist-1",
            "gist-5",
            "neg_control",
            "The paper, LLaMA-7B",
            "pos_control",
            "gist-1",
            "neg_control",
        ),
        *("The paper, FLAN-T5-XXL", "pos_control", "gist-1", "neg_control"),
    ]
    assert table[8] == ["gist-1", "57.8", "44.9", "48.6", "46.6", "21.1", "49.7", "23.9", "9.1", "45.8"]


def test_the_papers_figures_agree_with_each_other():
    """Its normalised scores follow from its ROUGE-L (to rounding), its savings from its means."""
    by_run = {run.run: run for run in paper.RUNS if run.model == "LLaMA-7B"}
    for index, published in enumerate(by_run["gist-1"].normalised_pct):
        pos, gist, neg = (by_run[name].rouge_l_pct[index] for name in ("pos_control", "gist-1", "neg_control"))
        assert 100 * (gist - neg) / (pos - neg) == pytest.approx(published, abs=0.5)
    for entry in paper.EFFICIENCY:
        assert 100 * (1 - entry.gist / entry.none) == pytest.approx(entry.gist_vs_none[0], abs=0.06)


def test_every_table_and_figure_names_its_source(page, html, markdown):
    parts = len(page.tables) + len(page.efficiency_tables) + len(page.figures)
    assert html.count("Source: ") == parts
    # The headline's little table in Markdown names its own.
    assert markdown.count("Source: ") == parts + 1
    for source in (t.source for t in [*page.tables.values(), *page.efficiency_tables]):
        assert re.search(r"reports/|data/|params\.yaml", source)


def test_texts_of_models_are_shown_as_they_are_and_never_as_markup(html, markdown):
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | pipe ```fence``` &amp; *stars*" in html
    line = "<script>alert(1)</script> | pipe ```fence``` & *stars*"
    assert f"````text\n{line}\n# no heading \N{SNOWMAN}\N{LINE SEPARATOR}end\n````" in markdown
    outside = re.sub(r"(`{3,})text\n.*?\n\1", "", markdown, flags=re.DOTALL)
    assert "<script>" not in outside
    assert "# A \\<title\\> & more" in markdown


def test_markdown_tables_have_as_many_cells_as_headers(markdown):
    outside = re.sub(r"(`{3,})text\n.*?\n\1", "", markdown, flags=re.DOTALL)
    blocks = re.findall(r"(?:^\|.*\|\n)+", outside, re.MULTILINE)
    assert len(blocks) >= 10
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_the_same_inputs_give_the_same_bytes(folder, inputs, html, markdown):
    again = Page("A <title> & more", load_inputs(params=PARAMS, **folder[1]))
    assert to_html(again) == html
    assert to_markdown(again) == markdown
    assert not re.search(r"20\d\d-\d\d-\d\dT|<dc:date>", html)


def test_the_data_are_shown_as_a_table_and_as_a_plot(page, html):
    assert 'id="fig-lengths' in html
    assert "instruction 11 (24), output 15 (40)" in page.figures["fig-lengths"].alt
    assert page.figures["fig-lengths"].source == "data/alpaca_plus/facts.json"
    assert "12.5" in html[html.index('id="data"') :]


def test_figures_follow_the_theme(html):
    assert not any(stand_in in html for stand_in in THEME)
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawings)) == set(), "a fixed colour would vanish in one of the themes"
    style = html[: html.index("</style>")]
    for variable in THEME.values():
        assert style.count(f"{variable}:") == 2, variable


def test_data_that_is_not_the_papers_is_named_at_once(html, markdown, tmp_path):
    assert "Not the paper's data.</strong> The embedded sample." in html
    assert markdown.index("**Not the paper's data.** The embedded sample.") < markdown.index("gist-1")
    exact = load_inputs(params=PARAMS, **write_inputs(tmp_path, is_papers_data=True))
    assert "Not the paper" not in to_markdown(Page("t", exact))


def test_a_rule_that_judged_is_never_passed_off_as_a_language_model(html, inputs):
    assert "Judge: reference rule (no language model)" in html
    assert "Do not compare the two." in html
    judged = {
        run: {s: v | {"is_language_model": True, "model": "m-1"} for s, v in j.items()}
        for run, j in inputs.judge.items()
    }
    assert "The judge is the reference rule, which is not a language model." in html
    people = inputs.human_eval | {"judge": inputs.human_eval["judge"] | {"is_language_model": True}}
    other = to_html(Page("t", replace(inputs, judge=judged, human_eval=people)))
    assert "reference rule" not in other
    assert "Judge: m-1, strict" in other


def test_win_rates_of_a_judge_that_often_gave_no_verdict_are_said_to_be_so(inputs, markdown):
    assert "asked about" not in markdown
    judged = {**inputs.judge, "gist-1": {s: v | {"unparsable": 2} for s, v in inputs.judge["gist-1"].items()}}
    said = to_markdown(Page("t", replace(inputs, judge=judged)))
    assert "that it was asked about: gist-1 on Seen (2 of 11), gist-1 on Unseen (2 of 11)" in said


def test_a_cost_of_less_than_a_cent_is_not_called_none(inputs):
    judged = {"gist-1": {"seen": inputs.judge["gist-1"]["seen"] | {"cost_usd": 0.001}}}
    assert "The answers cost less than 0.01 USD" in to_markdown(Page("t", replace(inputs, judge=judged)))


def test_what_the_judge_cost_is_no_more_than_is_known(inputs):
    def said(**changes):
        judged = {run: {s: v | changes for s, v in splits.items()} for run, splits in inputs.judge.items()}
        return to_markdown(Page("t", replace(inputs, judge=judged)))

    assert "cost 0.06 USD" in (known := said(cost_usd=0.01))  # two runs on three splits
    assert "at a cost that is not known" not in known
    assert "Beside it, 12 calls may have been charged for" in said(cost_usd=0.01, calls_unpriced=2)
    assert "The answers cost" not in said(cost_usd=None, calls_unpriced=2)


def test_answers_that_were_cut_or_empty_are_said(inputs, markdown):
    assert "Answers cut" not in markdown
    metrics = inputs.metrics | {
        "human": inputs.metrics["human"]
        | {"cut_predictions": {"gist-1": 7, "gist-5": 0}, "empty_predictions": {"gist-5": 1}}
    }
    page = to_markdown(Page("t", replace(inputs, metrics=metrics)))
    assert "Answers cut at the limit of new tokens, Human: gist-1 7." in page
    assert "Empty answers, Human: gist-5 1." in page


def test_references_that_rouge_cannot_read_are_said(inputs, markdown):
    assert "ROUGE reads less than half of" not in markdown
    metrics = inputs.metrics | {"human": inputs.metrics["human"] | {"unread_references": 3}}
    assert "the letters a to z and digits alone: Human 3." in to_markdown(Page("t", replace(inputs, metrics=metrics)))


def test_each_interval_says_how_it_was_drawn(inputs, markdown):
    assert "; judge: 500 resamples, seed 3)" in markdown


def test_intervals_over_few_batches_are_called_too_narrow(inputs, markdown):
    few = "A bootstrap over fewer than 10 batches is too narrow"
    assert few not in markdown
    benchmark = {
        run: summary | {"batch_sizes": {size: batch | {"n": 4} for size, batch in summary["batch_sizes"].items()}}
        for run, summary in inputs.benchmark.items()
    }
    assert few in to_markdown(Page("t", replace(inputs, benchmark=benchmark)))


def test_intervals_over_few_rows_are_called_too_narrow(inputs, markdown):
    few = "A bootstrap over fewer than 20 rows is too narrow, here and in the tables below: "
    assert f"{few}Seen (12), Unseen (12), Human (12)." in markdown
    metrics = json.loads(json.dumps(inputs.metrics))
    for split in ("seen", "human"):
        for entry in metrics[split]["rouge_l"].values():
            entry["n"] = 20
    assert f"{few}Unseen (12)." in to_markdown(Page("t", replace(inputs, metrics=metrics)))


def test_a_score_without_an_interval_is_shown_alone(inputs):
    metrics = json.loads(json.dumps(inputs.metrics))
    metrics["human"]["rouge_l"]["gist-1"] = {"mean_pct": 0.0, "ci95_pct": None, "bootstrap_median_pct": 0.0, "n": 12}
    metrics["human"]["significance"][0]["ci95_pct"] = None
    page = Page("t", replace(inputs, metrics=metrics))
    assert "| 0.0 |" in to_markdown(page)
    assert "fig-rouge" in to_html(page)


def test_what_is_missing_is_said(folder, tmp_path):
    root, given = folder
    shutil.copytree(root, tmp_path / "copy")
    paths = {
        name: tmp_path / "copy" / value.relative_to(root) if isinstance(value, Path) else value
        for name, value in given.items()
    }
    for folder_ in ("judge", "benchmark", "curves"):
        shutil.rmtree(paths[folder_])
    shutil.rmtree(paths["generations"] / "gist-5")
    paths["human_eval"].unlink()
    paths["statement"].unlink()
    metrics = json.loads(paths["metrics"].read_text())
    del metrics["human"]
    metrics["seen"]["normalised"]["gist-1"]["rouge_l"] = {"pct": None, "ci95_pct": None}
    paths["metrics"].write_text(json.dumps(metrics))
    page = Page("t", load_inputs(params=PARAMS, **paths))
    for text in (to_html(page), to_markdown(page)):
        for said in (
            "no scores on the human split",
            "gist-5 has no answers",
            "no run was judged",
            "no benchmark of the caching strategies",
            "no answers of people have been imported",
            "The human evaluation has not run.",
            "The benchmark of this run has not been done",
            "No run has a training curve.",
            "no answer in this run",
        ):
            assert said in text
        assert "914.7" in text


def test_without_a_gist_run_the_page_still_stands(inputs):
    runs = {name: PARAMS["runs"][name] for name in ("pos_control", "neg_control")}
    page = Page("t", replace(inputs, params=PARAMS | {"runs": runs}))
    assert "No gist run was scored." in to_html(page)
    assert "No gist run was scored." in to_markdown(page)


def test_the_page_says_how_the_checkpoint_was_chosen(inputs, markdown):
    assert "the last step, fixed beforehand" in markdown
    params = PARAMS | {"train": PARAMS["train"] | {"select": "dev_loss"}, "data": PARAMS["data"] | {"num_dev": 40}}
    chosen = to_markdown(Page("t", replace(inputs, params=params)))
    assert "the one with the least loss on 40 rows held out of train" in chosen
    assert "the last step, fixed beforehand" not in chosen
    assert "A fixed last step" not in chosen


def test_samples_are_drawn_by_row_id_and_show_every_run(inputs):
    drawn = samples(inputs, "human")
    assert [sample.row.row_id for sample in drawn] == [s.row.row_id for s in samples(_reversed(inputs), "human")]
    assert len(drawn) == 5
    assert [answer.run for answer in drawn[0].answers] == inputs.runs


def test_the_commands_that_trace_numbers_name_real_ones(inputs):
    commands = [command for command, _ in protocol.trace(inputs)]
    file, _, key = commands[0].removeprefix("gist lineage why ").partition(":")
    split, kind, run = key.split(".")
    assert file == "reports/metrics.json"
    assert "mean_pct" in inputs.metrics[split][kind][run]
    assert commands[1].rpartition(" ")[2] in {row.row_id for row in inputs.rows[split]}


def test_notes_and_machine_are_at_the_head(html):
    head = html[: html.index('id="quality"')]
    assert "It cost 2 USD." in head
    assert "cpu, 2 threads" in head
    assert "no GPU, Example 9000, 8 GiB memory" in head


@pytest.mark.parametrize(
    ("break_", "message"),
    [
        (lambda paths: paths["metrics"].unlink(), "the report needs at least"),
        (lambda paths: paths["metrics"].write_text("{"), "is not valid JSON"),
        (
            lambda paths: (paths["curves"] / "gist-1.json").write_text('[{"step": 1},\n{"st'),
            "is not valid JSON: .*line 2",
        ),
    ],
)
def test_broken_inputs_are_named(tmp_path, break_, message):
    paths = write_inputs(tmp_path)
    break_(paths)
    with pytest.raises(ValueError, match=message):
        load_inputs(params=PARAMS, **paths)


def test_numbers_are_written_one_way():
    assert number(-1234.56) == "\N{MINUS SIGN}1,234.6"
    assert (number(-0.04), number(-0.06)) == ("0.0", "\N{MINUS SIGN}0.1")
    assert number(None) == "\N{EN DASH}"
    assert [significant(v) for v in (914.7, 23.44, 3.14159, 0.12345, 10168.2)] == [
        "914.7",
        "23.44",
        "3.142",
        "0.1235",
        "10,168",
    ]
    assert str(estimate(39.6, [36.9, 42.3])) == "39.6 [36.9, 42.3]"
    assert str(estimate(None, None)) == "\N{EN DASH}"
    assert [byte_size(v) for v in (0, 1024, 35_500_000, 3 * 2**30)] == ["0 B", "1.0 KiB", "33.9 MiB", "3.00 GiB"]


def _table(html, *headers):
    """The first table of the page that has all of these column headers."""
    for table in Reader(html).tables:
        if all(any(header in row for row in table[:2]) for header in headers):
            return table
    raise AssertionError(f"no table has the columns {headers}")


def _reversed(inputs):
    return replace(inputs, rows={split: rows[::-1] for split, rows in inputs.rows.items()})


def test_what_an_earlier_experiment_left_behind_is_not_reported(tmp_path) -> None:
    given = write_inputs(tmp_path)
    shutil.copy(given["judge"] / "gist-1.json", given["judge"] / "gist-5.json")
    shutil.copy(given["benchmark"] / "gist-1.json", given["benchmark"] / "gist-77.json")
    shutil.copy(given["curves"] / "gist-1.json", given["curves"] / "gist-77.json")
    loaded = load_inputs(params=PARAMS, **given)
    assert list(loaded.judge) == ["gist-1", "neg_control"]
    assert list(loaded.benchmark) == ["gist-1"]
    assert set(loaded.curves) == set(PARAMS["runs"])


def test_a_baseline_that_kept_more_than_asked_is_shown_with_what_it_kept(inputs) -> None:
    params = PARAMS | {"baselines": {"first-3": {"compressor": "first_words", "num_kept_tokens": 3}}}
    for kept, text in (([2, 3], "at most 3 token(s) of the instruction, as text"), ([2, 9], "(3 asked for)")):
        answers = {"seen": {str(n): {"num_kept_tokens": n} for n in kept}}
        table = run_table(replace(inputs, params=params, generations={"first-3": answers}))
        (shown,) = [str(row) for row in table.rows if "first-3" in str(row)]
        assert f"at most {max(kept)} token(s)" in shown
        assert text in shown


@pytest.mark.parametrize(("select", "loss", "kept"), [("last", 1.8, 20.0), ("dev_loss", 1.3, 70.0)])
def test_the_loss_on_held_out_rows_is_that_of_the_weights_that_answer(inputs, select, loss, kept) -> None:
    by_run = {"pos_control": [1.5, None, 1.0], "gist-1": [1.3, None, 1.8], "neg_control": [2.5, None, 2.0]}
    curves = {
        run: [point | {"dev_loss": there} for point, there in zip(inputs.curves[run][:3], losses, strict=True)]
        for run, losses in by_run.items()
    }
    params = PARAMS | {"train": PARAMS["train"] | {"select": select}}
    shown = to_markdown(Page("t", replace(inputs, params=params, curves=curves)))
    for line in (
        "| pos_control | 1.000 | 100.0 |",
        f"| gist-1 | {loss:.3f} | {kept} |",
        "| neg_control | 2.000 | 0.0 |",
    ):
        assert line in shown


def test_runs_that_differ_in_their_seed_have_a_table_of_their_mean(inputs) -> None:
    assert "seeds" not in Page("t", inputs).tables
    group = {
        "runs": ["gist-1", "gist-1-seed1"],
        "controls": ["neg_control", "pos_control"],
        "rouge_l": {"mean_pct": 40.0, "ci95_pct": [35.0, 45.0], "sd_pct": 1.25},
        "normalised": {"rouge_l": {"pct": 81.5, "ci95_pct": [70.0, 95.5], "sd_pct": 4.5}},
    }
    unseen = inputs.metrics["unseen"] | {"over_seeds": [group]}
    page = Page("t", replace(inputs, metrics=inputs.metrics | {"unseen": unseen}))
    (only,) = page.tables["seeds"].rows
    assert [str(cell) for cell in only.cells] == [
        "gist-1, gist-1-seed1",
        "Unseen",
        "40.0 [35.0, 45.0]",
        "1.2",
        "81.5 [70.0, 95.5]",
        "4.5",
    ]
    for text in (to_html(page), to_markdown(page)):
        assert "gist-1, gist-1-seed1" in text


def test_without_held_out_rows_there_is_no_table_of_their_loss(inputs) -> None:
    assert "held-out" not in Page("t", inputs).tables


def test_what_no_gist_mask_was_trained_under_compresses_nothing(inputs) -> None:
    control = {"condition": "pos_control", "num_gist_tokens": 1, "start": "data/base_model", "seed": 1}
    another = {"condition": "a mask of one's own", "num_gist_tokens": 1, "start": "data/base_model"}
    runs = inputs.params["runs"] | {"pos-seed1": control, "tail-1": another}
    answers = inputs.generations | dict.fromkeys(("pos-seed1", "tail-1"), inputs.generations["pos_control"])
    table = compression_table(replace(inputs, params=inputs.params | {"runs": runs}, generations=answers))
    shown = {row.cells[0].text for row in table.rows}
    assert "gist-1" in shown
    assert not {"pos-seed1", "tail-1"} & shown
