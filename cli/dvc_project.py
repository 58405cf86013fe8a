"""What `gist lineage` asks DVC for: a project's cache and remotes, and the outs that its dvc.yaml declares."""

from pathlib import Path
from typing import Any, BinaryIO

from flows.clone import without_passwords
from gist_core.lineage.store import FolderStore, ObjectStore
from gist_core.lineage.yaml12 import parse_yaml


def declared_outs(root: Path) -> dict[str, list[str]]:
    """The outs of every stage as dvc.yaml declares them, templates resolved. dvc.lock, which may be broken, is not read.

    Raises:
        ValueError: dvc.yaml, or a file that its templates name, cannot be read.
    """
    from dvc.dvcfile import load_file
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        for name in ("dvc.yaml", "params.yaml"):
            parse_yaml((root / name).read_text(encoding="utf-8"))  # DVC's own parser may end the process
    except (ValueError, OSError) as error:
        raise ValueError(f"{name} cannot be read: {' '.join(str(error).split())}") from None
    try:
        with Repo(str(root)) as repo:
            stages = load_file(repo, str(root / "dvc.yaml")).resolver.resolve().get("stages")
    except (DvcException, OSError) as error:
        raise ValueError(f"its stages cannot be read: {' '.join(str(error).split())}") from None
    if not stages:
        raise ValueError("it declares no stage")
    return {
        name: [
            out if isinstance(out, str) else next(iter(out))
            for kind in ("outs", "metrics", "plots")
            for out in stage.get(kind) or []
        ]
        for name, stage in stages.items()
    }


def cache_of(root: Path) -> FolderStore:
    """The cache of a project, wherever its own, the user's or the system's DVC configuration puts it."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            return FolderStore(Path(repo.cache.local.path).parent.parent, "cache")  # it ends in files/md5
    except DvcException as error:
        raise ValueError(f"the cache cannot be opened: {error}") from None


def remotes_of(root: Path, name: str | None) -> list[ObjectStore]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            chosen = name or repo.config["core"].get("remote")
            return [RemoteStore(repo.cloud.get_remote_odb(chosen, "verify"), chosen)] if chosen else []
    except DvcException as error:
        raise ValueError(f"the remote cannot be opened: {error}") from None


class RemoteStore:
    """A DVC remote, of any kind that DVC reads.

    Raises:
        ValueError: it cannot be reached, at construction or when an object is opened. A missing object gives None.
    """

    def __init__(self, odb: Any, name: str) -> None:
        self._odb, self.label = odb, f"remote {name}"
        self._local = odb.fs.protocol == "local"
        if self._local and not Path(odb.path).is_dir():
            raise ValueError(
                f"{self.label} is {odb.path}, which does not exist: `dvc push` makes it; "
                "is its disk mounted? `--no-remote` checks workspace and cache only"
            )
        source = self.open("0" * 32)
        if source:
            source.close()

    def path(self, md5: str) -> Path | None:
        file = Path(self._odb.oid_to_path(md5))
        return file if self._local and file.is_file() else None

    def open(self, md5: str) -> BinaryIO | None:
        try:
            return self._odb.fs.open(self._odb.oid_to_path(md5), "rb")
        except FileNotFoundError as error:
            # Over HTTP every failure arrives as this error; its cause says why: a status other than 404, or no connection.
            cause = error.__cause__
            if not isinstance(cause, OSError) and getattr(cause, "status", 404) == 404:
                return None
            reason = cause
        except OSError as error:
            reason = error
        raise ValueError(
            f"{self.label} ({without_passwords(self._odb.path)}) cannot be reached: {without_passwords(str(reason))}; "
            "`--no-remote` checks workspace and cache only"
        )
