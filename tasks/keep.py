"""Copies what explains this run's numbers into docs/results/NAME, small enough to commit.

    make keep NAME=my-run

Parameters, reports and statements must be those of the run in dvc.lock; `gist lineage verify` checks everything else.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from gist_core.lineage.hashing import NOT_COUNTED, md5_of_bytes
from gist_core.lineage.lockfile import LOCK, parse_lock
from tasks import paths

RESULTS = Path("docs/results")
PARAMS = Path("params.yaml")
KEPT = (PARAMS, LOCK, Path("reports"), paths.STATEMENTS)
LEFT_OUT = (*NOT_COUNTED, "log.lock")


def keep(root: Path, name: str) -> Path:
    """Copies `KEPT` of the project at `root`. It replaces what an earlier copy of that name has of them; the copy's page
    stays.

    Returns: the folder, relative to `root`.

    Raises:
        ValueError: the name cannot be a folder's, nothing has been run here, or what is here is not of the run in dvc.lock.
        DvcException: dvc.yaml cannot be read.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise ValueError(
            "say what the run is called, NAME=my-run: letters, digits, '-', '_' and '.', and no dot at the begin"
        )
    for part in KEPT:
        if not (root / part).exists():
            raise ValueError(f"there is no {part}: nothing has been run here; make pipeline")
    if problems := list(_of_another_run(root)):
        raise ValueError(
            "what is here is not what the run in dvc.lock had or made; restore it, or make pipeline:\n  "
            + "\n  ".join(problems)
        )
    folder = RESULTS / name
    for part in KEPT:
        source, target = root / part, root / folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
        else:
            shutil.copyfile(source, target)
    return folder


def _of_another_run(root: Path) -> Iterator[str]:
    from dvc.repo import Repo
    from dvc.utils.serialize import load_yaml

    with Repo(str(root)) as repo:
        declared = {stage.name for stage in repo.index.stages if stage.path_in_repo == "dvc.yaml"}
    params = load_yaml(root / PARAMS)
    for name, stage in parse_lock((root / LOCK).read_text(encoding="utf-8")).items():
        if name in declared:  # dvc.lock keeps the entries of runs that were taken out of params.yaml
            yield from (
                f"{name}: {key} in {PARAMS} is not what it ran with"
                for key, value in stage.params.items()
                if _lookup(params, key) != value
            )
        for path, out in stage.outs.items():
            kept = any(Path(path).is_relative_to(part) for part in KEPT) and (root / path).is_file()
            if kept and md5_of_bytes((root / path).read_bytes()) != out.md5:
                yield f"{path} is not the file that {name} made"


def _lookup(node: object, key: str) -> object:
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


if __name__ == "__main__":
    from dvc.exceptions import DvcException

    try:
        if len(sys.argv) != 2:
            raise ValueError("give the run a name: python -m tasks.keep NAME")
        print(keep(Path.cwd(), sys.argv[1]))
    except (ValueError, OSError, DvcException) as error:
        print(f"keep: {error}", file=sys.stderr)
        raise SystemExit(2) from None
