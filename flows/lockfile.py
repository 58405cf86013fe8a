"""dvc.lock as the flow needs it: reading a stage's entry, adding entries that came from another machine, and ordering
the entries. DVC appends an entry when its stage has ended, so stages that ran at the same time leave their entries in a
random order; put in the graph's order, the file is byte for byte what `dvc repro` alone writes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def lock_path(root: Path, stage: str) -> tuple[Path, str]:
    """The lock file of a stage, and its name there."""
    where, _, name = stage.rpartition(":")
    return ((root / where).with_suffix(".lock") if where else root / "dvc.lock"), name


def read_entries(lock_file: Path) -> dict[str, Any]:
    """The stages in a lock file, in its order; empty if there is no such file. It is read as YAML 1.2, as DVC reads it: in
    YAML 1.1, `2e-05`, the way DVC writes a learning rate, is a text."""
    from dvc.utils.serialize import load_yaml

    return dict((load_yaml(lock_file) or {}).get("stages") or {}) if lock_file.is_file() else {}


def lock_entry(root: Path, stage: str) -> dict[str, Any]:
    """What dvc.lock says of a stage; empty if it says nothing."""
    lock_file, name = lock_path(root, stage)
    return dict(read_entries(lock_file).get(name) or {})


def put_entries(root: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the entries of stages into dvc.lock, under DVC's own lock."""
    from dvc.repo import Repo
    from dvc.utils.serialize import modify_yaml

    with Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
        for stage, entry in entries.items():
            lock_file, name = lock_path(root, stage)
            with modify_yaml(str(lock_file)) as content:
                content.setdefault("schema", "2.0")
                content.setdefault("stages", {})[name] = entry


def put_in_order(root: Path, stages: Iterable[str], before: Iterable[str]) -> None:
    """Orders the entries of dvc.lock: first those that were there `before`, in that order, then new ones as in `stages`."""
    from dvc.repo import Repo
    from dvc.utils.serialize import modify_yaml

    lock_file = root / "dvc.lock"
    ranks = {name: rank for rank, name in enumerate(dict.fromkeys([*before, *stages]))}
    with Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
        names = list(read_entries(lock_file))
        wanted = sorted(names, key=lambda name: ranks.get(name, len(ranks)))
        if names != wanted:
            with modify_yaml(str(lock_file)) as content:
                entries = content["stages"]
                content["stages"] = {name: entries[name] for name in wanted}
