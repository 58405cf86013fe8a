"""Where DVC keeps bytes: a cache or remote as `files/md5/ab/cdef...`."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from gist_core.lineage.hashing import md5_of_bytes


class ObjectStore(Protocol):
    """Objects by MD5 (with `.dir` for a folder's listing)."""

    label: str

    def open(self, md5: str) -> BinaryIO | None:
        """The object's bytes, or None if it is not here."""

    def path(self, md5: str) -> Path | None:
        """Its file on this machine, if it is one."""


class FolderStore:
    """A cache or remote in a folder of this machine. label: what findings call it, e.g. "cache"."""

    def __init__(self, folder: Path, label: str) -> None:
        self.folder, self.label = folder, label

    def path(self, md5: str) -> Path | None:
        file = self.folder / "files" / "md5" / md5[:2] / md5[2:]
        return file if file.is_file() else None

    def open(self, md5: str) -> BinaryIO | None:
        file = self.path(md5)
        return file.open("rb") if file else None


def read_object(md5: str, stores: Sequence[ObjectStore]) -> bytes | None:
    """The bytes that have this MD5, from the first store that has them intact; None if none has."""
    for store in stores:
        try:
            source = store.open(md5)
            if source is None:
                continue
            with source:
                data = source.read()
        except OSError:  # as good as absent
            continue
        if md5_of_bytes(data) == md5.removesuffix(".dir"):
            return data
    return None
