"""A table as data, for both templates, and how its numbers are written."""

from collections.abc import Sequence
from dataclasses import dataclass, field

MISSING = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and its 95 % interval where it has one."""

    text: str
    interval: str | None = None

    def __str__(self) -> str:
        return f"{self.text} {self.interval}" if self.interval else self.text


@dataclass(frozen=True)
class TableRow:
    """kind: "own", "paper" for published numbers, or "group" for a line of one cell that heads the next ones."""

    cells: Sequence[Cell]
    kind: str = "own"


@dataclass(frozen=True)
class Table:
    """caption: what it shows, with units. source: the files that its own numbers come from. groups: (label, number of
    columns) of a second header line above `columns`, or empty. notes: what a reader must know. text_columns: how many of
    the first columns hold text."""

    id: str
    caption: str
    source: str
    columns: Sequence[str]
    rows: Sequence[TableRow]
    groups: Sequence[tuple[str, int]] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    text_columns: int = 1

    @property
    def flat_columns(self) -> list[str]:
        """One header per column, with the group's label in front; for Markdown, which has no second header line."""
        labels = [label for label, width in self.groups for _ in range(width)] or [""] * len(self.columns)
        return [f"{label}: {column}" if label else column for label, column in zip(labels, self.columns, strict=True)]


def row(*cells: Cell | str, kind: str = "own") -> TableRow:
    """A row of cells or plain texts."""
    return TableRow([cell if isinstance(cell, Cell) else Cell(cell) for cell in cells], kind)


def number(value: float | int | None, digits: int = 1) -> str:
    """With a fixed number of decimals, and commas between thousands; None becomes a dash."""
    if value is None:
        return MISSING
    rounded = round(value, digits) + 0.0  # adding 0.0 turns -0.0 into 0.0
    return f"{rounded:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def significant(value: float | None) -> str:
    """About four significant digits for quantities of unknown size: 914.7, 23.44, 0.1234."""
    if value is None:
        return MISSING
    size = abs(value)
    return number(value, 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 else 4)


def interval(bounds: Sequence[float] | None, digits: int = 1) -> str | None:
    """[low, high], or None."""
    return None if bounds is None else f"[{number(bounds[0], digits)}, {number(bounds[1], digits)}]"


def estimate(value: float | None, bounds: Sequence[float] | None, digits: int = 1) -> Cell:
    """A value with its interval; a dash if there is no value."""
    return Cell(number(value, digits), interval(bounds, digits) if value is not None else None)


def byte_size(value: float | None) -> str:
    """Bytes in binary units: 0 B, 12.0 KiB, 1.5 MiB."""
    if value is None:
        return MISSING
    for unit, digits in (("B", 0), ("KiB", 1), ("MiB", 1)):
        if abs(value) < 1024:
            return f"{number(value, digits)} {unit}"
        value /= 1024
    return f"{number(value, 2)} GiB"
