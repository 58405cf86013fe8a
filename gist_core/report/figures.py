"""The figures as inline SVG: the same numbers give the same bytes, and the colours follow the page's theme.

matplotlib draws with stand-in colours, which are then replaced by the CSS variables that the page defines for its light and
dark theme. Glyphs are paths, so the layout does not depend on the reader's fonts."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as MplFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gist_core.data.rows import VALIDATION_SPLITS
from gist_core.report import paper
from gist_core.report.inputs import ReportInputs
from gist_core.report.material import compression_factors

# Stand-in colour -> CSS variable of the page.
THEME = {
    "#010203": "--fg",
    "#010204": "--muted",
    "#010205": "--line",
    "#010206": "--c-pos",
    "#010207": "--c-neg",
    "#010208": "--c-gist-0",
    "#010209": "--c-gist-1",
    "#01020a": "--c-gist-2",
    "#01020b": "--c-gist-3",
    "#01020c": "--bg",
}
FG, MUTED, LINE, POS, NEG, *GISTS, BG = THEME
STYLE: Any = {
    "svg.hashsalt": "gist-report",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FG,
    "axes.titlesize": 10,
    "axes.titlecolor": FG,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": FG,
    "ytick.labelcolor": FG,
    "text.color": FG,
    "legend.frameon": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True)
class Figure:
    """svg: markup for a page. source: the files that its numbers come from. alt: the figure in words."""

    id: str
    svg: str
    caption: str
    source: str
    alt: str


def rouge_figure(inputs: ReportInputs) -> Figure | None:
    """Mean ROUGE-L with its interval by run, one panel per split. Hollow marks are the paper's runs of the same name."""
    splits, runs = inputs.splits, inputs.runs
    if not splits:
        return None

    def draw(figure: MplFigure) -> None:
        panels = figure.subplots(1, len(splits), sharex=True, sharey=True, squeeze=False)[0]
        for axes, split in zip(panels, splits, strict=True):
            for y, run in enumerate(runs):
                entry = inputs.metrics[split]["rouge_l"][run]
                ends = entry["ci95_pct"] or []
                axes.plot(ends, [y] * len(ends), color=colour(inputs, run), linewidth=2.4, solid_capstyle="butt")
                axes.plot(entry["mean_pct"], y, "o", color=colour(inputs, run), markersize=6)
                for published in paper.paper_runs(run):
                    value = published.rouge_l_pct[VALIDATION_SPLITS.index(split)]
                    axes.plot(value, y + _offset(published.model), _marker(published.model), **_hollow())
            axes.set_title(split.capitalize(), loc="left")
            axes.set_xlabel("ROUGE-L F, %")
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
        ours = [entry for split in splits for entry in inputs.metrics[split]["rouge_l"].values()]
        right = [max([entry["mean_pct"], *(entry["ci95_pct"] or [])]) for entry in ours]
        panels[0].set_xlim(0, 1.06 * max(*right, *(max(run.rouge_l_pct) for run in paper.RUNS)))
        panels[0].set_yticks(range(len(runs)), runs)
        panels[0].set_ylim(len(runs) - 0.5, -0.5)
        handles = [Line2D([], [], color=MUTED, marker="o", linewidth=2.4, label="this run, mean and 95 % interval")]
        handles += [
            Line2D([], [], linestyle="", marker=_marker(model), label=f"the paper, {model}", **_hollow())
            for model in paper.MODELS
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)

    return Figure(
        id="fig-rouge",
        svg=_svg("fig-rouge", draw, (8.2, 1.5 + 0.42 * len(runs))),
        caption="ROUGE-L by run and split. Hollow marks: the paper's models on the paper's data.",
        source="reports/metrics.json; the paper, table 1",
        alt="ROUGE-L F in % by run, one panel per split: "
        + "; ".join(
            f"{split}: " + ", ".join(f"{run} {inputs.metrics[split]['rouge_l'][run]['mean_pct']:.1f}" for run in runs)
            for split in splits
        ),
    )


def curve_figure(inputs: ReportInputs) -> Figure | None:
    """Training loss against the optimizer step."""
    curves = {run: inputs.curves[run] for run in inputs.runs if inputs.curves.get(run)}
    if not curves:
        return None

    def draw(figure: MplFigure) -> None:
        axes: Axes = figure.subplots()
        for run, curve in curves.items():
            steps, losses = [point["step"] for point in curve], [point["loss"] for point in curve]
            axes.plot(steps, losses, color=colour(inputs, run), linestyle=_dashes(inputs, run), label=run)
        axes.set_xlabel("Optimizer step")
        axes.set_ylabel("Training loss, nats per token")
        axes.set_ylim(bottom=0)
        figure.legend(loc="outside lower center", ncols=min(len(curves), 4))

    return Figure(
        id="fig-curves",
        svg=_svg("fig-curves", draw, (8.2, 3.4)),
        caption="Training loss of each run, as logged (mean over the steps since the last point).",
        source="reports/curves/",
        alt="Last training loss: " + ", ".join(f"{run} {curve[-1]['loss']:.3f}" for run, curve in curves.items()),
    )


