"""Length histograms of the splits: what a model has to fit, and what there is to compress."""

from pathlib import Path

from gist_core.data.rows import read_table

FIELDS = ("instruction", "input", "output")


def plot_lengths(folder: Path, splits: list[str], target: Path) -> None:
    """Draws words per instruction, input and output of each split (share of its rows, log scale) as SVG, PNG or PDF.

    Raises:
        ValueError: the target's suffix is none of these, or a split is missing.
    """
    import matplotlib
    import numpy as np
    from matplotlib.figure import Figure

    if target.suffix not in (".svg", ".png", ".pdf"):
        raise ValueError(f"{target} ends in {target.suffix!r}; a plot ends in .svg, .png or .pdf")
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.subplots(1, len(FIELDS), sharey=True)
    tables = {split: read_table(folder / f"{split}.parquet") for split in splits}
    for axis, field in zip(axes, FIELDS, strict=True):
        texts = {split: [t for t in table.column(field).to_pylist() if t] for split, table in tables.items()}
        words = {split: np.array([max(1, len(t.split())) for t in column]) for split, column in texts.items() if column}
        longest = max((counts.max() for counts in words.values()), default=1)
        edges = 2 ** np.arange(0, np.log2(longest) + 1, 0.5)
        for split, counts in words.items():
            shares_pct = 100 * np.histogram(counts, edges)[0] / len(counts)
            axis.stairs(shares_pct, edges, label=f"{split} (n = {len(counts):,})", linewidth=1.5)
        axis.set_xscale("log", base=2)
        axis.set_title(field)
        axis.set_xlabel("words")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=7)
    axes[0].set_ylabel("rows with this field, %")
    # Without a date and with a fixed salt, the same data gives the same bytes.
    metadata = {"Date": None} if target.suffix == ".svg" else {}
    target.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "gist"}):
        figure.savefig(target, metadata=metadata)
