"""What the figures mean: estimators, intervals, seeds; and the commands that trace a number."""

from gist_core.report.inputs import ReportInputs


def definitions(inputs: ReportInputs) -> list[tuple[str, str]]:
    """(term, meaning) pairs, in the order of the page."""
    resampled = sorted({(s["resamples"], s["seed"]) for s in inputs.benchmark.values() if "resamples" in s})
    rouge = inputs.params.get("rouge", {})
    draws = f"{rouge['resamples']:,} resamples, seed {rouge['seed']}" if rouge else "seeded resamples"
    bench = ", ".join(f"{resamples:,} resamples, seed {seed}" for resamples, seed in resampled)
    generate = inputs.params.get("generate", {})
    limit = f", at most {generate['max_new_tokens']} new tokens" if "max_new_tokens" in generate else ""
    return [
        ("pos_control", "No mask: input and answer see the instruction and the gist tokens. What gisting is compared with."),
        ("neg_control", "Input and answer see neither the instruction nor the gist tokens."),
        ("gist-k", "Input and answer see k gist tokens, which alone see the instruction. Answers are generated from the "
         "cached gist tokens, not from the full prompt."),
        ("ROUGE-L F", "rouge-score 0.1.2 with Porter stemming, against the row's reference; the exact mean over rows. The "
         "paper prints the median of a bootstrap, which differs from the mean by up to 0.2."),
        ("Exact match", "Share of rows whose answer equals pos_control's, white space at the ends apart."),
        ("Quality kept", "(run − neg_control) / (pos_control − neg_control) of the mean ROUGE-L on the same rows."),
        ("95 % interval", f"Percentile bootstrap over the rows of the split ({draws}); runs are resampled together, so what "
         "they share cancels. Exact match: Wilson. It covers the choice of rows, not that of training seeds: one training "
         "per run."),
        ("Relative difference", "Difference of the means over the mean of the baseline; positive: the gist cache saves. The "
         "mean of the ratios would weigh short prompts more and give another figure. Its interval is a paired bootstrap over "
         "prompts" + (f" ({bench})" if bench else "") + ". “The paper's interval” takes the mean without a cache as fixed: "
         "the normal interval of the mean paired difference, divided by that mean."),
        ("FLOPs", "Two per multiply-add of every matrix product, attention over the full rectangle of queries and keys. The "
         "same formula gives the FLOPs in the paper's released measurements to 0.05 %."),
        ("Caching strategies", "No cache: the whole prompt is encoded. Instruction cache: the keys and values of the "
         "instruction are reused. Gist cache: those of the gist tokens are. Building a cache is not part of its time."),
        ("Decoding", f"Greedy{limit}. Nothing is drawn at random."),
        ("Checkpoint", "A fixed last step. The paper chose its checkpoint on a split that it reports."),
    ]  # fmt: skip


def trace(inputs: ReportInputs) -> list[tuple[str, str]]:
    """(command, what it shows), with this report's own numbers and rows."""
    run = inputs.headline_run or "pos_control"
    split = inputs.splits[-1] if inputs.splits else "human"
    commands = [
        (f"gist lineage why reports/metrics.json:{split}.rouge_l.{run}", "one number, back to rows, weights and sources"),
        ("gist lineage verify", "recompute every hash"),
    ]
    rows = inputs.rows.get(split, [])
    if rows:
        first = min(row.row_id for row in rows)
        commands.insert(1, (f"gist lineage row {first}", "everything that happened to one row"))
    return commands
