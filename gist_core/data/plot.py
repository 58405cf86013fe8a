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
    edges = 2 ** np.arange(0, 12.5, 0.5)
    for split in splits:
        table = read_table(folder / f"{split}.parquet")
        for axis, field in zip(axes, FIELDS, strict=True):
            words = np.array([len(text.split()) for text in table.column(field).to_pylist() if text])
            if not len(words):
                continue
            counts, _ = np.histogram(np.clip(words, edges[0], edges[-1]), edges)
            axis.stairs(100 * counts / len(words), edges, label=f"{split} (n = {len(words):,})", linewidth=1.5)
    for axis, field in zip(axes, FIELDS, strict=True):
        axis.set_xscale("log", base=2)
        axis.set_title(field)
        axis.set_xlabel("words")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=7)
    axes[0].set_ylabel("rows with this field, %")
    # Without a date and with a fixed salt the same data give the same bytes.
    metadata = {"Date": None} if target.suffix == ".svg" else {}
    target.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "gist"}):
        figure.savefig(target, metadata=metadata)
