"""Where DVC keeps bytes: a cache or remote as `files/md5/ab/cdef...`, and the configuration that says where it is."""

import configparser
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol


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
    """The bytes that have this MD5, of the first store that has them intact; None if none has."""
    for store in stores:
        try:
            source = store.open(md5)
            if source is None:
                continue
            with source:
                data = source.read()
        except OSError:  # as good as not there
            continue
        if hashlib.md5(data, usedforsecurity=False).hexdigest() == md5.removesuffix(".dir"):
            return data
    return None


def cache_of(root: Path) -> FolderStore:
    """The DVC cache of a project: `.dvc/cache`, or `cache.dir` of its configuration (relative to the file that names
    it)."""
    folder = root / ".dvc" / "cache"
    for name in ("config", "config.local"):
        parser = configparser.ConfigParser(interpolation=None)
        path = root / ".dvc" / name
        if path.exists():
            parser.read_string("\n".join(line.strip() for line in path.read_text(encoding="utf-8").splitlines()))
            if parser.has_option("cache", "dir"):
                folder = path.parent / parser.get("cache", "dir")
    return FolderStore(folder, "cache")
