"""What the numbers of the report mean (estimators, intervals, seeds), and the commands that trace one."""

from collections.abc import Iterable

from gist_core.report.inputs import Json, ReportInputs


def definitions(inputs: ReportInputs) -> list[tuple[str, str]]:
    """(term, meaning) pairs, in the order of the page."""
    draws = _draws([inputs.params["rouge"]])
    judged = _draws([entry for splits in inputs.judge.values() for entry in splits.values()])
    people = _draws([(inputs.human_eval or {}).get("bootstrap", {})])
    bench = _draws(inputs.benchmark.values())
    by_dev_loss = inputs.params["train"]["select"] == "dev_loss"
    chosen = "The least loss on rows held out of train, which are not reported" if by_dev_loss else "A fixed last step"
    return [
        (
            "pos_control",
            "No mask: input and answer see the instruction and the gist tokens. What gisting is compared with.",
        ),
        ("neg_control", "Input and answer see neither the instruction nor the gist tokens."),
        (
            "gist-k",
            "Input and answer see k gist tokens, which alone see the instruction. Answers are generated from the "
            "cached gist tokens, not from the full prompt.",
        ),
        (
            "ROUGE-L F",
            "rouge-score 0.1.2 with Porter stemming, against the row's reference; the exact mean over rows. The paper "
            "prints the median of a bootstrap, which differs from the mean by up to 0.2.",
        ),
        ("Exact match", "Share of rows whose answer equals pos_control's, white space at the ends apart."),
        (
            "Quality kept",
            "The run's mean ROUGE-L above neg_control's, as a share of pos_control's above neg_control's; same rows.",
        ),
        (
            "95 % interval",
            f"Percentile bootstrap over the rows of the split ({draws}"
            + "".join(f"; {whose}: {how}" for whose, how in (("judge", judged), ("people", people)) if how)
            + "). Runs are resampled together, so what "
            "they share cancels. Exact match: Wilson; so are win rates of rows that were all judged alike. None where all rows "
            "score alike. An interval covers the choice of rows, not that of training seeds: each run was trained once.",
        ),
        (
            "Saved, %",
            "Difference of the means over the mean of the baseline; positive where the gist cache costs less. The mean "
            "of the ratios would weigh short prompts more and give another figure. Its interval is a paired bootstrap "
            "over prompts" + (f" ({bench})" if bench else "") + ". “Paper's interval” takes the baseline's mean as "
            "fixed: the normal interval of the mean paired difference, divided by that mean.",
        ),
        (
            "FLOPs",
            "Two per multiply-add of every matrix product, attention over the full rectangle of queries and keys. The "
            "same formula gives the FLOPs in the paper's released measurements to 0.05 %.",
        ),
        (
            "What is cached",
            "None: the whole prompt is encoded. Instruction: its keys and values are reused (in an encoder-decoder only the "
            "gist mask allows that: without it they depend on the input, and the paper has no such figure). Gist: those of "
            "the gist tokens are. Building a cache is not part of its cost.",
        ),
        ("Decoding", f"Greedy, at most {inputs.params['generate']['max_new_tokens']} new tokens."),
        ("Checkpoint", f"{chosen}. The paper chose its checkpoint on a split that it reports."),
    ]


def _draws(bootstraps: Iterable[Json]) -> str:
    """How samples were drawn, in words."""
    return "; ".join(
        sorted({f"{b['resamples']:,} resamples, seed {b['seed']}" for b in bootstraps if "resamples" in b})
    )


def trace(inputs: ReportInputs) -> list[tuple[str, str]]:
    """(command, what it shows), with this report's own numbers and rows."""
    run = inputs.headline_run or "pos_control"
    split = inputs.splits[-1] if inputs.splits else "human"
    commands = [
        (
            f"gist lineage why reports/metrics.json:{split}.rouge_l.{run}",
            "one number, back to rows, weights and sources",
        ),
        ("gist lineage verify", "recompute every hash"),
    ]
    rows = inputs.rows.get(split, [])
    if rows:
        first = min(row.row_id for row in rows)
        commands.insert(1, (f"gist lineage row {first}", "everything that happened to one row"))
    return commands