def lengths_figure(inputs: ReportInputs) -> Figure | None:
    """Words per instruction, input and output of every split: median, 95th and 99th percentile, maximum (log scale)."""
    splits: dict[str, Any] = inputs.facts["splits"]
    fields = ("instruction", "input", "output")
    known = [split for split, facts in splits.items() if any(facts["words"].values())]
    if not known:
        return None

    def draw(figure: MplFigure) -> None:
        panels: Sequence[Axes] = figure.subplots(1, len(fields), sharex=True, sharey=True, squeeze=False)[0]
        for axes, field in zip(panels, fields, strict=True):
            for y, split in enumerate(known):
                words = splits[split]["words"][field]
                if words:
                    axes.plot([words["median"], words["p95"]], [y, y], color=FG, linewidth=2.4, solid_capstyle="butt")
                    axes.plot([words["p95"], words["p99"]], [y, y], color=FG, linewidth=0.9)
                    axes.plot(words["median"], y, "o", color=FG, markersize=5)
                    axes.plot(words["max"], y, "|", color=MUTED, markersize=7)
            axes.set_title(field.capitalize(), loc="left")
            axes.set_xlabel("Words")
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
        panels[0].set_xscale("log", base=2)
        panels[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panels[0].set_yticks(range(len(known)), [split.capitalize() for split in known])
        panels[0].set_ylim(len(known) - 0.5, -0.5)
        handles = [
            Line2D([], [], color=FG, marker="o", markersize=5, linewidth=2.4, label="median to 95th percentile"),
            Line2D([], [], color=FG, linewidth=0.9, label="to the 99th"),
            Line2D([], [], color=MUTED, marker="|", linestyle="", markersize=7, label="longest"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)

    return Figure(
        id="fig-lengths",
        svg=_svg("fig-lengths", draw, (8.2, 1.4 + 0.3 * len(known))),
        caption="Length of the texts of each split, empty ones left out.",
        source="data/alpaca_plus/facts.json",
        alt="Median words (95th percentile): "
        + "; ".join(
            f"{split} "
            + ", ".join(
                f"{field} {words['median']} ({words['p95']})"
                for field, words in splits[split]["words"].items()
                if words
            )
            for split in known
        ),
    )


def compression_figure(inputs: ReportInputs) -> Figure | None:
    """Distribution of the compression factor over the rows of each split, for the headline run."""
    run = inputs.headline_run
    factors = {s: f for s, f in compression_factors(inputs, run).items() if f} if run else {}
    if not factors:
        return None
    highest = max(max(values) for values in factors.values())

    def draw(figure: MplFigure) -> None:
        panels: Sequence[Axes] = figure.subplots(1, len(factors), sharex=True, squeeze=False)[0]
        for axes, (split, values) in zip(panels, factors.items(), strict=True):
            axes.hist(values, bins=24, range=(0, highest), color=GISTS[0], edgecolor=BG, linewidth=0.4)
            axes.axvline(mean(values), color=FG, linewidth=1.2)
            axes.axvline(median(values), color=FG, linewidth=1.2, linestyle=(0, (3, 2)))
            axes.set_title(split.capitalize(), loc="left")
            axes.set_xlabel("Instruction tokens per gist token")
            axes.grid(axis="x", visible=False)
            axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        panels[0].set_ylabel("Rows")
        handles = [
            Line2D([], [], color=FG, linewidth=1.2, label="mean"),
            Line2D([], [], color=FG, linewidth=1.2, linestyle=(0, (3, 2)), label="median"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)

    return Figure(
        id="fig-compression",
        svg=_svg("fig-compression", draw, (8.2, 2.7)),
        caption=f"Compression factor of {run}, by row.",
        source=f"data/generations/{run}/",
        alt="; ".join(f"{split}: mean {mean(v):.1f}, median {median(v):.1f}" for split, v in factors.items()),
    )


def colour(inputs: ReportInputs, run: str) -> str:
    """The stand-in colour of a run: the same in every figure."""
    if run in ("pos_control", "neg_control"):
        return POS if run == "pos_control" else NEG
    return GISTS[inputs.compressed_runs.index(run) % len(GISTS)]


def _dashes(inputs: ReportInputs, run: str) -> Any:
    """Solid lines until every colour has been used once."""
    rounds = inputs.compressed_runs.index(run) // len(GISTS) if run in inputs.compressed_runs else 0
    return ["-", (0, (4, 1.5)), (0, (1, 1.5))][rounds % 3]


def _svg(name: str, draw: Callable[[MplFigure], None], inches: tuple[float, float]) -> str:
    with matplotlib.rc_context(STYLE):
        figure = MplFigure(figsize=inches, layout=ConstrainedLayoutEngine(wspace=0.05))
        FigureCanvasSVG(figure)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    # Several figures share a page, so their ids must differ.
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    for stand_in, variable in THEME.items():
        svg = svg.replace(stand_in, f"var({variable})")
    return svg.strip()


def _marker(model: str) -> str:
    return "o" if model == paper.MODELS[0] else "D"


def _offset(model: str) -> float:
    """The two published models are drawn above and below our own mark, so that none hides another."""
    return -0.24 if model == paper.MODELS[0] else 0.24


def _hollow() -> dict:
    return {"markerfacecolor": "none", "markeredgecolor": MUTED, "markersize": 5, "markeredgewidth": 1.2}
