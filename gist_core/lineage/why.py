"""From a number back to its rows, generations, weights, training data, sources, commit, parameters and
environment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gist_core.lineage import numbers
from gist_core.lineage.hashing import sha256_of_path
from gist_core.lineage.ledger import Ledger, Statement
from gist_core.lineage.lockfile import LOCK, parse_lock
from gist_core.lineage.rowscores import Recount, recount

PER_RUN = ("data/generations", "data/models", "data/verdicts", "data/benchmark", "reports/curves", "reports/judge")
SPLIT_FILES = ("data/alpaca_plus", "data/generations", "data/verdicts")


@dataclass(frozen=True)
class Origin:
    """One stage on the way to a number. inputs: (path, SHA-256, stage that made it or None) of what the number rests
    on."""

    stage: str
    command: str
    commit: str | None
    changed_files: Mapping[str, str | None]
    parameters: Mapping[str, Any]
    environment: Mapping[str, Any]
    facts: Mapping[str, Any]
    not_reproducible: str | None
    inputs: tuple[tuple[str, str, str | None], ...]
    outputs: tuple[tuple[str, str], ...]
    rows: Mapping[str, tuple[int, str]]
    upstream: tuple[str, ...]


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

    def __init__(self, root: Path, ledger: Ledger | None = None) -> None:
        self.root = root
        self.ledger = ledger or Ledger.of_workspace(root)
        self._content: dict[str, Any] = {}
        self._sha256: dict[str, str] = {}
        self._locked = _locked_outs(root / LOCK)
        self._runs = {statement.run for statement in self.ledger.statements.values() if statement.run}
        self._walks: dict[tuple[str, frozenset[str], frozenset[str]], tuple[dict[str, Origin], tuple[str, ...]]] = {}

    def why(self, question: str) -> Pedigree:
        """`FILE` or `FILE:dotted.path`.

        Raises:
            ValueError: there is no such file or value, or no statement accounts for the file.
        """
        file, _, dotted = question.partition(":")
        path = Path(file)
        file = (path.resolve().relative_to(self.root.resolve()) if path.is_absolute() else path).as_posix()
        if not dotted:
            return self.trace(file, ())
        keys, _ = numbers.lookup(self.content(file), dotted)
        return self.trace(file, keys)

    def trace(self, file: str, keys: tuple[str | int, ...]) -> Pedigree:
        """The pedigree of the value under `keys` of a result file (of the file itself if there are none)."""
        maker = self.ledger.producer(file)
        if maker is None:
            raise ValueError(self._unaccounted(file))
        value = _get(self.content(file), keys) if keys else None
        runs, splits = self._concerns(file, keys, value)
        origins, problems = self._walk(maker.stage, runs, splits)
        here = self._sha256_of(file)
        if here != maker.outputs[file]["sha256"]:
            problems = (f"{file} is not the file that {maker.stage} made (SHA-256 {here})", *problems)
        again = recount(self.root, keys, value) if file == "reports/metrics.json" and keys else None
        if again and not again.agrees:
            problems = (
                f"{file}: counted again from {again.file} the value is {again.value!r}, not {value!r}",
                *problems,
            )
        return Pedigree(file, keys, value, here, origins, _sources(origins), again, problems)

    def content(self, file: str) -> Any:
        if file not in self._content:
            self._content[file] = numbers.load(self.root / file)
        return self._content[file]

    def _locked_maker(self, path: str) -> str | None:
        """The stage among whose outs dvc.lock has a file."""
        parts = Path(path).parts
        return next((m for n in range(1, len(parts) + 1) if (m := self._locked.get("/".join(parts[:n])))), None)

    def _sha256_of(self, file: str) -> str:
        if file not in self._sha256:
            self._sha256[file] = sha256_of_path(self.root / file)
        return self._sha256[file]

    def _unaccounted(self, file: str) -> str:
        if not (self.root / file).exists():
            return f"{file} does not exist; give the path from the project's root, e.g. reports/metrics.json"
        problems = "".join(
            f"; the statement of {name} cannot be read: {why}" for name, why in self.ledger.unreadable.items()
        )
        return (
            f"no statement under data/statements/ accounts for {file}; `dvc pull` or `dvc repro` brings them{problems}"
        )

    def _concerns(self, file: str, keys: tuple[str | int, ...], value: Any) -> tuple[frozenset[str], frozenset[str]]:
        """The runs and splits that a number is about, judged by its keys; empty: all."""
        named = {str(key) for key in keys}
        runs = {run for run in self._runs if run in named or Path(file).stem == run}
        content = self._content.get(file)
        for depth in range(len(keys)):
            around = _get(content, keys[: depth + 1])
            if isinstance(around, dict) and {"a", "b"} <= around.keys():
                runs |= {around["a"], around["b"]} & self._runs
        if runs and "normalised" in named:
            runs |= {"pos_control", "neg_control"} & self._runs
        if runs and ("exact_match" in named or file.startswith("reports/judge/")):
            runs |= {"pos_control"} & self._runs
        return frozenset(runs), frozenset(named & {"train", "seen", "unseen", "human"})

    def _walk(
        self, first: str, runs: frozenset[str], splits: frozenset[str]
    ) -> tuple[dict[str, Origin], tuple[str, ...]]:
        key = (first, runs, splits)
        if key not in self._walks:
            origins: dict[str, Origin] = {}
            problems: list[str] = []
            queue = [first]
            while queue:
                name = queue.pop(0)
                if name not in origins:
                    origins[name] = self._origin(name, runs, splits)
                    problems += self._problems(name, origins[name])
                    queue += origins[name].upstream
            self._walks[key] = (origins, tuple(problems))
        return self._walks[key]

    def _origin(self, name: str, runs: frozenset[str], splits: frozenset[str]) -> Origin:
        statement = self.ledger.statements[name]
        # A split narrows what evaluation stages read; training reads the train split whatever the number is about.
        wanted = splits if not name.startswith(("train@", "alpaca_plus")) else frozenset()
        if name.startswith("baseline@"):  # fitted to the train split
            wanted = wanted and wanted | {"train"}
        if name.startswith(
            ("train@", "baseline@")
        ):  # what they read of another run is the model they start from or ask
            runs = frozenset()
        inputs = tuple(
            (path, digest["sha256"], self.ledger.producers.get(path))
            for path, digest in statement.inputs.items()
            if _rests_on(path, runs, self._runs, wanted)
        )
        upstream = sorted({maker for _, _, maker in inputs if maker and maker != name})
        notes = statement.annotations
        return Origin(
            stage=name,
            command=statement.command,
            commit=statement.source["commit"],
            changed_files=statement.source["changed_files"],
            parameters=statement.parameters,
            environment=statement.environment,
            facts=statement.facts,
            not_reproducible=statement.not_reproducible,
            inputs=inputs,
            outputs=tuple((path, digest["sha256"]) for path, digest in statement.outputs.items()),
            rows={p: (n["rows"], n["row_ids_sha256"]) for p, n in notes.items() if "rows" in n},
            upstream=tuple(upstream),
        )

    def _problems(self, name: str, origin: Origin) -> Iterable[str]:
        if origin.commit is None:
            yield f"{name} ran outside git: no commit is known for it"
        for path, _, maker in origin.inputs:
            stage = self._locked_maker(path) if maker is None else None
            if stage:
                reason = self.ledger.unreadable.get(stage, "it is missing")
                yield f"{path} was made by {stage} (dvc.lock), whose statement does not say so: {reason}"
        relevant = {path for path, _, _ in origin.inputs}
        for path, maker in self.ledger.broken_links(name):
            if path in relevant:
                yield f"{name} read other bytes of {path} than {maker} states to have made"


def _locked_outs(lock: Path) -> dict[str, str]:
    """The stage of each out in dvc.lock. Raises ValueError if the file is damaged."""
    try:
        stages = parse_lock(lock.read_text(encoding="utf-8")) if lock.exists() else {}
    except ValueError as error:
        raise ValueError(f"{lock} cannot be read: {error}") from None
    return {path: name for name, stage in stages.items() for path in stage.outs}


def _sources(origins: Mapping[str, Origin]) -> dict[str, str]:
    """Where the walk ends. A stage that reads nothing made by another one brings its outs into the world."""
    ends: dict[str, str] = {}
    for origin in origins.values():
        ends |= {path: sha256 for path, sha256, maker in origin.inputs if maker is None}
        if not origin.upstream:
            ends |= dict(origin.outputs)
    return dict(sorted(ends.items()))


def _rests_on(path: str, runs: frozenset[str], all_runs: set[str], splits: frozenset[str]) -> bool:
    """Whether a number about some runs and splits rests on a file; files of other runs and splits are left out."""
    for folder in PER_RUN if runs else ():
        if path.startswith(folder + "/"):
            run = path.removeprefix(folder + "/").partition("/")[0]
            run = run if run in all_runs else run.rpartition(".")[0]
            if run in all_runs and run not in runs:
                return False
    if splits and path.startswith(tuple(folder + "/" for folder in SPLIT_FILES)):
        stem = Path(path).stem
        return stem not in {"train", "seen", "unseen", "human"} or stem in splits
    return True


def _get(content: Any, keys: Iterable[str | int]) -> Any:
    for key in keys:
        content = content[key]
    return content


def statement_of(ledger: Ledger, stage: str) -> Statement:
    """Raises ValueError, naming the stages there are, if there is no such statement."""
    if stage not in ledger.statements:
        raise ValueError(f"there is no statement of {stage!r}; there are: {', '.join(ledger.statements) or 'none'}")
    return ledger.statements[stage]
