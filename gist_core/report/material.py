"""What the run was and what it worked on: the set-up, the data, the compression, and sample answers."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from gist_core.data.rows import Row
from gist_core.report import paper
from gist_core.report.inputs import SPLITS, ReportInputs
from gist_core.report.table import MISSING, Table, TableRow, number, row

SAMPLES_PER_SPLIT = 5


@dataclass(frozen=True)
class Answer:
    """One run's answer; text None: the run has none for this row. cut: it was ended by the length limit."""

    run: str
    text: str | None
    cut: bool


@dataclass(frozen=True)
class Sample:
    """A validation row with every run's answer."""

    row: Row
    answers: list[Answer]


def setup(inputs: ReportInputs) -> list[tuple[str, str]]:
    """What was trained on what, how, and on which machine: (label, value) pairs."""
    model, train, engine = (inputs.params[section] for section in ("model", "train", "engine"))
    zero = f"DeepSpeed ZeRO-{engine['zero_stage']}" if engine.get("zero_stage") else "no DeepSpeed"
    processes = engine.get("processes", 1)
    facts = [
        ("Data", str(inputs.facts.get("label") or inputs.params["data"]["kind"])),
        ("Base model", f"{model['name']} ({model['source']}: {model['location']}), {model.get('dtype', 'float32')}"),
        (
            "Training",
            f"{number(train['steps'], 0)} steps of {train['batch_size']} rows, learning rate {train['learning_rate']:g} "
            f"({train['lr_schedule']}, warm-up {train['warmup_ratio']:g}), {train['batching']} batches, seed {train['seed']}"
            + (f"; frozen: {', '.join(train['freeze'])}" if train.get("freeze") else ""),
        ),
        ("Checkpoint", "the last step, fixed beforehand; no split that is reported here was used to choose it"),
        ("Engine", f"{zero}, {processes} process{'es' if processes != 1 else ''}"),
    ]
    tokens = {run: curve[-1]["tokens"] for run, curve in inputs.curves.items() if curve and "tokens" in curve[-1]}
    if tokens:
        facts.append(("Tokens trained on", ", ".join(f"{run} {number(tokens[run], 0)}" for run in inputs.runs if run in tokens)))
    if inputs.hardware:
        facts.append(("Machine of the training", _hardware(inputs.hardware)))
    devices = sorted({str(d) for s in inputs.benchmark.values() if (d := s.get("protocol", {}).get("device"))})
    if devices:
        facts.append(("Machine of the benchmark", "; ".join(devices)))
    return facts + [("Note", note) for note in inputs.notes]


def run_table(inputs: ReportInputs) -> Table:
    """The conditions that were trained."""
    seen_by = {
        "pos_control": "everything: no mask",
        "neg_control": "neither the instruction nor the gist tokens",
        "gist": "the gist tokens, not the instruction before them",
    }
    rows = []
    for name in inputs.runs:
        params = inputs.params["runs"][name]
        curve = inputs.curves.get(name) or []
        extra = ", ".join(f"{k} {v}" for k, v in params.items() if k not in ("condition", "num_gist_tokens") and v)
        rows.append(
            row(
                name,
                str(params.get("condition", MISSING)) + (f" ({extra})" if extra else ""),
                seen_by.get(str(params.get("condition")), MISSING),
                number(params.get("num_gist_tokens"), 0),
                number(curve[-1]["step"], 0) if curve else MISSING,
                number(curve[-1]["loss"], 3) if curve else MISSING,
            )
        )
    missing = [name for name in inputs.runs if name not in inputs.curves]
    return Table(
        id="runs",
        caption="The runs: what the input and the answer may attend to of the prompt",
        source="params.yaml, reports/curves/",
        columns=["Run", "Condition", "Attends to", "Gist tokens", "Steps", "Last loss"],
        rows=rows,
        text_columns=3,
        notes=[f"No training curve: {', '.join(missing)}."] if missing else [],
    )


