"""The tables on quality: scores, normalised scores, judge and human evaluation, each beside the paper's."""

from gist_core.data.rows import VALIDATION_SPLITS
from gist_core.report import paper
from gist_core.report.inputs import Json, ReportInputs
from gist_core.report.table import MISSING, Cell, Table, TableRow, estimate, number, row

ENOUGH_ROWS = 20
_VERDICTS = ("Win", "Tie", "Loss", "Ident.", "Refused", "Unpars.", "Failed")
JUDGE_COLUMNS = ("Run", "Split", "Win", "Len.", *_VERDICTS, "First", "Agree")


def score_table(inputs: ReportInputs) -> Table:
    """Table 1 of the paper: ROUGE-L, exact match with pos_control and win rate, by split and run."""
    rows = [_own_scores(inputs, run) for run in inputs.runs]
    for model in paper.MODELS:
        rows.append(row(f"The paper, {model}", kind="group"))
        rows += [_paper_scores(run) for run in paper.RUNS if run.model == model]
    notes = ["Win: share of rows on which the answer was preferred to pos_control's, a tie counting one half."]
    rule_based = sorted(run for run, splits in inputs.judge.items() if not _is_language_model(splits))
    if rule_based:
        notes.append(
            "The win rates of our own runs come from the reference rule (the answer closer to the reference by ROUGE-L "
            "wins), which is not a language model; the paper's come from ChatGPT. Do not compare the two."
        )
    notes += _silent(inputs)
    return Table(
        id="scores",
        caption="ROUGE-L F, exact match with pos_control, and win rate against pos_control, all in %",
        source="reports/metrics.json, reports/judge/; the paper's rows: " + paper.RUNS_SOURCE,
        groups=[("", 1), *((split.capitalize(), 3) for split in VALIDATION_SPLITS)],
        columns=["Run", *("ROUGE-L", "Exact", "Win") * len(VALIDATION_SPLITS)],
        rows=rows,
        notes=[*notes, *_few_rows(inputs), *_cut_and_empty(inputs), *_unread(inputs), *_missing_splits(inputs)],
    )


def normalised_table(inputs: ReportInputs) -> Table:
    """How much of the way from neg_control to pos_control each run keeps, in ROUGE-L."""
    rows = [
        row(
            run,
            *(
                estimate(entry.get("pct"), entry.get("ci95_pct"))
                for entry in (_get(inputs.metrics, split, "normalised", run, "rouge_l") for split in VALIDATION_SPLITS)
            ),
        )
        for run in inputs.compressed_runs
    ]
    rows.append(row("The paper, LLaMA-7B", kind="group"))
    rows += [
        row(run.run, *(number(value) for value in run.normalised_pct), kind="paper")
        for run in paper.RUNS
        if run.normalised_pct
    ]
    notes = [] if inputs.compressed_runs else ["There is no run between the two controls."]
    return Table(
        id="normalised",
        caption="Quality kept: where the mean ROUGE-L stands between neg_control (0) and pos_control (100), in %",
        source="reports/metrics.json; the paper's row: computed from its release (rouge.csv)",
        columns=["Run", *(split.capitalize() for split in VALIDATION_SPLITS)],
        rows=rows,
        notes=[
            *notes,
            "A dash: the controls do not differ enough for a ratio, or the split was not answered. A value without "
            "an interval: in too many resamples they do not.",
        ],
    )


