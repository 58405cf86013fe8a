"""SHA-256 of files and folders, each byte read once."""

import hashlib
from pathlib import Path


def sha256_of_path(path: Path) -> str:
    """Hex digest of a file's bytes or, for a folder, of its sorted `digest  relative/path` lines (as `sha256sum` prints
    them), so that a name, a content or a missing file changes it. `__pycache__` and `.pyc` files do not count.

    Raises:
        ValueError: nothing is at `path`.
    """
    if path.is_dir():
        lines = [
            f"{_sha256_of_file(file)}  {file.relative_to(path).as_posix()}\n"
            for file in sorted(path.rglob("*"), key=lambda f: f.relative_to(path).as_posix())
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc"
        ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    if not path.exists():
        raise ValueError(f"{path} does not exist, so its SHA-256 cannot be taken")
    return _sha256_of_file(path)


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
