"""Whether what an answer rests on is intact: a file's SHA-256 is the one in the statement of the stage that made it,
and that statement is the one that dvc.lock names.

This is for the answers (`why`, `row`, `diff`, exports), which check what they rest on and nothing else. `verify` checks
everything."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from gist_core.lineage.hashing import md5_of_bytes, sha256_of_path
from gist_core.lineage.ledger import Ledger
from gist_core.lineage.lockfile import LOCK, LockedStage, parse_lock
from gist_core.lineage.statement import FOLDER


class NotIntactError(ValueError):
    """What would be shown as genuine is not genuine, or cannot be proved to be. problems: one sentence each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class Intact:
    """Answers for one workspace. Each file and each statement is read once.

    Raises:
        ValueError: dvc.lock is damaged.
    """

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self.root, self.ledger = root, ledger
        self._locked = _read_lock(root / LOCK)
        self._locked_makers = {path: name for name, stage in self._locked.items() for path in stage.outs}
        self._sha256: dict[str, str] = {}
        self._statements: dict[str, str | None] = {}

    @cached_property
    def stages(self) -> list[str]:
        """Every stage that has a statement, or must have one according to dvc.lock."""
        must = {name for name, stage in self._locked.items() if f"{FOLDER}/{name}.json" in stage.outs}
        return sorted(must | self.ledger.statements.keys() | self.ledger.unreadable.keys())

    def sha256(self, path: str) -> str:
        """SHA-256 of a file's bytes. Raises ValueError if it does not exist."""
        if path not in self._sha256:
            self._sha256[path] = sha256_of_path(self.root / path)
        return self._sha256[path]

    def statement(self, stage: str) -> str | None:
        """What is wrong with the statement of a stage; None if it is the one that dvc.lock names."""
        if stage not in self._statements:
            self._statements[stage] = self._statement(stage)
        return self._statements[stage]

    def file(self, path: str) -> str | None:
        """What is wrong with a file that a stage made; None if it is the one that its statement names, if it is not
        here, or if no stage made it."""
        maker = self.ledger.producers.get(path)
        if maker is None:
            stage = self._locked_maker(path)
            if stage is None or path == f"{FOLDER}/{stage}.json":
                return self.statement(stage) if stage else None
            reason = self.statement(stage) or "it names other files"
            return f"{path} was made by {stage} ({LOCK}), whose statement does not say so: {reason}"
        if not (self.root / path).is_file():
            return None
        same = self.sha256(path) == self.ledger.statements[maker].outputs[path]["sha256"]
        return None if same else f"{path} is not the file that {maker} made (SHA-256 {self.sha256(path)})"

    def problems(self, stages: Iterable[str], files: Iterable[str]) -> tuple[str, ...]:
        """What is wrong with the statements of the stages and of the makers of the files, and with the files."""
        files = list(files)
        makers = [maker for path in files if (maker := self.ledger.producers.get(path))]
        found = [*map(self.statement, [*stages, *makers]), *map(self.file, files)]
        return tuple(dict.fromkeys(problem for problem in found if problem))

    def demand(self, stages: Iterable[str], files: Iterable[str]) -> None:
        """Raises NotIntactError if there are `problems`."""
        if problems := self.problems(stages, files):
            raise NotIntactError(problems)

    def _statement(self, stage: str) -> str | None:
        path = f"{FOLDER}/{stage}.json"
        if stage in self.ledger.unreadable:
            return f"the statement of {stage} ({path}) cannot be read: {self.ledger.unreadable[stage]}"
        if stage not in self.ledger.statements:
            return f"the statement of {stage} ({path}) is missing; `dvc pull` or `dvc repro {stage}` brings it"
        stated = self.ledger.statements[stage].stage
        if stated != stage:
            return f"{path} is the statement of {stated}, not of {stage}"
        entry = self._locked[stage].outs.get(path) if stage in self._locked else None
        if entry is None:
            return f"{path} is in no entry of {LOCK}, so nothing says that it is the statement of {stage}"
        if md5_of_bytes((self.root / path).read_bytes()) != entry.md5:
            return f"{path} is not the statement that {LOCK} names (MD5 {entry.md5})"
        return None

    def _locked_maker(self, path: str) -> str | None:
        """The stage that made a file according to dvc.lock: the file is one of its outs, or in one."""
        parts = Path(path).parts
        outs = ("/".join(parts[:length]) for length in range(1, len(parts) + 1))
        return next((self._locked_makers[out] for out in outs if out in self._locked_makers), None)


def whole_ledger(root: Path) -> Ledger:
    """The statements of the workspace, if every one that dvc.lock names is here and intact.

    Raises:
        ValueError: there are none.
        NotIntactError: one is missing, unreadable or not the one in dvc.lock; each is named.
    """
    ledger = Ledger.of_workspace(root)
    if not ledger.statements and not ledger.unreadable:
        raise ValueError(f"there are no statements under {FOLDER}; `dvc pull` or `dvc repro` brings them")
    intact = Intact(root, ledger)
    intact.demand(intact.stages, ())
    return ledger


def _read_lock(lock: Path) -> dict[str, LockedStage]:
    try:
        return parse_lock(lock.read_text(encoding="utf-8")) if lock.exists() else {}
    except ValueError as error:
        raise ValueError(f"{lock} cannot be read: {error}") from None
