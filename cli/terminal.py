"""What may be shown on a terminal."""

import unicodedata

_DIRECTIONS = (
    "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they change the direction of what follows
)


def printable(text: object) -> str:
    """A text in which characters that would control the terminal, or that it cannot write, are replaced by their escapes:
    file names and the contents of rows may come from anyone."""
    return "".join(character if _is_shown(character) else _escaped(character) for character in str(text))


def _is_shown(character: str) -> bool:
    return character in "\n\t" or (
        unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") and character not in _DIRECTIONS
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
