"""From a number back to its rows, generations, weights, training data, sources, commit, parameters and
environment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gist_core.lineage import numbers
from gist_core.lineage.intact import Intact, NotIntactError
from gist_core.lineage.ledger import Ledger
from gist_core.lineage.lockfile import LOCK
from gist_core.lineage.rowscores import SCORES, Recount, recount
from gist_core.lineage.walk import Origin, Walk


@dataclass(frozen=True)
class Pedigree:
    """file, keys, value: the number. origins: by stage, the maker of the file first. sources: SHA-256 of each file
    at which the walk ends: what a stage read that no stage made (data, code), and what stages without such inputs
    fetched or made.
    problems: why the walk cannot be trusted; empty if it can."""

    file: str
    keys: tuple[str | int, ...]
    value: Any
    sha256: str
    origins: Mapping[str, Origin]
    sources: Mapping[str, str]
    recounted: Recount | None = None
    problems: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.file + (":" + ".".join(map(str, self.keys)) if self.keys else "")


class Tracer:
    """Answers `why` for many numbers of one project: statements and files are read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ledger = Ledger.of_workspace(root)
        self._intact = Intact(root, self.ledger)
        self._walk = Walk(self.ledger)
        self._content: dict[str, Any] = {}
        self._walks: dict[tuple[str, frozenset[str], frozenset[str]], tuple[dict[str, Origin], tuple[str, ...]]] = {}

    def why(self, question: str) -> Pedigree:
        """`FILE` or `FILE:dotted.path`.

        Raises:
            ValueError: there is no such file or value, or no statement accounts for the file.
        """
        file, _, dotted = question.partition(":")
        file = self._relative(file)
        if not dotted:
            return self.trace(file, ())
        keys, _ = numbers.lookup(self.content(file), dotted)
        return self.trace(file, keys)

    def trace(self, file: str, keys: tuple[str | int, ...]) -> Pedigree:
        """The pedigree of the value under `keys` of a result file (of the file itself if there are none).

        Raises:
            ValueError: no statement accounts for the file.
        """
        maker = self.ledger.producers.get(file)
        if maker is None:
            raise self._unaccounted(file)
        content = self.content(file) if keys else None
        value = _get(content, keys)
        origins, behind = self._behind(maker, *self._walk.concerns(file, keys, content))
        here = self._intact.sha256(file)
        again, problems = self._recount(file, keys, value)
        problems = [*self._intact.problems((), [file]), *problems, *behind]
        return Pedigree(file, keys, value, here, origins, _sources(origins), again, tuple(dict.fromkeys(problems)))

    def _relative(self, file: str) -> str:
        path = Path(file)
        if path.is_absolute():
            if not path.resolve().is_relative_to(self.root.resolve()):
                raise ValueError(f"{file} is not in this project ({self.root.resolve()})")
            path = path.resolve().relative_to(self.root.resolve())
        return path.as_posix()

    def content(self, file: str) -> Any:
        if file not in self._content:
            self._content[file] = numbers.load(self.root / file)
        return self._content[file]

    def _unaccounted(self, file: str) -> ValueError:
        if not (self.root / file).exists():
            return ValueError(
                f"{file} does not exist; give the path from the project's root, e.g. reports/metrics.json"
            )
        if (self.root / file).is_dir():
            inside = next((path for path in sorted(self.ledger.producers) if path.startswith(f"{file}/")), None)
            example = f", e.g. {inside}" if inside else ""
            return ValueError(f"{file} is a folder; ask for one of its files{example}")
        if problem := self._intact.file(file):
            return NotIntactError([problem])
        if about := self.ledger.maker(file):
            made = self.ledger.statements[about].outputs
            return ValueError(f"{file} is the statement of {about}; ask for what it made, e.g. {next(iter(made))}")
        unreadable = "".join(f"; {self._intact.statement(name)}" for name in self.ledger.unreadable)
        if self.ledger.statements and not unreadable:
            return ValueError(f"no stage made {file}: no statement under data/statements/ names it, nor does {LOCK}")
        remedy = "`dvc pull` or `dvc repro` brings them"
        return ValueError(f"no statement under data/statements/ accounts for {file}; {remedy}{unreadable}")

    def _recount(self, file: str, keys: tuple[str | int, ...], value: Any) -> tuple[Recount | None, list[str]]:
        """The number counted again from its rows, if it has any, and what is wrong with that."""
        if file != "reports/metrics.json" or not keys:
            return None, []
        try:
            again = recount(self.root, keys, value)
        except ValueError as error:
            return None, [str(error), *self._intact.problems((), [SCORES])]
        if again is None:
            return None, []
        problems = list(self._intact.problems((), [again.file]))
        if not again.agrees:
            said = f"counted again from {again.file} the value is {again.value!r}, not {value!r}"
            problems.insert(0, f"{file}: {said}")
        return again, problems

    def _behind(
        self, maker: str, runs: frozenset[str], splits: frozenset[str]
    ) -> tuple[dict[str, Origin], tuple[str, ...]]:
        key = (maker, runs, splits)
        if key not in self._walks:
            origins = self._walk.behind(maker, runs, splits)
            problems = [problem for name, origin in origins.items() for problem in self._problems(name, origin)]
            self._walks[key] = (origins, tuple(problems))
        return self._walks[key]

    def _problems(self, name: str, origin: Origin) -> Iterable[str]:
        if origin.commit is None:
            yield f"{name} ran outside git: no commit is known for it"
        relevant = [path for path, _, _ in origin.inputs]
        yield from self._intact.problems([name], relevant)
        for path, maker in self.ledger.broken_links(name):
            if path in relevant:
                yield f"{name} read other bytes of {path} than {maker} states to have made"


def _sources(origins: Mapping[str, Origin]) -> dict[str, str]:
    """Where the walk ends. The outs of a stage that reads nothing made by another stage are sources too."""
    ends: dict[str, str] = {}
    for origin in origins.values():
        ends |= {path: sha256 for path, sha256, maker in origin.inputs if maker is None}
        if not origin.upstream:
            ends |= dict(origin.outputs)
    return dict(sorted(ends.items()))


def _get(content: Any, keys: Iterable[str | int]) -> Any:
    for key in keys:
        content = content[key]
    return content
