"""The three source files of the embedded sample, in the shapes of their upstream counterparts.

| file | shape |
|---|---|
| all_instances_82K.jsonl | one {"instruction", "input", "output"} per line; computed tasks, many inputs each |
| alpaca_data.json | one array of {"instruction", "input", "output"}, indent 4; every instruction once |
| user_oriented_instructions.jsonl | one {"id", "motivation_app", "instruction", "instances"} per line |
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from gist_core.data.embedded import tasks_dates, tasks_lists, tasks_numbers, tasks_records, tasks_text, tasks_world
from gist_core.data.embedded.task import Task, rank
from gist_core.data.upstream import UPSTREAM, Role

Record = dict[str, Any]


def tasks() -> list[Task]:
    """All computed tasks, in an order that mixes the kinds of input."""
    modules = (tasks_text, tasks_lists, tasks_records, tasks_dates, tasks_numbers, tasks_world)
    return sorted((task for module in modules for task in module.TASKS), key=lambda task: rank("order", task.name))


def _hand_written(name: str) -> list[Record]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def self_instruct_records(num_tasks: int | None = None) -> list[Record]:
    """The first wording of each task, then the second of each, and so on, each wording with all its inputs in succession;
    instructions without input are spread evenly between them.

    num_tasks: take only the first `num_tasks` tasks (None: all); the others occur only in the Alpaca file, as related tasks
    that no training row teaches."""
    in_order = [(task, sorted(task.wordings, key=rank)) for task in tasks()[:num_tasks]]
    rounds = max(len(wordings) for _, wordings in in_order)
    wordings = [(task, own[turn]) for turn in range(rounds) for task, own in in_order if turn < len(own)]
    without_input = _hand_written("no_input.jsonl")
    records: list[Record] = []
    for position, (task, wording) in enumerate(wordings):
        records += [
            {"instruction": wording, "input": given, "output": answer} for given, answer in task.instances(wording)
        ]
        start, stop = (len(without_input) * place // len(wordings) for place in (position, position + 1))
        for record in without_input[start:stop]:
            records.append({"instruction": record["instruction"], "input": "", "output": record["output"]})
    return records


def alpaca_records() -> list[Record]:
    """One row for each computed task that has a `once` wording, then the hand-written rows."""
    computed = [(task.once, *task.once_instance()) for task in tasks() if task.once]
    records = [dict(zip(("instruction", "input", "output"), row, strict=True)) for row in computed]
    return records + _hand_written("alpaca.jsonl")


def user_oriented_records() -> list[Record]:
    """Instructions in longer, natural words, numbered as upstream numbers them."""
    return [
        {"id": f"user_oriented_task_{number}"} | record
        for number, record in enumerate(_hand_written("user_oriented.jsonl"))
    ]


def write_sources(folder: Path, num_tasks: int | None = None) -> None:
    """Writes the three files into `folder`, which is made if it is missing. num_tasks: see `self_instruct_records`."""
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[Role, str] = {
        "self_instruct": _lines(self_instruct_records(num_tasks)),
        "alpaca": json.dumps(alpaca_records(), indent=4),
        "user_oriented": _lines(user_oriented_records()),
    }
    for role, text in texts.items():
        (folder / UPSTREAM[role].name).write_text(text, encoding="utf-8", newline="\n")


def _lines(records: list[Record]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)
