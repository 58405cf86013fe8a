"""SHA-256 and MD5 of files and folders, each byte read once.

SHA-256 is what a statement vouches for. MD5 is only the name under which DVC keeps the same bytes (`dvc.lock`,
cache, remote). A folder's SHA-256 is in-toto's `dirHash`: of the sorted `digest  relative/path` lines, as
`sha256sum` prints them. A folder's MD5 is DVC's: of the JSON list of its files' MD5s, with the suffix `.dir`."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20
NOT_COUNTED = ("*.pyc", ".gitignore", ".DS_Store", "._*", ".*.sw?")  # names of files in folders, as in .dvcignore


@dataclass(frozen=True)
class FileDigest:
    """Both digests (hex) and the size in bytes of one file."""

    sha256: str
    md5: str
    size: int


@dataclass(frozen=True)
class Artifact:
    """A file or folder at one moment.

    files: by path relative to the folder; a plain file is listed under "". isexec: whether it is a plain file that
    somebody may execute, which dvc.lock records too.
    """

    is_folder: bool
    files: Mapping[str, FileDigest] = field(default_factory=dict)
    isexec: bool = False

    @cached_property
    def sha256(self) -> str:
        if not self.is_folder:
            return self.files[""].sha256
        return dir_hash({name: digest.sha256 for name, digest in self.files.items()})

    @cached_property
    def md5(self) -> str:
        """The MD5 as dvc.lock has it, ending in `.dir` for a folder."""
        if not self.is_folder:
            return self.files[""].md5
        listing = [{"md5": self.files[name].md5, "relpath": name} for name in sorted(self.files)]
        return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"

    @property
    def size(self) -> int:
        return sum(digest.size for digest in self.files.values())

    def as_json(self) -> dict[str, Any]:
        """What a statement records about it as a whole, in the words of in-toto and of dvc.lock."""
        digest = {"dirHash" if self.is_folder else "sha256": self.sha256, "md5": self.md5}
        nfiles = len(self.files) if self.is_folder else None
        return {"digest": digest, "size": self.size, "nfiles": nfiles, "isexec": self.isexec}


def digest_path(path: Path) -> Artifact:
    """Digests of a file, or of every file of a folder that counts (see `files_under`).

    Raises:
        ValueError: nothing that can be read is at `path`, or a folder in it is a link.
    """
    if path.is_dir():
        return Artifact(True, {name: digest_file(path / name) for name in files_under(path)})
    if not path.is_file():
        state = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise ValueError(f"{path} {state}, so its SHA-256 cannot be taken")
    return Artifact(False, {"": digest_file(path)}, isexec=bool(path.stat().st_mode & 0o111))


def files_under(folder: Path) -> list[str]:
    """Relative paths of the files of a folder that count, sorted.

    As in .dvcignore, `__pycache__` and NOT_COUNTED do not count: compiled code, what Finder or an editor puts beside a
    file, and `.gitignore`, to which DVC itself adds lines beside outs, in the order in which stages happen to end.

    Raises:
        ValueError: a folder in it is a link, so that no statement would name what is read through it; or a name in it is
            not UTF-8 or holds a line break, with which two folders could have one dirHash.
        OSError: a folder in it cannot be listed.
    """
    names = []
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for link in (Path(parent, name) for name in folders if Path(parent, name).is_symlink()):
            raise ValueError(
                f"{link} is a link to a folder ({link.readlink()}), whose files no hash would cover; "
                "put the files themselves there, or declare the folder that it points to"
            )
        counted = (Path(parent, name) for name in files if is_counted(name))
        names += [file.relative_to(folder).as_posix() for file in counted if file.is_file()]
    for name in names:
        if "\n" in name or not is_utf8(name):
            raise ValueError(f"the name of the file {name!r} in {folder} is not UTF-8 or holds a line break; rename it")
    return sorted(names)


def is_utf8(text: str) -> bool:
    """Whether the text can be encoded: half a surrogate pair, which JSON and file names may hold, cannot."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def is_counted(name: str) -> bool:
    """Whether a file of this name counts in its folder, that is, matches no pattern of NOT_COUNTED."""
    return not any(fnmatchcase(name, left_out) for left_out in NOT_COUNTED)


def digest_file(path: Path) -> FileDigest:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    return FileDigest(sha256.hexdigest(), md5.hexdigest(), size)


def sha256_of_path(path: Path) -> str:
    """Hex digest of a file's bytes, or a folder's dirHash. Raises ValueError as `digest_path` does."""
    if path.is_dir():
        return dir_hash({name: _sha256_of_file(path / name) for name in files_under(path)})
    if not path.exists():
        raise ValueError(f"{path} does not exist, so its SHA-256 cannot be taken")
    return _sha256_of_file(path)


def md5_of_bytes(data: bytes) -> str:
    """The MD5 in hex, DVC's name for a file with these bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def dir_hash(digests: Mapping[str, str]) -> str:
    """in-toto's `dirHash` of a folder, from the SHA-256 of its files by relative path."""
    return hashlib.sha256("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()).hexdigest()


def sha256_of_json(value: Any) -> str:
    """SHA-256 of the canonical JSON (sorted keys, no spaces, UTF-8) of a value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _raise(error: OSError) -> None:
    raise error


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
