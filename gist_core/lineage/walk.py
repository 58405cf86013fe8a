"""What a number rests on, according to the statements alone: the stages behind its file and, of what each stage read, the
files of the runs and splits that the number is about."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gist_core.data.rows import SPLITS
from gist_core.lineage.ledger import Ledger

# Folders that hold one folder or file per run, named after it.
PER_RUN = (
    "data/generations",
    "data/models",
    "data/trained_rows",
    "data/verdicts",
    "data/benchmark",
    "reports/benchmark",
    "reports/curves",
    "reports/judge",
)
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


class Walk:
    """Walks of one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.runs = {run for name in ledger.statements if (run := name.partition("@")[2])}

    def concerns(self, file: str, keys: tuple[str | int, ...], content: Any) -> tuple[frozenset[str], frozenset[str]]:
        """The runs and splits that a number is about, judged by its keys and, for a comparison, by the values around
        it; empty: all. content: of the file."""
        named = {str(key) for key in keys}
        runs = self.runs & {*named, str(_run_of(file, self.runs))}
        for key in keys:
            content = content[key]
            if isinstance(content, dict) and {"a", "b"} <= content.keys():
                runs |= {run for run in self.runs if run in (content["a"], content["b"])}
            if isinstance(content, dict) and {"runs", "controls"} <= content.keys():  # a mean over seeds
                runs |= self.runs & {*content["runs"], *(content["controls"] if "normalised" in named else ())}
        if runs and "normalised" in named:
            runs |= {"pos_control", "neg_control"} & self.runs
        if runs and ("exact_match" in named or file.startswith("reports/judge/")):
            runs |= {"pos_control"} & self.runs
        return frozenset(runs), frozenset(named.intersection(SPLITS))

    def behind(self, first: str, runs: frozenset[str], splits: frozenset[str]) -> dict[str, Origin]:
        """By stage, everything that a number about these runs and splits rests on; the maker of its file comes first."""
        origins: dict[str, Origin] = {}
        queue = [first]
        while queue:
            name = queue.pop(0)
            if name not in origins:
                origins[name] = self._origin(name, runs, splits)
                queue += origins[name].upstream
        return origins

    def _origin(self, name: str, runs: frozenset[str], splits: frozenset[str]) -> Origin:
        statement = self.ledger.statements[name]
        # A split narrows what evaluation stages read; training reads the train split whatever the number is about.
        wanted = splits if not name.startswith(("train@", "alpaca_plus")) else frozenset()
        if name.startswith("baseline@"):  # its compressor is given the train split
            wanted = wanted and wanted | {"train"}
        if name.startswith(("train@", "baseline@")):
            runs = frozenset()  # what they read of another run is the model they start from or ask
        inputs = tuple(
            (path, digest["sha256"], self.ledger.maker(path))
            for path, digest in statement.inputs.items()
            if _rests_on(path, runs, self.runs, wanted)
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


def _rests_on(path: str, runs: frozenset[str], all_runs: set[str], splits: frozenset[str]) -> bool:
    """Whether a number about these runs and splits rests on a file; files of other runs and splits do not count."""
    run = _run_of(path, all_runs)
    if runs and run and run not in runs:
        return False
    if splits and path.startswith(tuple(folder + "/" for folder in SPLIT_FILES)):
        stem = Path(path).stem
        return stem not in (*SPLITS, "dev") or stem in splits
    return True


def _run_of(path: str, runs: Iterable[str]) -> str | None:
    """The run that a file of a per-run folder belongs to."""
    for folder in PER_RUN:
        if path.startswith(folder + "/"):
            name = path.removeprefix(folder + "/").partition("/")[0]
            return next((run for run in (name, name.rpartition(".")[0]) if run in runs), None)
    return None
