"""The data folder of a project: sources in, Parquet files, facts and Croissant metadata out."""

import gc
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gist_core.data.build import PAPER_NUM_SEEN, PAPER_NUM_UNSEEN, Build, build, hold_out_human
from gist_core.data.croissant import croissant
from gist_core.data.facts import facts_of
from gist_core.data.own import divide, read_own
from gist_core.data.parse import Source, read_instances, read_user_oriented
from gist_core.data.rows import SPLITS, write_table
from gist_core.data.sources import Manifest, read_manifest
from gist_core.data.upstream import UPSTREAM

FACTS = "facts.json"
CROISSANT = "croissant.json"
SAME_NAMES: Mapping[str, str | None] = {"instruction": "instruction", "input": "input", "output": "output"}


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Turns garbage collection off: nothing here is cyclic, and scanning 130,000 records again and again would take a
    fifth of the time."""
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_collecting:
            gc.enable()


@_without_collecting()
def build_from_folder(
    folder: Path,
    *,
    num_seen: int = PAPER_NUM_SEEN,
    num_unseen: int = PAPER_NUM_UNSEEN,
    num_dev: int = 0,
    seed: int = 0,
    columns: Mapping[str, str | None] = SAME_NAMES,
) -> tuple[Manifest, Build]:
    """Builds the splits from a sources folder. columns: names in someone's own file, see `own.read_own`.

    Raises:
        ValueError: a source cannot be read, a role has no file, or nothing is left to train on.
    """
    manifest = read_manifest(folder)
    exact = manifest.exact
    if manifest.kind == "rows":
        own_human = manifest.by_role("own_human")
        own = read_own(folder / _name(manifest, "own"), columns)
        human = read_own(folder / own_human.name, columns) if own_human else None
        return manifest, build_own(own, human, num_seen=num_seen, num_unseen=num_unseen, num_dev=num_dev, seed=seed)
    result = build(
        read_instances(folder / _name(manifest, "self_instruct"), exact="self_instruct" in exact),
        read_instances(folder / _name(manifest, "alpaca"), exact="alpaca" in exact),
        read_user_oriented(folder / _name(manifest, "user_oriented"), exact="user_oriented" in exact),
        num_seen=num_seen,
        num_unseen=num_unseen,
        exact=exact,
        num_dev=num_dev,
        seed=seed,
    )
    _refuse_empty(
        result, num_seen, num_unseen, "give a user-oriented file (data.stand_ins.user_oriented) with instances"
    )
    return manifest, result


def build_own(
    own: Source, human: Source | None, *, num_seen: int, num_unseen: int, num_dev: int = 0, seed: int = 0
) -> Build:
    """Builds the splits of someone's own rows. human: their human split; None takes half of unseen for it.

    Raises:
        ValueError: nothing is left to train on, or human, which people compare and the benchmark times, has no row.
    """
    result = build(
        *divide(own, num_unseen, seed),
        human or Source("", []),
        num_seen=num_seen,
        num_unseen=num_unseen,
        num_dev=num_dev,
        seed=seed,
        source_names=("own", "own", "own"),
        unseen_needs_input=False,
    )
    if human is None:
        hold_out_human(result, seed)
    remedy = "give rows of their own (+data.rows.human_file=FILE), or more instructions and data.num_unseen=2 or more"
    _refuse_empty(result, num_seen, num_unseen, remedy)
    return result


def _refuse_empty(build: Build, num_seen: int, num_unseen: int, remedy_without_human: str) -> None:
    splits = build.splits
    if not build.instructions:
        raise ValueError("the data has no rows")
    sizes = f"{len(splits.seen)} rows are seen, {len(splits.unseen)} unseen"
    if not splits.train:
        why = "".join(f", {count} left out ({reason})" for reason, count in Counter(splits.dropped.values()).items())
        sizes += f", {len(splits.human)} human" if splits.human else ""
        raise ValueError(
            f"no row is left to train on: {sizes}, of {len(build.instructions)}{why}; lower data.num_seen ({num_seen}) and "
            f"data.num_unseen ({num_unseen}), or give other rows for human"
        )
    if not splits.human:
        raise ValueError(
            f"no row is left for human, which people compare and the benchmark times: {sizes}, {len(splits.train)} train; "
            f"{remedy_without_human}"
        )


@_without_collecting()
def write_splits(folder: Path, build: Build) -> list[str]:
    """Writes one Parquet file per split (dev only where it has rows). Returns the names of the splits."""
    names = [*SPLITS, *(["dev"] if build.splits.dev else [])]
    for name in names:
        write_table(folder / f"{name}.parquet", build.table(name))
    return names


def write_data_folder(folder: Path, manifest: Manifest, build: Build, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the splits, `facts.json` and `croissant.json`. settings: num_seen, num_unseen, num_dev and seed, as used.

    Returns:
        The facts.
    """
    names = write_splits(folder, build)
    facts = facts_of(manifest, build, settings)
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    metadata = croissant(folder, names, facts)
    (folder / CROISSANT).write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")
    return facts


def read_facts(folder: Path) -> dict[str, Any]:
    """Reads `facts.json` of a built data folder. Raises ValueError where it is missing or broken."""
    path = folder / FACTS
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(f"{path} cannot be read; `dvc repro alpaca_plus` makes it") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); `dvc repro -f alpaca_plus` makes it anew") from None
    return facts


def _name(manifest: Manifest, role: str) -> str:
    file = manifest.by_role(role)
    if file is None:
        known = UPSTREAM[role].name if role in UPSTREAM else "your own file"
        raise ValueError(
            f"the sources hold no file for the role {role} ({known}); `dvc repro -f sources` gathers them anew"
        )
    return file.name
