"""JSON Lines, the format in which stages pass rows on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REMEDY = "bring it back with `dvc checkout`, or with git where that keeps it, or have it made anew"


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The number (from 1, for messages) and the value of each line that is not empty.

    Lines end at "\\n" only: `splitlines` would also break at U+2028, which JSON leaves unescaped inside a string.

    Raises:
        ValueError: the file is not UTF-8, or a line is not JSON. FileNotFoundError: there is no file.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}), so it is damaged; {REMEDY}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{path}, line {number} is not JSON ({error}), so the file is damaged; {REMEDY}") from None
        yield number, value
