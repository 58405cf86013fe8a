"""CSV for people who work in a spreadsheet.

The guard: a spreadsheet takes a cell that starts with `=`, `+`, `-`, `@`, a tab or a line break as a formula, or drops
the character (OWASP, "CSV Injection"), so such a cell gets an apostrophe in front. A cell that starts with an apostrophe
gets one more, which makes the rule reversible: on reading, one leading apostrophe is removed. All cells are quoted, and
the file starts with a byte order mark, without which Excel reads UTF-8 as the local code page."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence

MAX_ROWS_NAMED = 20
GUARD = "'"
GUARDED = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", GUARD)  # noqa: RUF001 (full-width forms)


def guard(text: str) -> str:
    """The text as it is written into a cell."""
    return GUARD + text if text.startswith(GUARDED) else text


def unguard(cell: str) -> str:
    """The text that `guard` was given."""
    return cell.removeprefix(GUARD)


def write_csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    """A CSV file (RFC 4180, UTF-8 with byte order mark, every cell quoted and guarded)."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([[guard(cell) for cell in row] for row in [columns, *rows]])
    return buffer.getvalue().encode("utf-8-sig")


def read_csv(content: bytes, *, needed: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows by column name, guards removed. "", "None" and "NA" are texts like any other. Comma, semicolon and tab
    are understood as delimiters, whichever the heading uses: spreadsheets choose by language. A blank line is a row of
    empty cells, so that rows have the same numbers as in a spreadsheet, and so are cells that a row lacks at its end:
    some spreadsheets do not write empty ones there.

    needed: columns that must be present.

    Raises:
        ValueError: the content is not UTF-8, the heading lacks a column or names one twice, or rows have more cells than the
            heading.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start}); save it again as “CSV UTF-8”") from None
    declared = re.match(r"sep=.\r?\n", text)  # Excel's line that names the delimiter
    text = text[declared.end() :] if declared else text
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)
    limit = csv.field_size_limit(max(len(text), 1))  # no cell can be longer
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ValueError(f"is not a CSV file: {error}") from None
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise ValueError("is empty")
    columns = [unguard(cell) for cell in rows[0]]
    if lacking := [name for name in needed if name not in columns]:
        raise ValueError(f"has no column {', '.join(map(repr, lacking))}; keep all columns as they were handed out")
    # Spreadsheets leave nameless columns after the last one; nobody reads those.
    if repeated := [name for name, count in Counter(columns).items() if name and count > 1]:
        raise ValueError(f"has more than one column {', '.join(map(repr, repeated))}; leave one of each")
    filled = [row + [""] * (len(columns) - len(row)) for row in rows[1:]]
    uneven = [f"row {number} has {len(row)}" for number, row in enumerate(filled, 2) if len(row) != len(columns)]
    if uneven:
        more = f" and {len(uneven) - MAX_ROWS_NAMED} more" if len(uneven) > MAX_ROWS_NAMED else ""
        raise ValueError(f"{', '.join(uneven[:MAX_ROWS_NAMED])}{more} cells, the heading has {len(columns)}")
    return [dict(zip(columns, map(unguard, row), strict=True)) for row in filled]