def seeds_table(inputs: ReportInputs) -> Table | None:
    """Runs that differ only in their seed, summed up in one row per split; None if there are none."""
    rows: list[TableRow] = []
    controls: set[str] = set()
    for split in inputs.splits:
        for group in inputs.metrics[split]["over_seeds"]:
            mean, kept = group["rouge_l"], group["normalised"]["rouge_l"]
            controls |= {*group["controls"]}
            rows.append(
                row(
                    ", ".join(group["runs"]),
                    split.capitalize(),
                    estimate(mean["mean_pct"], mean["ci95_pct"]),
                    number(mean["sd_pct"]),
                    estimate(kept["pct"], kept["ci95_pct"]),
                    number(kept["sd_pct"]),
                )
            )
    if not rows:
        return None
    return Table(
        id="seeds",
        caption="The mean of runs that differ in their seed alone: ROUGE-L, and the quality kept, in %",
        source="reports/metrics.json",
        columns=["Runs", "Split", "ROUGE-L", "SD", "Kept", "SD"],
        rows=rows,
        text_columns=2,
        notes=[
            "Intervals are over rows, each with its mean over the seeds. SD: standard deviation of the runs' own values, which "
            f"the interval does not hold. Kept stands between the means of {', '.join(sorted(controls))}."
        ],
    )


def held_out_table(inputs: ReportInputs) -> Table | None:
    """The loss on the development rows, and where it stands between neg_control and pos_control; None without such rows."""
    losses = inputs.dev_losses
    if not losses:
        return None
    without, whole = losses.get("neg_control", 0.0), losses.get("pos_control", 0.0)
    apart = {"neg_control", "pos_control"} <= losses.keys() and without > whole
    kept = {run: 100 * (without - loss) / (without - whole) for run, loss in losses.items()} if apart else {}
    return Table(
        id="held-out",
        caption="Loss on rows held out of train, in nats per answer token, and where it stands between neg_control (0) and "
        "pos_control (100), in %",
        source="reports/curves/",
        columns=["Run", "Loss", "Kept, %"],
        rows=[row(run, number(losses[run], 3), number(kept.get(run))) for run in inputs.trained_runs if run in losses],
        notes=[
            "Of the reference answers' tokens, each predicted from those before it; the runs' own answers play no part."
        ],
    )


def significance_table(inputs: ReportInputs) -> Table:
    """Paired differences in ROUGE-L between runs."""
    rows: list[TableRow] = []
    for split in inputs.splits:
        for test in inputs.metrics[split]["significance"]:
            rows.append(
                row(
                    f"{test['a']} minus {test['b']}",
                    split.capitalize(),
                    estimate(test["difference_pct"], test["ci95_pct"]),
                    "< 0.001" if test["p_value"] < 0.001 else number(test["p_value"], 3),
                )
            )
    return Table(
        id="significance",
        caption="Paired differences of mean ROUGE-L between runs, in points",
        source="reports/metrics.json",
        columns=["Runs", "Split", "Difference", "p"],
        rows=rows,
        text_columns=2,
        notes=["p: two-sided randomisation test on the same rows, not corrected for the number of comparisons."],
    )


