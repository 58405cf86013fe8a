"""What the run was and what it worked on: the set-up, the data, the compression, and sample answers."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from statistics import mean, median

from gist_core.data.rows import VALIDATION_SPLITS, Row
from gist_core.report import paper
from gist_core.report.inputs import Json, ReportInputs
from gist_core.report.table import MISSING, Table, TableRow, number, row

SAMPLES_PER_SPLIT = 5


@dataclass(frozen=True)
class Answer:
    """One run's answer; text: None if the run has no answer for this row. cut: the length limit ended it."""

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
    zero = f"DeepSpeed ZeRO-{engine['zero_stage']}" if engine["zero_stage"] else "no DeepSpeed"
    processes = engine["processes"]
    facts = [
        ("Data", inputs.data_label),
        ("Base model", f"{model['name']} ({model['source']}: {model['location']}), {model['dtype']}"),
        (
            "Training",
            f"{number(train['steps'], 0)} steps of {train['batch_size']} rows, learning rate "
            f"{train['learning_rate']:g} ({train['lr_schedule']}, warm-up {train['warmup_ratio']:g}), "
            f"{train['batching']} batches, seed {train['seed']}"
            + (f"; frozen: {', '.join(train['freeze'])}" if train["freeze"] else ""),
        ),
        (
            "Checkpoint",
            f"of those saved, the one with the least loss on {number(inputs.params['data']['num_dev'], 0)} rows held "
            "out of train; no split that is reported here was used to choose it"
            if train["select"] == "dev_loss"
            else "the last step, fixed beforehand; no split that is reported here was used to choose it",
        ),
        ("Engine", f"{zero}, {processes} process{'es' if processes != 1 else ''}"),
    ]
    tokens = {run: curve[-1]["tokens"] for run, curve in inputs.curves.items() if curve and "tokens" in curve[-1]}
    if tokens:
        counts = ", ".join(f"{run} {number(tokens[run], 0)}" for run in inputs.runs if run in tokens)
        facts.append(("Tokens of the rows trained on", counts))
    if inputs.hardware:
        facts.append(("Machine of the training", _hardware(inputs.hardware)))
    devices = sorted({summary["device"] for summary in inputs.benchmark.values()})
    if devices:
        facts.append(("Machine of the benchmark", "; ".join(devices)))
    return facts + [("Note", note) for note in inputs.notes]


def run_table(inputs: ReportInputs) -> Table:
    """The runs that were trained, with their conditions, and the baselines."""
    seen_by = {
        "pos_control": "everything: no mask",
        "neg_control": "neither the instruction nor the gist tokens",
        "gist": "the gist tokens, not the instruction before them",
    }
    rows = []
    for name in inputs.trained_runs:
        params = inputs.params["runs"][name]
        curve = inputs.curves.get(name) or []
        usual = {"condition", "num_gist_tokens"} | ({"start"} if params["start"] == "data/base_model" else set())
        extra = ", ".join(f"{k} {v}" for k, v in params.items() if k not in usual and v is not None and v != [])
        rows.append(
            row(
                name,
                params["condition"] + (f" ({extra})" if extra else ""),
                seen_by[params["condition"]],
                number(params["num_gist_tokens"], 0),
                number(curve[-1]["step"], 0) if curve else MISSING,
                number(curve[-1]["loss"], 3) if curve else MISSING,
            )
        )
    for name, params in inputs.baselines.items():
        asked = params["num_kept_tokens"]
        answers = [line for lines in inputs.generations[name].values() for line in lines.values()]
        most = max((line["num_kept_tokens"] for line in answers if "num_kept_tokens" in line), default=asked)
        shortened = f"at most {most} token(s) of the instruction, as text" + (f" ({asked} asked for)" * (most != asked))
        rows.append(row(name, f"pos_control's model ({params['compressor']})", shortened, MISSING, MISSING, MISSING))
    missing = [name for name in inputs.trained_runs if name not in inputs.curves]
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
    """The facts of the splits, as the data stage wrote them, beside the paper's."""
    rows = [_data_row(split, facts) for split, facts in inputs.facts["splits"].items()]
    published = inputs.facts["paper"]
    if published:
        rows.append(row("The paper, Alpaca+", kind="group"))
        rows += [
            _data_row(split, {fact: values.get(split) for fact, values in published.items()}, kind="paper")
            for split in published["rows"]
        ]
    dropped = inputs.facts["dropped"].values()
    notes = [f"Left out: {number(entry['rows'], 0)} rows, {entry['meaning']}." for entry in dropped]
    overlap = [
        f"{pair} {number(shared['shared_instructions'], 0)}"
        for pair, shared in inputs.facts["overlap"].items()
        if shared["shared_instructions"]
    ]
    notes.append(f"Instructions in common: {'; '.join(overlap) or 'none'}.")
    return Table(
        id="data",
        caption="The splits as built, beside the paper's",
        source="data/alpaca_plus/facts.json; the paper's rows: section 4.1 and appendix, as the same file has them",
        groups=[("", 5), ("Mean words", 3), ("", 1)],
        columns=["Split", "Rows", "Instructions", "Inputs", "No input, %", "Instruction", "Input", "Output", "Sources"],
        rows=rows,
        notes=["Instructions and inputs: distinct ones. Empty texts have no length.", *notes],
    )


