"""Follows every number of a project's results to its sources."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gist_core.lineage import numbers
from gist_core.lineage.why import Pedigree, Tracer


@dataclass(frozen=True)
class Audited:
    """name: `FILE:dotted.path`. problems: empty if the number leads back to source files with hashes, and every stage on
    the way names its commit and environment and is intact."""

    name: str
    value: float
    stages: tuple[str, ...]
    num_sources: int
    problems: tuple[str, ...]


def every_number(root: Path) -> Iterator[Audited]:
    """`why` of every number in the result files (numbers.RESULTS), in the order of files and keys.

    Raises:
        ValueError: there is no result file, or one is not JSON.
    """
    tracer = Tracer(root)
    found = sorted({path.relative_to(root).as_posix() for pattern in numbers.RESULTS for path in root.glob(pattern)})
    if not found:
        raise ValueError(f"no results are in {root}; `make pipeline` or `dvc pull` brings them")
    for file in found:
        for keys, value in numbers.leaves(tracer.content(file)):
            yield _audit(tracer, file, keys, value)


def _audit(tracer: Tracer, file: str, keys: tuple[str | int, ...], value: float) -> Audited:
    name = f"{file}:{'.'.join(map(str, keys))}"
    try:
        pedigree = tracer.trace(file, keys)
    except ValueError as error:
        return Audited(name, value, (), 0, (str(error),))
    return Audited(name, value, tuple(pedigree.origins), len(pedigree.sources), (*pedigree.problems, *_gaps(pedigree)))


def _gaps(pedigree: Pedigree) -> list[str]:
    gaps = [f"{path} has no SHA-256" for path, sha256 in pedigree.sources.items() if len(sha256) != 64]
    if not pedigree.sources:
        gaps.append("the walk ends at no source file")
    return gaps