def judge_table(inputs: ReportInputs) -> Table:
    """Who judged, and how every row came out: wins, ties, failures, and the bias towards a position."""
    rows: list[TableRow] = []
    judge = None
    for run in [name for name in inputs.runs if name in inputs.judge]:
        for split in [s for s in VALIDATION_SPLITS if s in inputs.judge[run]]:
            entry = inputs.judge[run][split]
            if (name := judge_name(entry)) != judge:
                judge = name
                rows.append(row(f"Judge: {judge}", kind="group"))
            rows.append(
                row(
                    run,
                    split.capitalize(),
                    estimate(entry["win_rate_pct"], entry["ci95_pct"]),
                    number(entry["length_controlled_win_rate_pct"]),
                    *(number(entry[key], 0) for key in ("wins", "ties", "losses", "identical")),
                    *(number(entry[key], 0) for key in ("refused", "unparsable", "failed")),
                    number(entry["first_position_share_pct"]),
                    number(entry["order_agreement_pct"]),
                )
            )
    notes = [
        "Identical answers count as ties, without a call. Refused, unparsable and failed verdicts are no ties: they "
        "count in no win rate.",
        "First: share of the calls with a winner that the answer shown first won (50 is unbiased). Agree: rows on which both "
        "orders gave the same verdict. Len.: win rate with the effect of length taken out.",
    ]
    if any(not _is_language_model(splits) for splits in inputs.judge.values()):
        notes.insert(
            0, "The reference rule is not a language model: it compares each answer with the reference by ROUGE-L."
        )
    entries = [entry for splits in inputs.judge.values() for entry in splits.values()]
    if cost := sum(entry["cost_usd"] or 0.0 for entry in entries):
        dollars = number(cost, 2) if cost >= 0.005 else "less than 0.01"
        unpriced = sum(entry["calls_unpriced"] for entry in entries)
        beside = (
            f" Beside it, {unpriced:,} calls may have been charged for, at a cost that is not known."
            if unpriced
            else ""
        )
        notes.append(
            f"The answers cost {dollars} USD by the provider's token counts; what runs or splits share counts for each "
            f"of them.{beside}"
        )
    missing = [run for run in inputs.runs if run != "pos_control" and run not in inputs.judge]
    if missing:
        notes.append(f"Not judged in this run: {', '.join(missing)}.")
    return Table(
        id="judge",
        caption="Pairwise verdicts against pos_control: rates in %, the rest in rows",
        source="reports/judge/",
        groups=[("", 2), ("Win rate", 2), ("Verdicts", 4), ("No verdict", 3), ("Order", 2)],
        columns=JUDGE_COLUMNS,
        rows=rows,
        notes=notes,
        text_columns=2,
    )


def judge_name(entry: Json) -> str:
    """Model and protocol in words."""
    if not entry["is_language_model"]:
        return "reference rule (no language model)"
    return f"{entry['model']}, {entry['protocol']}"


def human_eval_table(inputs: ReportInputs) -> Table:
    """The human evaluation: its state, win rate and agreement, beside the paper's."""
    results = inputs.human_eval
    rows: list[TableRow] = []
    if results is None:
        notes = ["The human evaluation has not run."]
    else:
        win, kappa = results["win_rate"], results["agreement"]["cohen_kappa_linear"]
        given, expected = results["num_answers"]["given"], results["num_answers"]["expected"]
        rows.append(
            row(
                results["run"],
                number(results["items"]["drawn"], 0),
                f"{number(given, 0)} of {number(expected, 0)}",
                estimate(win["win_rate_pct"], win["ci95_pct"]),
                " / ".join(number(win[key], 0) for key in ("wins", "ties", "losses", "unknown")),
                estimate(kappa["value"], kappa["ci95"], 2),
                number(_get(results, "judge", "cohen_kappa_linear").get("value"), 2),
            )
        )
        notes = ["Tie = 1/2; “I don't know” counts in no rate. Intervals are over items."]
        if _get(results, "judge").get("is_language_model") is False:
            notes.append("The judge is the reference rule, which is not a language model.")
        if given and win["items_rated"] < ENOUGH_ROWS and win["interval"] == "bootstrap":
            notes.append(f"A bootstrap over fewer than {ENOUGH_ROWS} items is too narrow.")
        if not given:
            notes.insert(
                0,
                "No answers have been imported yet: the annotation package is ready in data/human_eval/, and "
                "`gist human-eval import FILES...` takes the answers.",
            )
        elif not results["complete"]:
            notes.insert(0, "Incomplete: the answers that are missing are counted, not guessed.")
    rows += [
        row(
            f"gist-1, the paper's {entry.model}",
            "100",
            "300",
            number(entry.win_pct),
            MISSING,
            number(entry.mean_kappa, 2),
            MISSING,
            kind="paper",
        )
        for entry in paper.HUMAN_EVAL
    ]
    return Table(
        id="human-eval",
        caption="People's preference against pos_control on the Human split",
        source="reports/human_eval.json; the paper's rows: " + paper.HUMAN_EVAL_SOURCE,
        columns=["Run", "Items", "Answers", "Win %", "Win / tie / loss / don't know", "Cohen's κ", "κ with judge"],
        rows=rows,
        notes=notes,
    )


