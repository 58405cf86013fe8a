"""From parsed sources to the rows of every split, with the proof that they are the paper's.

The order: the paper's rules, the proof against the released files' blob ids, then (only where the sources are not the
paper's) the repairs, then an optional development split held out of train."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Any

from gist_core.data.parse import Source
from gist_core.data.rows import row_ids, schema
from gist_core.data.split import Splits, repair, split_by_the_papers_rules
from gist_core.data.upstream import RELEASED, Role, blob_id

if TYPE_CHECKING:
    import pyarrow

PAPER_NUM_SEEN = 1000
PAPER_NUM_UNSEEN = 1000


@dataclass
class Build:
    """All rows of the sources, column by column, and where each one went.

    Columns follow the sources: Self-Instruct, then Alpaca, then human, each in the order of its file.
    proof: for each of train, seen, unseen, human: the git blob id in the release's form (null where the sources are not
    the upstream ones, so there is nothing to prove), the released one, and whether they are equal.
    """

    splits: Splits
    instructions: list[str]
    inputs: list[str]
    outputs: list[str]
    sources: list[str]
    source_files: list[str]
    source_indices: list[int]
    row_ids: list[str]
    proof: dict[str, dict[str, str | bool | None]]

    @property
    def is_papers_data(self) -> bool:
        """Every split has been proved to be the released one."""
        return all(entry["equal"] for entry in self.proof.values())

    def table(self, split: str) -> "pyarrow.Table":
        """The rows of one split, in its order, as the columns of `rows.Row`."""
        import pyarrow as pa

        positions: list[int] = getattr(self.splits, split)

        def rows_of(column: list[Any], kind: Any = None) -> Any:
            # The system's allocator grows an array by remapping its pages; Arrow's own copies it again and again.
            pool = pa.system_memory_pool()
            return pa.array(list(map(column.__getitem__, positions)), kind or pa.string(), memory_pool=pool)

        return pa.table(
            [
                rows_of(self.row_ids),
                pa.repeat(split, len(positions)),
                rows_of(self.instructions),
                rows_of(self.inputs),
                rows_of(self.outputs),
                rows_of(self.sources),
                rows_of(self.source_files),
                rows_of(self.source_indices, pa.int64()),
            ],
            schema=schema(),
        )


def build(
    self_instruct: Source,
    alpaca: Source,
    human: Source,
    *,
    num_seen: int = PAPER_NUM_SEEN,
    num_unseen: int = PAPER_NUM_UNSEEN,
    exact: frozenset[Role] = frozenset(),
    num_dev: int = 0,
    seed: int = 0,
    source_names: tuple[str, str, str] = ("self_instruct", "alpaca", "self_instruct"),
    unseen_needs_input: bool = True,
) -> Build:
    """Builds the splits of Alpaca+ from its three sources.

    exact: the roles whose files are proved to be the upstream ones.
    num_dev, seed: `num_dev` train rows become `dev`, chosen by the SHA-256 of row id and seed.
    source_names: what the `source` column says for the rows of each source.
    unseen_needs_input: the paper's rule, see split.py.

    Raises:
        ValueError: exact sources did not give the released files (a defect here; nobody must train on it unawares), or
            train has too few rows for `num_dev`.
    """
    parts = (self_instruct, alpaca, human)
    instructions, inputs, outputs = (
        list(chain.from_iterable(part.column(field) for part in parts)) for field in ("instruction", "input", "output")
    )
    sources = [name for part, name in zip(parts, source_names, strict=True) for _ in part.records]
    splits = split_by_the_papers_rules(
        instructions,
        inputs,
        num_self_instruct=len(self_instruct.records),
        num_alpaca=len(alpaca.records),
        num_seen=num_seen,
        num_unseen=num_unseen,
        unseen_needs_input=unseen_needs_input,
    )
    proof = _prove(splits, parts, exact, is_papers_size=(num_seen, num_unseen) == (PAPER_NUM_SEEN, PAPER_NUM_UNSEEN))
    result = Build(
        splits=splits,
        instructions=instructions,
        inputs=inputs,
        outputs=outputs,
        sources=sources,
        source_files=[part.file for part in parts for _ in part.records],
        source_indices=[index for part in parts for index in (part.indices or range(len(part.records)))],
        row_ids=row_ids(sources, instructions, inputs, outputs),
        proof=proof,
    )
    if not result.is_papers_data:
        repair(splits, instructions, inputs)
    if num_dev:
        hold_out_dev(result, num_dev, seed)
    return result


def hold_out_dev(build: Build, num_dev: int, seed: int) -> None:
    """Moves `num_dev` rows from train to dev: those whose SHA-256 of "ROW_ID SEED" is smallest, in that order.

    Rows of train that share their (instruction, input) pair with a dev row are dropped, and the last train row of a
    seen instruction stays in train.

    Raises:
        ValueError: train has too few rows.
    """
    splits, instructions = build.splits, build.instructions
    if num_dev >= len(splits.train):
        raise ValueError(f"data.num_dev is {num_dev}, but train has only {len(splits.train)} rows; choose fewer")
    rank = {p: sha256(f"{build.row_ids[p]} {seed}".encode()).digest() for p in splits.train}
    pairs: dict[tuple[str, str], list[int]] = {}
    left: dict[str, int] = {}
    for p in splits.train:
        pairs.setdefault((instructions[p], build.inputs[p]), []).append(p)
        left[instructions[p]] = left.get(instructions[p], 0) + 1
    needed = {instructions[p] for p in splits.seen}
    gone: set[int] = set()
    for p in sorted(splits.train, key=rank.__getitem__):
        if len(splits.dev) == num_dev:
            break
        twins = pairs[instructions[p], build.inputs[p]]
        if p in gone or (instructions[p] in needed and left[instructions[p]] <= len(twins)):
            continue
        splits.dev.append(p)
        gone.update(twins)
        left[instructions[p]] -= len(twins)
        splits.dropped.update((twin, "pair_in_dev") for twin in twins if twin != p)
    if len(splits.dev) < num_dev:
        raise ValueError(
            f"data.num_dev is {num_dev}, but only {len(splits.dev)} rows can leave train without taking the last one "
            "of a seen instruction; choose fewer"
        )
    splits.train = [p for p in splits.train if p not in gone]


def hold_out_human(build: Build, seed: int) -> None:
    """Moves half of unseen to the human split, for data without human rows of its own: of the distinct (instruction, input)
    pairs, the half (rounded down) with the smaller SHA-256 of pair and seed. Rows with equal pairs stay together."""
    splits = build.splits

    def rank(position: int) -> bytes:
        pair = json.dumps([build.instructions[position], build.inputs[position], seed])
        return sha256(pair.encode()).digest()

    ranks = {position: rank(position) for position in splits.unseen}
    ordered = sorted(set(ranks.values()))
    chosen = set(ordered[: len(ordered) // 2])
    splits.human = [p for p in splits.unseen if ranks[p] in chosen]
    splits.unseen = [p for p in splits.unseen if ranks[p] not in chosen]


def release_form(records: Sequence[dict[str, object]]) -> bytes:
    """The bytes of a released split: one JSON array, Python's default separators and ASCII escapes."""
    return json.dumps(records).encode("ascii")