def _data_row(split: str, facts: Json, kind: str = "own") -> TableRow:
    words = facts.get("words", {})
    sources = facts.get("by_source", {})
    return row(
        split.capitalize(),
        *(number(facts.get(fact), 0) for fact in ("rows", "distinct_instructions", "distinct_inputs")),
        number(facts.get("without_input_pct"), 0 if kind == "paper" else 1),
        *(number((words.get(text) or {}).get("mean")) for text in ("instruction", "input", "output")),
        ", ".join(f"{name} {number(count, 0)}" for name, count in sorted(sources.items())) or MISSING,
        kind=kind,
    )


def compression_factors(inputs: ReportInputs, run: str) -> dict[str, list[float]]:
    """Instruction tokens per gist token, or per token that a baseline kept, for every generated row, by split. BOS and gist
    tokens are not counted. The template's words around the instruction go into a gist, and count only there. A row of
    which nothing was kept has no factor."""
    return {
        split: [
            line["num_instruction_tokens"] / kept
            for line in inputs.generations[run].get(split, {}).values()
            if (kept := line.get("num_kept_tokens", line["num_gist_tokens"]))
        ]
        for split in VALIDATION_SPLITS
    }


def compression_table(inputs: ReportInputs) -> Table:
    """Mean and median compression of every compressed run."""
    rows: list[TableRow] = []
    for run in inputs.compressed_runs:
        if run in inputs.params["runs"] and inputs.params["runs"][run]["condition"] != "gist":
            continue  # under another mask gist tokens are not all that is seen of the instruction
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
    notes = [
        "The template's words around an instruction go into a gist and count there; a baseline leaves them in the prompt."
        if rows
        else "No answers of a compressed run are there yet."
    ]
    rows.append(
        row(
            "gist-1, the paper's LLaMA-7B",
            "Human",
            "252",
            number(paper.COMPRESSION_MEAN, 0),
            number(paper.COMPRESSION_MEDIAN, 0),
            MISSING,
            kind="paper",
        )
    )
    return Table(
        id="compression",
        caption="Compression factor: instruction tokens per gist token, or per token that a baseline kept",
        source="data/generations/",
        columns=["Run", "Split", "Rows", "Mean", "Median", "Range"],
        rows=rows,
        text_columns=2,
        notes=notes,
    )


def samples(inputs: ReportInputs, split: str) -> list[Sample]:
    """Rows drawn by the hash of their id, so that nobody picks them, with every run's answer."""
    answered = [
        row_
        for row_ in inputs.rows.get(split, [])
        if any(row_.row_id in r.get(split, {}) for r in inputs.generations.values())
    ]
    drawn = sorted(answered, key=lambda row_: hashlib.sha256(f"{row_.row_id}:report".encode()).hexdigest())[
        :SAMPLES_PER_SPLIT
    ]
    return [
        Sample(
            row_,
            [
                Answer(
                    run,
                    None if line is None else line["prediction"],
                    line is not None and line["finish_reason"] == "length",
                )
                for run in inputs.runs
                for line in [inputs.generations[run].get(split, {}).get(row_.row_id)]
            ],
        )
        for row_ in drawn
    ]


def _hardware(machine: Json) -> str:
    gpus = Counter(gpu["name"] for gpu in machine["gpus"])
    parts = [f"{count} x {name}" for name, count in sorted(gpus.items())] or ["no GPU"]
    parts.append(machine["cpu"])
    if machine["logical_cpus"] is not None:
        parts.append(f"{machine['logical_cpus']} logical CPUs")
    parts.append(f"{number(machine['memory_gib'], 0)} GiB memory")
    return ", ".join(parts)
