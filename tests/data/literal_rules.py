"""The paper's rules, written down as slowly and as literally as they are told, to compare the real build with.

Nothing here is shared with gist_core.data: lists are searched from the start each time, no sets, no positions."""

import json
from typing import Any

Record = dict[str, Any]


def literal_split(
    self_instruct: list[Record], alpaca: list[Record], tasks: list[Record], num_seen: int, num_unseen: int
) -> dict[str, list[Record]]:
    """train, seen, unseen, human as lists of records with their source."""
    self_instruct = [{**record, "source": "self_instruct"} for record in self_instruct]
    alpaca = [{**record, "source": "alpaca"} for record in alpaca]

    in_order_of_appearance: list[str] = []
    for record in self_instruct:
        if record["instruction"] not in in_order_of_appearance:
            in_order_of_appearance.append(record["instruction"])

    train: list[Record] = []
    seen: list[Record] = []
    used: list[tuple[str, str]] = []
    for instruction in in_order_of_appearance:
        instances = [record for record in self_instruct if record["instruction"] == instruction]
        first = instances[0]
        remaining = instances
        if len(seen) < num_seen and len(instances) >= 2 and first["input"] != "":
            seen.append(first)
            used.append((first["instruction"], first["input"]))
            remaining = instances[1:]
        for record in remaining:
            pair = (record["instruction"], record["input"])
            if pair not in used:
                used.append(pair)
                train.append(record)

    unseen: list[Record] = []
    for record in alpaca:
        training_instructions = [row["instruction"] for row in train]
        if len(unseen) < num_unseen and record["input"] != "" and record["instruction"] not in training_instructions:
            unseen.append(record)
        else:
            train.append(record)

    human: list[Record] = []
    for task in tasks:
        for instance in task["instances"]:
            human.append(
                {
                    "instruction": task["instruction"],
                    "input": instance["input"],
                    "output": instance["output"],
                    "source": "self_instruct",
                }
            )
    return {"train": train, "seen": seen, "unseen": unseen, "human": human}


def release_bytes(records: list[Record]) -> bytes:
    """What `json.dump` writes with its defaults."""
    return json.dumps(records).encode()
