"""The tables on cost: compute, time, memory and storage under the three caching strategies, beside the paper's."""

from collections.abc import Callable
from dataclasses import replace

from gist_core.report import paper
from gist_core.report.inputs import Json, ReportInputs
from gist_core.report.table import (
    MISSING,
    Cell,
    Table,
    TableRow,
    byte_size,
    estimate,
    interval,
    number,
    row,
    significant,
)

QUANTITIES: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("gflops_formula", "Compute by formula, GFLOPs", significant),
    ("gflops_counted", "Compute as counted, GFLOPs", significant),
    ("device_ms", "Device time, ms", significant),
    ("wall_ms", "Wall time, ms", significant),
    ("peak_bytes", "Peak memory", byte_size),
    ("kv_bytes", "Cached keys and values", byte_size),
)


ENOUGH_BATCHES = 10
GROUPS = (("", 1), ("Mean, by what is cached", 3), ("Saved by the gist cache, %", 3))
COLUMNS = ("Quantity", "None", "Instruction", "Gist", "vs none", "paper's interval", "vs instruction")


def efficiency_tables(inputs: ReportInputs) -> list[Table]:
    """One table per measured run and batch size; the first also has the paper's rows."""
    tables = [
        _table(run, size, batch, summary)
        for run, summary in inputs.benchmark.items()
        for size, batch in summary["batch_sizes"].items()
    ]
    if not tables:
        return [_empty()]
    first = tables[0]
    rows = [*first.rows, *_paper_rows()]
    source = f"{first.source}; the paper's rows: {paper.EFFICIENCY_SOURCE}"
    return [replace(first, rows=rows, source=source), *tables[1:]]


def _table(run: str, size: str, batch: Json, summary: Json) -> Table:
    relative, strategies = batch["relative"], batch["strategies"]
    rows: list[TableRow] = []
    for key, label, form in QUANTITIES:
        saved = relative["gist_vs_none"][key] or {}
        over_instruction = relative["gist_vs_instruction"][key] or {}
        rows.append(
            row(
                label,
                *(form(strategies[strategy][key]) for strategy in ("none", "instruction", "gist")),
                _percent(saved),
                Cell(interval(saved.get("ci95_paper_pct"), _digits(saved)) or MISSING),
                _percent(over_instruction),
            )
        )
    lengths = ", ".join(
        f"{label} {number(batch['tokens'][key] / int(size))}"
        for key, label in (
            ("prompt_tokens", "prompt"),
            ("instruction_tokens", "instruction"),
            ("input_tokens", "input"),
        )
    )
    notes = [
        f"Means over {_count(batch['n'], int(size))}, up to {batch['repeats']} repeats each; mean length in tokens: {lengths}.",
        f"Measured on: {summary['device']}.",
    ]
    if batch["n_unpaired"]:
        notes.append(f"{batch['n_unpaired']} batches were not measured under every strategy and are left out.")
    if batch["n"] < ENOUGH_BATCHES:
        notes.append(
            f"A bootstrap over fewer than {ENOUGH_BATCHES} batches is too narrow: the intervals are wider than they are shown."
        )
    if batch["formula_vs_counted_max_pct"] is not None:
        notes.append(f"Formula and count differ by at most {number(batch['formula_vs_counted_max_pct'], 2)} %.")
    if strategies["none"]["device_ms"] is None:
        notes.append("Device time and peak memory are measured on an accelerator only; this run had none.")
    return Table(
        id=f"efficiency-{run}-{size}",
        caption=f"{run}, batch size {size}: cost of one forward pass of a batch, by what is cached",
        source=f"reports/benchmark/{run}.json",
        groups=GROUPS,
        columns=COLUMNS,
        rows=rows,
        notes=notes,
    )


def _count(batches: int, size: int) -> str:
    """What a mean is taken over, in words."""
    prompts = "prompts of the Human split"
    return f"{batches} {prompts}" if size == 1 else f"{batches} batch{'es' * (batches > 1)} of {size} {prompts}"


def _percent(entry: Json) -> Cell:
    """Savings far below one percent (gist against instruction) keep their digits."""
    return estimate(entry.get("pct"), entry.get("ci95_pct"), _digits(entry))


def _digits(entry: Json) -> int:
    return 2 if entry and abs(entry["pct"]) < 1 else 1


def _paper_rows() -> list[TableRow]:
    rows: list[TableRow] = []
    for model in paper.MODELS:
        rows.append(row(f"The paper, {model}, batch size 1, one A100", kind="group"))
        for entry in (e for e in paper.EFFICIENCY if e.model == model):
            over_instruction = None if entry.instruction is None else 100 * (1 - entry.gist / entry.instruction)
            rows.append(
                row(
                    f"{entry.quantity}, {entry.unit}",
                    *(significant(value) for value in (entry.none, entry.instruction, entry.gist)),
                    number(entry.gist_vs_none[0]),
                    interval(entry.gist_vs_none[1:]) or MISSING,
                    number(over_instruction, 2 if over_instruction is not None and over_instruction < 1 else 1),
                    kind="paper",
                )
            )
    return rows


def _empty() -> Table:
    return Table(
        id="efficiency",
        caption="Cost of one forward pass over a prompt, by what is cached",
        source="the paper's rows: " + paper.EFFICIENCY_SOURCE,
        groups=GROUPS,
        columns=COLUMNS,
        rows=_paper_rows(),
        notes=["The benchmark of this run has not been done; only the paper's figures stand here."],
    )
