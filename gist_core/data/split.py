"""The paper's split of Alpaca+ (section 4.1), rule by rule in the order of the release, and the repairs that data other
than the paper's may need.

Rows are positions in one list: first the Self-Instruct records, then Alpaca's, then the human ones, each in the order
of its file."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Splits:
    """Positions of rows by split, in the order of the split, and the rows left out with the reason.

    dropped: position -> reason, one of the keys of `REASONS`.
    """

    train: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    unseen: list[int] = field(default_factory=list)
    human: list[int] = field(default_factory=list)
    dev: list[int] = field(default_factory=list)
    dropped: dict[int, str] = field(default_factory=dict)


REASONS = {
    "duplicate": "a Self-Instruct instance whose (instruction, input) pair was used before",
    "pair_in_human": "a seen or unseen row whose (instruction, input) pair is also in human",
    "pair_in_validation": "a train row whose (instruction, input) pair is in seen, unseen or human",
    "instruction_in_unseen": "a train row whose instruction is in unseen",
    "instruction_not_in_train": "a seen row whose instruction no train row has",
    "pair_in_dev": "a train row whose (instruction, input) pair is in dev",
}


def split_by_the_papers_rules(
    instructions: Sequence[str],
    inputs: Sequence[str],
    *,
    num_self_instruct: int,
    num_alpaca: int,
    num_seen: int,
    num_unseen: int,
    unseen_needs_input: bool = True,
) -> Splits:
    """Splits rows as the release does.

    - seen: Self-Instruct instructions in order of first appearance; while fewer than `num_seen` are taken, an
      instruction with at least two instances whose first has a non-empty input gives that first one.
    - train: the other Self-Instruct instances, one instruction after another, unless the pair was used before.
    - unseen: Alpaca in order; while fewer than `num_unseen` are taken, a record with a non-empty input whose
      instruction is not a training instruction so far. Every other record joins train, and its instruction becomes a
      training instruction.
    - human: all rows that follow.

    unseen_needs_input: False lets a record without an input into unseen, too; the release does not. (A seen row always
        needs one: it is a trained instruction with another input.)
    """
    splits = Splits()
    instances: defaultdict[str, list[int]] = defaultdict(list)
    for position in range(num_self_instruct):
        instances[instructions[position]].append(position)
    for positions in instances.values():
        if len(positions) == 1:
            splits.train.append(positions[0])
            continue
        used_inputs = set()
        if len(splits.seen) < num_seen and inputs[positions[0]]:
            splits.seen.append(positions[0])
            used_inputs.add(inputs[positions[0]])
            positions = positions[1:]
        for position in positions:
            if inputs[position] in used_inputs:
                splits.dropped[position] = "duplicate"
                continue
            used_inputs.add(inputs[position])
            splits.train.append(position)

    train_instructions = {instructions[position] for position in splits.train}
    for position in range(num_self_instruct, num_self_instruct + num_alpaca):
        may_be_unseen = inputs[position] or not unseen_needs_input
        if len(splits.unseen) < num_unseen and may_be_unseen and instructions[position] not in train_instructions:
            splits.unseen.append(position)
        else:
            splits.train.append(position)
            train_instructions.add(instructions[position])

    splits.human = list(range(num_self_instruct + num_alpaca, len(instructions)))
    return splits


def repair(splits: Splits, instructions: Sequence[str], inputs: Sequence[str]) -> None:
    """Drops what would break the meaning of a split: a pair in two splits, a training instruction in unseen, a seen
    instruction that no train row has. Human rows always stay.

    The paper's sources need none of this (the release stops with an error instead), so it is not run on them.
    """

    def pairs(positions: list[int]) -> set[tuple[str, str]]:
        return {(instructions[p], inputs[p]) for p in positions}

    def keep(positions: list[int], reason: str, is_wrong: Callable[[int], bool]) -> list[int]:
        wrong = dict.fromkeys(filter(is_wrong, positions), reason)
        splits.dropped.update(wrong)
        return [p for p in positions if p not in wrong] if wrong else positions

    human = pairs(splits.human)
    for name in ("seen", "unseen"):
        taken: list[int] = getattr(splits, name)
        setattr(splits, name, keep(taken, "pair_in_human", lambda p: (instructions[p], inputs[p]) in human))
    validation = human | pairs(splits.seen) | pairs(splits.unseen)
    told = {instruction for instruction, _ in validation}
    unseen = {instructions[p] for p in splits.unseen}
    # Few rows share their instruction with a validation row, and only those can be wrong.
    near = {p for p in splits.train if instructions[p] in told}
    train = keep(splits.train, "pair_in_validation", lambda p: p in near and (instructions[p], inputs[p]) in validation)
    splits.train = keep(train, "instruction_in_unseen", lambda p: p in near and instructions[p] in unseen)
    trained = {instructions[p] for p in splits.train}
    splits.seen = keep(splits.seen, "instruction_not_in_train", lambda p: instructions[p] not in trained)
