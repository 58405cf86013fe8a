"""What a computed task of the sample is: a pool of inputs, a function that answers, and wordings that ask for it.

Which inputs a wording gets follows from SHA-256 of the task's name and the input's text, so adding a task or an input
moves nothing else, and the same files come out on every machine."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

FEWEST_INSTANCES = 8
MOST_INSTANCES = 13

Instance = tuple[str, str]  # (input, output)


def rank(*parts: str) -> int:
    """A number that depends on the parts alone; the orders and sizes below are taken from it."""
    return int.from_bytes(sha256("\x1f".join(parts).encode("utf-8")).digest()[:8], "big")


@dataclass(frozen=True)
class Pool:
    """Inputs of one kind. `items` may be of any type; `show` gives the text that stands after `Input:`."""

    items: tuple[Any, ...]
    show: Callable[[Any], str] = str

    def where(self, keep: Callable[[Any], bool]) -> "Pool":
        """The part of the pool for which the task has an answer."""
        return Pool(tuple(item for item in self.items if keep(item)), self.show)


@dataclass(frozen=True)
class Task:
    """One skill, asked for in several wordings.

    Attributes:
        name: unique; fixes the draw of inputs.
        pool: where the inputs come from.
        answer: item -> output.
        wordings: instructions of the Self-Instruct file, each with many inputs. Empty for a task that only the
            Alpaca file has: a near relative that no training row teaches.
        once: one more wording, for the Alpaca file, with one input.
    """

    name: str
    pool: Pool
    answer: Callable[[Any], str]
    wordings: tuple[str, ...] = ()
    once: str = ""

    @cached_property
    def _items(self) -> list[Any]:
        """The pool in this task's own order; the methods below take parts of it that do not overlap."""
        return sorted(self.pool.items, key=lambda item: rank(self.name, self.pool.show(item)))

    def _instance(self, item: Any) -> Instance:
        return self.pool.show(item), self.answer(item)

    def once_instance(self) -> Instance:
        """The input and output of the `once` wording."""
        return self._instance(self._items[0])

    def instances(self, wording: str) -> list[Instance]:
        """8 to 13 instances of one wording (fewer if the pool is small); no other wording of this task gets any of them.

        Raises:
            ValueError: the task has no such wording.
        """
        start = 1
        share = (len(self._items) - 1) // len(self.wordings)
        for each in self.wordings:
            wanted = FEWEST_INSTANCES + rank(each) % (MOST_INSTANCES - FEWEST_INSTANCES + 1)
            stop = start + min(wanted, share)
            if each == wording:
                return [self._instance(item) for item in self._items[start:stop]]
            start = stop
        raise ValueError(f"the task {self.name!r} has no wording {wording!r}")
