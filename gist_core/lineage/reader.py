"""SHA-256 of many files, reading each inode once: a workspace file and the cache object it is a hard link to are one."""

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

READERS = max(2, min(4, os.cpu_count() or 2))


class Reader:
    """Reads several files at a time. progress: called with the size in bytes of each file read."""

    def __init__(self, progress: Callable[[int], object]) -> None:
        self.progress = progress
        self.files_read, self.bytes_read = 0, 0
        self._known: dict[tuple[int, int], str] = {}

    def sha256(self, files: Mapping[str, Path], failed: Callable[[str, OSError], None]) -> dict[str, str]:
        """Hex digests by name. failed: called with the name and the error of each file that cannot be read; such a file
        has no digest."""
        inodes: dict[str, tuple[int, int]] = {}
        sizes: dict[tuple[int, int], tuple[int, Path]] = {}
        for name, path in files.items():
            try:
                state = path.stat()
            except OSError as error:
                failed(name, error)
                continue
            inodes[name] = (state.st_dev, state.st_ino)
            sizes.setdefault(inodes[name], (state.st_size, path))
        todo = sorted((inode for inode in sizes if inode not in self._known), key=lambda inode: -sizes[inode][0])
        errors = {}
        with ThreadPoolExecutor(READERS) as pool:
            for inode, digest in zip(todo, pool.map(lambda inode: _sha256(sizes[inode][1]), todo), strict=True):
                if isinstance(digest, OSError):
                    errors[inode] = digest
                else:
                    self._known[inode] = digest
                    self._count(sizes[inode][0])
        for name, inode in inodes.items():
            if inode in errors:
                failed(name, errors[inode])
        return {name: self._known[inode] for name, inode in inodes.items() if inode in self._known}

    def sha256_of_stream(self, stream: BinaryIO) -> str:
        """Hex digest. Raises OSError if it cannot be read to its end."""
        digest, size = hashlib.sha256(), 0
        with stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
        self._count(size)
        return digest.hexdigest()

    def _count(self, size: int) -> None:
        self.files_read += 1
        self.bytes_read += size
        self.progress(size)


def _sha256(path: Path) -> str | OSError:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error
