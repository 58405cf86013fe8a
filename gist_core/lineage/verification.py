"""What `verify` found."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """place: workspace, dvc.lock, statement, run log, signature, or the label of a store. path: the file it is
    about."""

    place: str
    path: str
    problem: str


@dataclass
class Verification:
    """findings: what contradicts a statement. notes: what is absent or cannot be checked here, and is no alarm.

    stages: the number of stages in dvc.lock. unstated: how many of them have no usable statement here, so that their outs
    were compared only with the MD5s in dvc.lock."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stages: int = 0
    unstated: int = 0
    files_read: int = 0
    bytes_read: int = 0

    @property
    def ok(self) -> bool:
        return not self.findings

    def find(self, place: str, path: str, problem: str) -> None:
        finding = Finding(place, path, problem)
        if finding not in self.findings:
            self.findings.append(finding)

    def cannot_read(self, place: str, path: str, error: OSError) -> None:
        self.find(place, path, f"it cannot be read: {error.strerror or error}")
