"""The facts of the data: what is in each split, what they share, what was left out and why, beside the paper's figures.

Lengths are in characters and in words (runs of non-space), which depend on no model; `describe.py` adds tokens."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from typing import Any

from gist_core.data.build import PAPER_NUM_SEEN, PAPER_NUM_UNSEEN, Build
from gist_core.data.rows import SPLITS
from gist_core.data.sources import Manifest
from gist_core.data.split import REASONS
from gist_core.data.upstream import UPSTREAM

# Section 4.1 of arXiv 2304.08467; "about 59 %" of the training rows have no input.
PAPER = {
    "rows": {"train": 130_321, "seen": 1000, "unseen": 1000, "human": 252},
    "distinct_instructions": {"train": 104_664},
    "distinct_inputs": {"train": 48_530},
    "without_input_pct": {"train": 59.0},
}


def facts_of(manifest: Manifest, build: Build, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All facts as plain JSON values. The same data gives the same facts on every machine."""
    names = [*SPLITS, *(["dev"] if build.splits.dev else [])]
    reasons = Counter(build.splits.dropped.values())
    return {
        "is_papers_data": build.is_papers_data,
        "label": label(manifest, build, settings),
        "kind": manifest.kind,
        "settings": dict(settings),
        "sources": [asdict(file) for file in manifest.files],
        "proof": build.proof,
        "splits": {name: _split_facts(build, name) for name in names},
        "overlap": {f"{a} and {b}": _overlap(build, a, b) for a, b in combinations(names, 2)},
        "dropped": {
            reason: {"rows": reasons[reason], "meaning": meaning}
            for reason, meaning in REASONS.items()
            if reasons[reason]
        },
        "paper": PAPER,
    }


def label(manifest: Manifest, build: Build, settings: Mapping[str, Any]) -> str:
    """What every table and the report call this data; it says so if the data is not the paper's."""
    held = f", {len(build.splits.dev):,} train rows held out for development" if build.splits.dev else ""
    if build.is_papers_data:
        return f"Alpaca+, the paper's data, proved by git blob ids{held}"
    if manifest.kind == "embedded":
        return f"not the paper's data: the embedded sample{held}"
    if manifest.kind == "rows":
        own = manifest.by_role("own")
        return f"not the paper's data: own rows ({own.origin if own else 'none'}){held}"
    stand_ins = [
        f"{f.name} stands in for the upstream {UPSTREAM[r].name}"
        for r in UPSTREAM
        if (f := manifest.by_role(r)) and not f.is_upstream
    ]
    if stand_ins:
        return f"not the paper's data: {'; '.join(stand_ins)}{held}"
    sizes = f"seen {settings.get('num_seen')}, unseen {settings.get('num_unseen')}"
    return (
        f"not the paper's data: its sources, but other split sizes ({sizes}; "
        f"the paper: {PAPER_NUM_SEEN}, {PAPER_NUM_UNSEEN}){held}"
    )


def _split_facts(build: Build, split: str) -> dict[str, Any]:
    positions: list[int] = getattr(build.splits, split)
    texts = {
        "instruction": [build.instructions[p] for p in positions],
        "input": [build.inputs[p] for p in positions],
        "output": [build.outputs[p] for p in positions],
    }
    rows = len(positions)
    without_input = sum(1 for text in texts["input"] if not text)
    pairs = set(zip(texts["instruction"], texts["input"], strict=True))
    return {
        "rows": rows,
        "by_source": dict(sorted(Counter(build.sources[p] for p in positions).items())),
        "distinct_instructions": len(set(texts["instruction"])),
        "distinct_inputs": len(set(texts["input"]) - {""}),
        "distinct_pairs": len(pairs),
        "duplicate_pairs": rows - len(pairs),
        "without_input_pct": round(100 * without_input / rows, 2) if rows else None,
        "empty_instructions": sum(1 for text in texts["instruction"] if not text.strip()),
        "empty_outputs": sum(1 for text in texts["output"] if not text),
        "characters": {name: lengths([len(t) for t in column if t]) for name, column in texts.items()},
        "words": {name: lengths([len(t.split()) for t in column if t]) for name, column in texts.items()},
        "row_ids_sha256": hashlib.sha256("\n".join(build.row_ids[p] for p in positions).encode()).hexdigest(),
    }


def lengths(values: list[int]) -> dict[str, float] | None:
    """Mean, quantiles (nearest rank) and maximum; None without values. Empty texts are left out by the caller."""
    if not values:
        return None
    ordered = sorted(values)

    def quantile(percent: int) -> int:
        rank = -(-percent * len(ordered) // 100)  # the ceiling in integers; as a float, 0.95 * n may be slightly off
        return ordered[rank - 1]

    return {
        "n": len(ordered),
        "mean": round(sum(ordered) / len(ordered), 2),
        "median": quantile(50),
        "p95": quantile(95),
        "p99": quantile(99),
        "max": ordered[-1],
    }


def _overlap(build: Build, a: str, b: str) -> dict[str, int]:
    first: list[int] = getattr(build.splits, a)
    second: list[int] = getattr(build.splits, b)
    return {
        "shared_pairs": len(
            {(build.instructions[p], build.inputs[p]) for p in first}
            & {(build.instructions[p], build.inputs[p]) for p in second}
        ),
        "shared_instructions": len({build.instructions[p] for p in first} & {build.instructions[p] for p in second}),
    }
