"""Puts the source files of a build into one folder, each with its hashes and where it came from.

`manifest.json` beside them is what the build reads: which file plays which role, and whether it is the upstream one."""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from gist_core.data.download import download
from gist_core.data.upstream import UPSTREAM, Role, digests_of_file

MANIFEST = "manifest.json"
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file in the sources folder.

    role: what it is used as; "own" for someone's own data, "own_human" for their human split.
    is_upstream: proved by its blob id. origin: where it came from, by name (not a path on one machine).
    """

    role: str
    name: str
    git_blob_id: str
    sha256: str
    size_bytes: int
    is_upstream: bool
    origin: str
    licence: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of a sources folder. kind: embedded, download, folder or rows."""

    kind: str
    files: tuple[SourceFile, ...]

    def by_role(self, role: str) -> SourceFile | None:
        """The file that plays a role, if one does."""
        return next((file for file in self.files if file.role == role), None)

    @property
    def exact(self) -> frozenset[Role]:
        """Roles whose file is the upstream one."""
        return frozenset(role for role in ROLES if (file := self.by_role(role)) is not None and file.is_upstream)


def describe_file(path: Path, role: str, origin: str) -> SourceFile:
    """Hashes a file that is in place and says whether it is the upstream file of its role."""
    git_blob_id, sha256, size = digests_of_file(path)
    upstream = UPSTREAM.get(role)
    is_upstream = upstream is not None and git_blob_id == upstream.blob_id
    licence = upstream.licence if upstream is not None and is_upstream else None
    return SourceFile(role, path.name, git_blob_id, sha256, size, is_upstream, origin, licence)


def write_manifest(folder: Path, kind: str, files: Iterable[SourceFile]) -> Manifest:
    """Writes `manifest.json` into the folder. Raises ValueError for a source file of that name."""
    manifest = Manifest(kind, tuple(files))
    if any(file.name == MANIFEST for file in manifest.files):
        raise ValueError(f"a source file is called {MANIFEST}, as the list of sources is; give it a name of its own")
    text = json.dumps({"kind": kind, "files": [asdict(file) for file in manifest.files]}, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Reads `manifest.json`. Raises ValueError if the folder has none or it is broken."""
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(raw["kind"], tuple(SourceFile(**entry) for entry in raw["files"]))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; `dvc repro sources` makes it") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a manifest of sources ({error}); `dvc repro -f sources` makes it anew"
        ) from None


def gather_embedded(folder: Path, num_tasks: int | None = None) -> Manifest:
    """The sample inside the package, in the shapes of the upstream files."""
    from gist_core.data.embedded import write_sources

    write_sources(folder, num_tasks)
    origin = "embedded sample (gist_core.data.embedded)"
    files = [describe_file(folder / UPSTREAM[role].name, role, origin) for role in ROLES]
    return write_manifest(folder, "embedded", [replace(file, licence="Apache-2.0") for file in files])


def gather_download(folder: Path, work_dir: Path, *, base_url: str) -> Manifest:
    """Downloads the three upstream files at their pinned commits. Partial and finished downloads stay in `work_dir`.

    Raises:
        ValueError: as `download.download`.
    """
    files = []
    folder.mkdir(parents=True, exist_ok=True)
    for role in ROLES:
        upstream = UPSTREAM[role]
        kept = work_dir / upstream.name
        download(upstream.url(base_url), kept, blob_id=upstream.blob_id, size=upstream.size)
        copy_file(kept, folder / upstream.name)
        origin = f"{upstream.repository} at {upstream.commit}: {upstream.path}"
        files.append(describe_file(folder / upstream.name, role, origin))
    return write_manifest(folder, "download", files)


def folder_names(stand_ins: Mapping[Role, str]) -> dict[Role, str]:
    """The names of the three files in a folder, by role."""
    return {role: stand_ins.get(role, UPSTREAM[role].name) for role in ROLES}


def gather_folder(folder: Path, source_folder: Path, stand_ins: dict[Role, str]) -> Manifest:
    """Copies the three files from `source_folder`. For a role in `stand_ins`, the file named there is taken; every other
    file must be the upstream one.

    Raises:
        ValueError: files are missing or not the upstream ones; all of them are named, with what to do.
    """
    if not source_folder.is_dir():
        raise ValueError(
            f"data.folder is {source_folder}, which is not a folder; set it to the one with the three files"
        )
    names = folder_names(stand_ins)
    problems = [
        f"data.stand_ins.{role} is {name!r}; give the plain name of a file in {source_folder}"
        for role, name in names.items()
        if Path(name).name != name
    ]
    if len(set(names.values())) < len(names):
        problems.append(f"one file cannot play two roles: {names}")
    files = []
    for role, name in names.items():
        path = source_folder / name
        if not path.is_file():
            remedy = (
                f"put it there, or, where the folder has the upstream file, '~data.stand_ins.{role}'"
                if role in stand_ins
                else f"fetch it from {UPSTREAM[role].url()}, or name another file as data.stand_ins.{role}"
            )
            problems.append(f"{path} (role {role}) does not exist; {remedy}")
            continue
        origin = f"{'stand-in ' if role in stand_ins else ''}{name} in data.folder"
        file = describe_file(path, role, origin)
        if not file.is_upstream and role not in stand_ins:
            problems.append(
                f"{path} has git blob id {file.git_blob_id} ({file.size_bytes:,} bytes), the upstream file has "
                f"{UPSTREAM[role].blob_id}; fetch it from {UPSTREAM[role].url()}, "
                f"or name it, ++data.stand_ins.{role}={name}"
            )
        files.append(file)
    if problems:
        raise ValueError("the sources in data.folder cannot be used:\n  " + "\n  ".join(problems))
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        copy_file(source_folder / file.name, folder / file.name)
        if digests_of_file(folder / file.name)[1] != file.sha256:
            raise ValueError(f"{source_folder / file.name} changed while it was copied; run the stage again")
    return write_manifest(folder, "folder", files)


def copy_file(source: Path, target: Path) -> None:
    """Copies bytes only. Raises ValueError where the disk or the permissions do not allow it."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ValueError(f"{source} cannot be copied to {target}: {error.strerror}") from None