def _prove(
    splits: Splits, parts: tuple[Source, Source, Source], exact: frozenset[Role], *, is_papers_size: bool
) -> dict[str, dict[str, str | bool | None]]:
    self_instruct, alpaca, human = (part.records for part in parts)
    offset = len(self_instruct)
    names = ("instruction", "input", "output")

    def released(position: int) -> dict[str, object]:
        if position < offset:
            return {**self_instruct[position], "source": "self_instruct"}
        if position < offset + len(alpaca):
            return {**alpaca[position - offset], "source": "alpaca"}
        return {**{n: human[position - offset - len(alpaca)][n] for n in names}, "source": "self_instruct"}

    proof: dict[str, dict[str, str | bool | None]] = {}
    for split, expected in RELEASED.items():
        needs = {"user_oriented"} if split == "human" else {"self_instruct", "alpaca"}
        found = None
        if needs <= exact:
            found = blob_id(release_form([released(p) for p in getattr(splits, split)]))
            if found != expected and (is_papers_size or split == "human"):
                raise ValueError(
                    f"the exact upstream sources gave {split} the blob id {found}, but the released file "
                    f"has {expected}; the build has a defect, please report it"
                )
        proof[split] = {"blob_id": found, "released_blob_id": expected, "equal": found == expected}
    return proof