def data_table(inputs: ReportInputs) -> Table:
    """Counts of the splits, computed from their rows, beside the paper's."""
    splits: dict[str, Sequence[Row]] = {"train": inputs.train_rows, **inputs.rows}
    rows: list[TableRow] = []
    for split, values in splits.items():
        sources = Counter(value.source for value in values)
        rows.append(
            row(
                split.capitalize(),
                number(len(values), 0),
                number(len({value.instruction for value in values}), 0),
                number(len({value.input for value in values if value.input}), 0),
                number(100 * mean(not value.input for value in values)) if values else MISSING,
                number(mean(len(value.instruction.split()) for value in values)) if values else MISSING,
                number(mean(len(value.output.split()) for value in values)) if values else MISSING,
                ", ".join(f"{name} {number(count, 0)}" for name, count in sorted(sources.items())),
            )
        )
    rows.append(row("The paper, Alpaca+", kind="group"))
    rows += [
        row(
            split.capitalize(),
            *(
                number(paper.DATA[fact].get(split), digits)
                for fact, digits in (
                    ("rows", 0),
                    ("distinct_instructions", 0),
                    ("distinct_inputs", 0),
                    ("without_input_pct", 0),
                )
            ),
            *[MISSING] * 3,
            kind="paper",
        )
        for split in ("train", *SPLITS)
    ]
    return Table(
        id="data",
        caption="The data",
        source="data/alpaca_plus/; the paper's rows: " + paper.DATA_SOURCE,
        columns=["Split", "Rows", "Distinct instructions", "Distinct inputs", "Without input, %", "Words / instruction"]
        + ["Words / output", "Sources"],
        rows=rows,
    )


def compression_factors(inputs: ReportInputs, run: str) -> dict[str, list[float]]:
    """Instruction tokens per gist token of every generated row, by split (BOS and gist tokens not counted)."""
    return {
        split: [
            line["num_instruction_tokens"] / line["num_gist_tokens"]
            for line in inputs.generations.get(run, {}).get(split, {}).values()
            if line.get("num_gist_tokens")
        ]
        for split in SPLITS
    }


def compression_table(inputs: ReportInputs) -> Table:
    """Mean and median compression of every compressed run."""
    rows: list[TableRow] = []
    for run in [name for name in inputs.runs if inputs.params["runs"][name].get("condition") == "gist"]:
        for split, factors in compression_factors(inputs, run).items():
            if factors:
                ordered = sorted(factors)
                rows.append(
                    row(
                        run,
                        split.capitalize(),
                        number(len(factors), 0),
                        number(mean(factors)),
                        number(median(factors)),
                        f"{number(ordered[0])} to {number(ordered[-1])}",
                    )
                )
    notes = [] if rows else ["No answers of a gist run are there yet."]
    rows.append(
        row("gist-1, the paper's LLaMA-7B", "Human", "252", number(paper.COMPRESSION_MEAN, 0), number(paper.COMPRESSION_MEDIAN, 0),
            MISSING, kind="paper")
    )  # fmt: skip
    return Table(
        id="compression",
        caption="Compression factor: instruction tokens per gist token",
        source="data/generations/",
        columns=["Run", "Split", "Rows", "Mean", "Median", "Range"],
        rows=rows,
        text_columns=2,
        notes=notes,
    )


def samples(inputs: ReportInputs, split: str, count: int = SAMPLES_PER_SPLIT) -> list[Sample]:
    """Rows drawn by the hash of their id, so that nobody chose them, with every run's answer."""
    answered = [row_ for row_ in inputs.rows.get(split, []) if any(row_.row_id in r.get(split, {}) for r in inputs.generations.values())]
    drawn = sorted(answered, key=lambda row_: hashlib.sha256(f"{row_.row_id}:report".encode()).hexdigest())[:count]
    return [
        Sample(
            row_,
            [
                Answer(run, None if line is None else line["prediction"], line is not None and line.get("finish_reason") == "length")
                for run in inputs.runs
                for line in [inputs.generations.get(run, {}).get(split, {}).get(row_.row_id)]
            ],
        )
        for row_ in drawn
    ]


def _hardware(hardware: dict) -> str:
    """Whatever the statement says about the machine, flat, without empty entries."""
    parts = []
    for key, value in sorted(hardware.items()):
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in sorted(value.items()) if v not in (None, "", []))
        elif isinstance(value, list):
            value = ", ".join(str(v.get("name", v)) if isinstance(v, dict) else str(v) for v in value)
        if value not in (None, ""):
            parts.append(f"{key.replace('_', ' ')} {value}")
    return "; ".join(parts)