def _own_scores(inputs: ReportInputs, run: str) -> TableRow:
    cells: list[Cell | str] = [run]
    for split in VALIDATION_SPLITS:
        metrics = inputs.metrics.get(split, {})
        for kind in ("rouge_l", "exact_match"):
            entry = _get(metrics, kind, run)
            reference = kind == "exact_match" and run == "pos_control"
            cells.append(Cell("(100)") if reference else estimate(entry.get("mean_pct"), entry.get("ci95_pct")))
        verdicts = _get(inputs.judge, run, split)
        cells.append(
            Cell("(50)") if run == "pos_control" else estimate(verdicts.get("win_rate_pct"), verdicts.get("ci95_pct"))
        )
    return row(*cells)


def _paper_scores(run: paper.PaperRun) -> TableRow:
    cells = [run.run]
    for index in range(len(VALIDATION_SPLITS)):
        control = run.run == "pos_control"
        cells.append(number(run.rouge_l_pct[index]))
        cells.append("(100)" if control else number(run.exact_match_pct[index] if run.exact_match_pct else None))
        cells.append("(50)" if control else number(run.win_pct[index] if run.win_pct else None))
    return row(*cells, kind="paper")


def _cut_and_empty(inputs: ReportInputs) -> list[str]:
    """How many answers ended at the limit of new tokens, and how many are empty; both are scored as they are."""
    return [
        f"{what}, {split.capitalize()}: "
        + ", ".join(f"{run} {counts[run]}" for run in inputs.runs if counts.get(run))
        + "."
        for split in inputs.splits
        for what, key in (
            ("Answers cut at the limit of new tokens", "cut_predictions"),
            ("Empty answers", "empty_predictions"),
        )
        if any((counts := inputs.metrics[split][key]).values())
    ]


def _unread(inputs: ReportInputs) -> list[str]:
    """Splits with references that ROUGE reads less than half of."""
    counts = {split.capitalize(): inputs.metrics[split]["unread_references"] for split in inputs.splits}
    found = ", ".join(f"{split} {count}" for split, count in counts.items() if count)
    return [
        f"References that ROUGE reads less than half of, since it knows the letters a to z and digits alone: {found}. "
        "Its scores say little about them."
    ] * bool(found)


def _silent(inputs: ReportInputs) -> list[str]:
    """Runs and splits for which the judge gave no verdict on more than a tenth of the pairs that it was asked about."""
    found = []
    for run, splits in inputs.judge.items():
        for split, entry in splits.items():
            asked = entry["n"] - entry["identical"]
            without = entry["refused"] + entry["unparsable"] + entry["failed"]
            if without > asked / 10:
                found.append(f"{run} on {split.capitalize()} ({without} of {asked})")
    return [
        f"The judge gave no verdict on many of the pairs that it was asked about: {', '.join(found)}. A win rate leaves those "
        "pairs out, so identical answers, which are ties, weigh the more in it."
    ] * bool(found)


def _few_rows(inputs: ReportInputs) -> list[str]:
    """Splits that are too small for the intervals here and in the tables below."""
    counts = {split: {entry["n"] for entry in inputs.metrics[split]["rouge_l"].values()} for split in inputs.splits}
    few = [f"{split.capitalize()} ({min(n)})" for split, n in counts.items() if n and min(n) < ENOUGH_ROWS]
    return [
        f"A bootstrap over fewer than {ENOUGH_ROWS} rows is too narrow, here and in the tables below: {', '.join(few)}."
    ] * bool(few)


def _missing_splits(inputs: ReportInputs) -> list[str]:
    missing = [split for split in VALIDATION_SPLITS if split not in inputs.metrics]
    return [f"Not generated in this run: {', '.join(missing)}."] if missing else []


def _is_language_model(splits: Json) -> bool:
    return all(entry["is_language_model"] for entry in splits.values())


def _get(node: object, *keys: str) -> Json:
    """A nested mapping, or an empty one if any key is missing or null."""
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}
