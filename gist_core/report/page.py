"""The report: its parts in order, and both of its forms, made from these parts by the templates beside this file."""

import re
from dataclasses import dataclass
from functools import cached_property

from jinja2 import Environment, PackageLoader, StrictUndefined

from gist_core.data.rows import VALIDATION_SPLITS
from gist_core.report import efficiency, figures, material, paper, protocol, quality
from gist_core.report.inputs import ReportInputs
from gist_core.report.table import Cell, Table, estimate

_BACKTICKS = re.compile(r"`+")
# What Markdown would read as markup: not an underscore inside a word, or a bracket that makes no link.
_MARKDOWN = re.compile(r"([\\`*<>|#~]|&(?=#?\w+;)|(?<!\w)_|_(?!\w)|\](?=[(\[:])|!(?=\[))")


@dataclass(frozen=True)
class Headline:
    """The one number that matters: how much of pos_control's quality the run keeps."""

    run: str
    by_split: list[tuple[str, Cell, float | None]]  # split, our value with interval, the paper's LLaMA-7B


@dataclass(frozen=True)
class Page:
    """What the templates draw from; every attribute comes from `inputs` alone."""

    title: str
    inputs: ReportInputs

    @cached_property
    def headline(self) -> Headline | None:
        """None where no gist run was scored."""
        run = self.inputs.headline_run
        if run is None:
            return None
        published = next(p.normalised_pct for p in paper.RUNS if p.normalised_pct)
        values = []
        for split in self.inputs.splits:
            entry = self.inputs.metrics[split]["normalised"][run]["rouge_l"]
            reference = published[VALIDATION_SPLITS.index(split)] if run == "gist-1" else None
            values.append((split.capitalize(), estimate(entry["pct"], entry["ci95_pct"]), reference))
        return Headline(run, values)

    @property
    def stand_in(self) -> str:
        """The label of data that is not the paper's, without the phrase that says so, which is already in the banner."""
        label = self.inputs.data_label.removeprefix("not the paper's data:").strip()
        return label[:1].upper() + label[1:]

    @cached_property
    def setup(self) -> list[tuple[str, str]]:
        return material.setup(self.inputs)

    @cached_property
    def efficiency_tables(self) -> list[Table]:
        return efficiency.efficiency_tables(self.inputs)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """All tables but those of efficiency, by id."""
        makers = (
            material.run_table,
            quality.score_table,
            quality.normalised_table,
            quality.seeds_table,
            quality.held_out_table,
            quality.significance_table,
            quality.judge_table,
            quality.human_eval_table,
            material.data_table,
            material.compression_table,
        )
        return {table.id: table for make in makers if (table := make(self.inputs)) is not None}

    @cached_property
    def figures(self) -> dict[str, figures.Figure]:
        makers = (figures.rouge_figure, figures.curve_figure, figures.lengths_figure, figures.compression_figure)
        return {figure.id: figure for make in makers if (figure := make(self.inputs)) is not None}

    @cached_property
    def samples(self) -> dict[str, list[material.Sample]]:
        return {split: drawn for split in VALIDATION_SPLITS if (drawn := material.samples(self.inputs, split))}

    @property
    def definitions(self) -> list[tuple[str, str]]:
        return protocol.definitions(self.inputs)

    @property
    def trace(self) -> list[tuple[str, str]]:
        return protocol.trace(self.inputs)

    @property
    def missing(self) -> list[str]:
        """What this report lacks, in words."""
        absent = [f"no scores on the {split} split" for split in VALIDATION_SPLITS if split not in self.inputs.metrics]
        absent += [
            f"{run} has no training curve" for run in self.inputs.trained_runs if not self.inputs.curves.get(run)
        ]
        absent += [f"{run} has no answers" for run in self.inputs.runs if not self.inputs.generations[run]]
        absent += ["no run was judged"] if not self.inputs.judge else []
        absent += ["no benchmark of the caching strategies"] if not self.inputs.benchmark else []
        human_eval = self.inputs.human_eval
        given = human_eval is not None and human_eval["num_answers"]["given"]
        absent += ["no answers of people have been imported"] if not given else []
        return absent


def to_html(page: Page) -> str:
    """One self-contained page, without scripts, fonts or images from elsewhere."""
    return _environment(autoescape=True).get_template("report.html.jinja").render(page=page, paper=paper)


def to_markdown(page: Page) -> str:
    """The same contents, with figures described in words, since Markdown holds no drawings."""
    text = _environment(autoescape=False).get_template("report.md.jinja").render(page=page, paper=paper)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("gist_core.report", "templates"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = _escape_markdown
    environment.filters["fenced"] = _fenced
    return environment


def _escape_markdown(text: object) -> str:
    """Text for one Markdown line or table cell, shown as it is."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def _fenced(text: str) -> str:
    """A code block with a fence longer than any run of backticks in the text."""
    fence = "`" * max(3, 1 + max((len(run) for run in _BACKTICKS.findall(text)), default=0))
    return f"{fence}text\n{text}\n{fence}"
