"""Work folders, in which stages keep work in progress that outlives a kill: `.work/NAME/KEY/`.

A night, or an experiment that DVC runs in a copy, has them in the project, under `.work/copies`, because its own tree is
removed; one copy at a time has a folder in hand.
"""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tasks import paths
from tasks.locks import WAIT_SECONDS

COPIES = paths.WORK / "copies"
_MADE = (
    "made.md5"  # in a folder: the MD5 of the statement about its finished work, as dvc.lock and the cache will name it
)


class Work:
    """The work folders of the tree at `root`, for one stage."""

    def __init__(self, root: Path, stage: str) -> None:
        self._root, self._stage = root, stage
        self._copies = paths.project_of(root) / COPIES
        self._folder: Path | None = None
        self._lock: FileLock | None = None  # of a folder that copies share; held until this process ends

    def folder(self, key: str) -> Path:
        """The folder of this stage with this key; made if there is none. If another copy has it in hand, one in this tree."""
        self._folder = self._root / paths.WORK / self._stage / key
        if paths.project_of(self._root) != self._root:
            shared = self._copies / self._stage / key
            self._lock = _lock_of(shared)
            try:
                self._lock.acquire()
                self._folder = shared
            except Timeout:
                print(
                    f"another copy of this project does the same work in {shared}; this one does it by itself",
                    file=sys.stderr,
                )
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def note_made(self, statement_md5: str) -> None:
        """Notes that the work in the folder is finished, if there is one."""
        if self._folder is not None:
            partial = self._folder / f"{_MADE}.partial"
            partial.write_text(statement_md5, encoding="utf-8")
            partial.replace(self._folder / _MADE)

    def remove_recorded(self, cache: Path) -> None:
        """Removes the folders, of any stage, whose results DVC has recorded. Not sooner: if a stage is killed between its last
        line and that record, DVC removes its outs. So a stage that is forced to run again does all its work again.

        The record of a copy goes with the copy. There, it counts that the statement is in DVC's cache, where it comes after
        the outs that took the work. cache: where DVC keeps files by their MD5.
        """
        lock = self._root / "dvc.lock"
        recorded = lock.read_text(encoding="utf-8") if lock.exists() else ""
        for made in (self._root / paths.WORK).glob(f"*/*/{_MADE}"):
            with suppress(FileNotFoundError):  # another stage that starts at the same time removes it too
                md5 = made.read_text(encoding="utf-8")
                if md5 and md5 in recorded:  # it may be empty after a power cut, and "" is in every text
                    shutil.rmtree(made.parent)
        for made in self._copies.glob(f"*/*/{_MADE}"):
            with suppress(FileNotFoundError, Timeout):
                md5 = made.read_text(encoding="utf-8")
                if len(md5) == 32 and (cache / md5[:2] / md5[2:]).exists():
                    with _lock_of(made.parent).acquire(timeout=0):  # another copy may have taken it up
                        shutil.rmtree(made.parent)


def _lock_of(folder: Path) -> FileLock:
    """The lock of a work folder that copies share. Who was just told to stop needs a moment to let it go."""
    locks = folder.parent.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{folder.parent.name}-{folder.name}.lock", timeout=WAIT_SECONDS)
