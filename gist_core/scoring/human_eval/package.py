"""The annotation package: which items are judged, and which answer each annotator sees as A.

Hashes of the row id decide both, so neither the order of the rows nor the number of annotators moves an item or a
position that was there before: a package with more items or annotators begins with the smaller one, and answers to the
smaller one are answers to the larger one too (`Package.contained_ids`)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

from gist_core.lineage.hashing import sha256_of_json

Choice = Literal["A", "B", "tie", "unknown"]
Winner = Literal["run", "against", "tie", "unknown"]
CHOICES: tuple[Choice, ...] = ("A", "B", "tie", "unknown")

QUESTION = "Which answer follows the instruction better?"
CHOICE_LABELS: dict[Choice, str] = {
    "A": "A is better",
    "B": "B is better",
    "tie": "About the same",
    "unknown": "I don't know",
}
CHOICE_KEYS: dict[Choice, str] = {"A": "1", "B": "2", "tie": "3", "unknown": "0"}


@dataclass(frozen=True)
class Pair:
    """Two answers to one row: by the model under evaluation (`run`) and by the one that it is compared with."""

    row_id: str
    instruction: str
    input: str
    run_answer: str
    against_answer: str


@dataclass(frozen=True)
class Shown:
    """One item as one annotator sees it."""

    row_id: str
    instruction: str
    input: str
    answer_a: str
    answer_b: str


@dataclass(frozen=True)
class Package:
    """The items, the annotators, and the key.

    run, against: names of the two runs, e.g. "gist-1" and "pos_control".
    pairs: the items in the order in which everybody sees them. One order for all, so that the sets of people who stop
        early overlap as far as possible.
    run_is_a: per annotator, the row ids for which the run's answer is shown as A.
    asked: how many items were asked for; `pairs` has fewer when the split has.
    eligible: how many rows had an answer by both runs.
    """

    run: str
    against: str
    pairs: tuple[Pair, ...]
    annotators: tuple[str, ...]
    run_is_a: dict[str, frozenset[str]]
    asked: int
    eligible: int

    @cached_property
    def id(self) -> str:
        """SHA-256 (first 32 hex digits) of all that an annotator sees and of the key: any other text, item, order,
        position or question makes another package. How many items were asked for or eligible does not change it."""
        content = {name: value for name, value in self.to_key().items() if name not in ("asked", "eligible")}
        return sha256_of_json([content, QUESTION, CHOICE_LABELS])[:32]

    @cached_property
    def contained_ids(self) -> tuple[str, ...]:
        """Ids of the packages that this one begins with, from few items and annotators to many; its own is the last.

        Whoever answered an item of one of them was shown it as this package shows it, with the same answer as A.
        """
        return tuple(
            replace(self, pairs=self.pairs[:items], annotators=self.annotators[:people]).id
            for people in range(1, len(self.annotators) + 1)
            for items in range(1, len(self.pairs) + 1)
        )

    @cached_property
    def row_ids(self) -> tuple[str, ...]:
        return tuple(pair.row_id for pair in self.pairs)

    def shown_to(self, annotator: str) -> list[Shown]:
        """The items as this annotator sees them."""
        first = self.run_is_a[annotator]
        return [
            Shown(
                pair.row_id,
                pair.instruction,
                pair.input,
                *(
                    (pair.run_answer, pair.against_answer)
                    if pair.row_id in first
                    else (pair.against_answer, pair.run_answer)
                ),
            )
            for pair in self.pairs
        ]

    def unblind(self, annotator: str, row_id: str, choice: Choice) -> Winner:
        """What the annotator's choice says about the two runs."""
        if choice == "tie" or choice == "unknown":
            return choice
        return "run" if (choice == "A") == (row_id in self.run_is_a[annotator]) else "against"

    def to_key(self) -> dict[str, Any]:
        """The package without its id, as plain JSON values."""
        return {
            "run": self.run,
            "against": self.against,
            "asked": self.asked,
            "eligible": self.eligible,
            "annotators": list(self.annotators),
            "items": [
                asdict(pair) | {"run_shown_as": [self._side(name, pair.row_id) for name in self.annotators]}
                for pair in self.pairs
            ],
        }

    def _side(self, annotator: str, row_id: str) -> str:
        return "A" if row_id in self.run_is_a[annotator] else "B"


def draw_package(
    pairs: Sequence[Pair],
    *,
    run: str,
    against: str,
    num_items: int,
    annotators: Sequence[str],
    seed: int,
    secret: Sequence[str] = (),
) -> Package:
    """Draws the `num_items` pairs with the smallest SHA-256 of (row_id, seed), or all if there are fewer. The run's answer
    is shown as A where the SHA-256 of (row_id, annotator, seed, secret) is even.

    secret: what no page shows. Without it the order of the items on a page gives a small seed away, and with it the sides.

    Raises:
        ValueError: there is no pair or no annotator, or a row id or an annotator's name occurs twice.
    """
    if not pairs:
        raise ValueError(f"no row has an answer by both {run} and {against}, so there is nothing to judge")
    seen: set[str] = set()
    for pair in pairs:
        if pair.row_id in seen:
            raise ValueError(f"row {pair.row_id} occurs twice among the rows to draw from; row ids must be unique")
        seen.add(pair.row_id)
    if len(set(annotators)) != len(annotators) or not annotators:
        raise ValueError(f"annotators must be at least one name, each once; got {', '.join(annotators) or 'none'}")
    drawn = sorted(pairs, key=lambda pair: _digest(pair.row_id, seed))[:num_items]
    run_is_a = {
        name: frozenset(p.row_id for p in drawn if _digest(p.row_id, name, seed, *secret)[-1] % 2 == 0)
        for name in annotators
    }
    return Package(run, against, tuple(drawn), tuple(annotators), run_is_a, asked=num_items, eligible=len(pairs))


def package_from_key(key: dict[str, Any]) -> Package:
    """The package that `Package.to_key` described. Raises ValueError if `key` is no such key or does not fit its id."""
    try:
        pairs = tuple(
            Pair(**{name: item[name] for name in ("row_id", "instruction", "input", "run_answer", "against_answer")})
            for item in key["items"]
        )
        run_is_a = {
            name: frozenset(item["row_id"] for item in key["items"] if item["run_shown_as"][i] == "A")
            for i, name in enumerate(key["annotators"])
        }
        package = Package(
            key["run"], key["against"], pairs, tuple(key["annotators"]), run_is_a, key["asked"], key["eligible"]
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"this is not the key of an annotation package ({type(error).__name__}: {error})") from None
    if key.get("package") != package.id:
        raise ValueError(
            f"the key says package {key.get('package')}, but its content has the id {package.id}; it was edited, or "
            "written by another version; draw the package again with `dvc repro human_package`"
        )
    return package


def _digest(*parts: str | int) -> bytes:
    return bytes.fromhex(sha256_of_json(list(parts)))
