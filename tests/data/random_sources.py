"""Random sources in the shapes of the real ones, small enough to search and dense in the cases that matter: repeated
instructions, repeated pairs, empty inputs, instructions shared between the sources."""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gist_core.data.parse import Source
from gist_core.data.upstream import UPSTREAM, Role

Record = dict[str, Any]

_INSTRUCTIONS = st.sampled_from(["Add.", "Sort.", "Name it.", "Rhyme.", "Translate."]) | st.text(
    "abé ", min_size=1
).filter(str.strip)
_INPUTS = st.sampled_from(["", "", "1", "2", "3"]) | st.text("xyz\n", max_size=3)
_OUTPUTS = st.sampled_from(["", "ok", "no"])

RECORDS = st.lists(
    st.fixed_dictionaries({"instruction": _INSTRUCTIONS, "input": _INPUTS, "output": _OUTPUTS}), max_size=25
)
TASKS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.just("user_oriented_task"),
            "instruction": _INSTRUCTIONS,
            "instances": st.lists(st.fixed_dictionaries({"input": _INPUTS, "output": _OUTPUTS}), max_size=2),
        }
    ),
    max_size=4,
)


def human_source(tasks: list[Record]) -> Source:
    """The parsed form of user-oriented tasks."""
    records = [{"instruction": task["instruction"], **instance} for task in tasks for instance in task["instances"]]
    return Source("user_oriented_instructions.jsonl", records)


def write_upstream_shapes(
    folder: Path, self_instruct: list[Record], alpaca: list[Record], tasks: list[Record]
) -> dict[Role, Path]:
    """Writes the three files with the names and in the shapes of the upstream ones."""
    folder.mkdir(parents=True, exist_ok=True)
    contents: dict[Role, str] = {
        "self_instruct": "".join(json.dumps(record) + "\n" for record in self_instruct),
        "alpaca": json.dumps(alpaca, indent=4),
        "user_oriented": "".join(json.dumps(task) + "\n" for task in tasks),
    }
    paths: dict[Role, Path] = {}
    for role, file in UPSTREAM.items():
        paths[role] = folder / file.name
        paths[role].write_text(contents[role], encoding="utf-8")
    return paths


SMALL_SELF_INSTRUCT = [{"instruction": "Add one.", "input": str(n), "output": str(n + 1)} for n in range(4)] + [
    {"instruction": "Name a fruit.", "input": "", "output": "pear"},
    {"instruction": "Upper case.", "input": "a", "output": "A"},
    {"instruction": "Upper case.", "input": "b", "output": "B"},
]
SMALL_ALPACA = [
    {"instruction": "Name a fruit.", "input": "red", "output": "apple"},
    {"instruction": "Rhyme.", "input": "cat", "output": "hat"},
    {"instruction": "Sort.", "input": "2 1", "output": "1 2"},
    {"instruction": "Greet.", "input": "", "output": "Hello."},
]
SMALL_TASKS = [
    {
        "id": "t0",
        "instruction": "Shorten.",
        "instances": [{"input": "very big", "output": "huge"}, {"input": "", "output": ""}],
    }
]
