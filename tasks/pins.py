"""Records in params.yaml what DVC does not watch: the content of the user's own files and of a model's folder.

DVC knows such a file only by the name in a parameter, so other bytes under that name would pass for those that were used.
So `gist params` puts a hash beside the name, and other content becomes another parameter.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gist_core.data.sources import folder_names
from gist_core.lineage.hashing import sha256_of_json, sha256_of_path
from gist_core.lineage.yaml12 import parse_yaml
from tasks.params import Params
from tasks.sections import DataParams


def pins(params: Params, root: Path) -> list[str]:
    """Hydra overrides that pin what is not pinned yet. Relative paths are relative to `root`. If the files are not here (in
    a clone that has only what was made from them), the pin that params.yaml has for the same names is kept.

    Raises:
        ValueError: a path cannot be one, or a model's folder holds a link to a folder.
    """
    before = as_written(root / "params.yaml")
    found = []
    if params.data.content is None and (names := _names(params.data.model_dump())):
        known = _mapping(before.get("data"))
        content = _content_here(params.data, root) or (known.get("content") if _names(known) == names else None)
        found += [f"++data.content={content}"] if content else []
    if params.model.source == "folder" and params.model.revision is None:
        folder, known = root / params.model.location, _mapping(before.get("model"))
        same = known.get("source") == "folder" and known.get("location") == params.model.location
        revision = sha256_of_path(folder) if folder.is_dir() else known.get("revision") if same else None
        found += [f"++model.revision={revision}"] if revision else []
    return found


def not_here(params: Params, root: Path) -> list[str]:
    """The user's own files, and model's folder, that params.yaml names and that are not here, so their content cannot be
    checked."""
    model = [root / params.model.location] if params.model.source == "folder" else []
    return [str(path) for path in (*_files(params.data, root), *model) if not path.exists()]


def refuse_other_content(params: Params, root: Path) -> None:
    """Raises ValueError if the user's own rows, source files or model are here, but are not those that params.yaml was made
    for, or it has no hash of the files: what DVC has made from them could be out of date without DVC knowing."""
    folder, revision = root / params.model.location, params.model.revision
    if params.model.source == "folder" and revision and folder.is_dir() and sha256_of_path(folder) != revision:
        raise ValueError(
            f"changed since params.yaml was made (model.revision): the model in {folder}; call `gist params` again, with the "
            "same overrides, and what follows from it is made anew. Or put the old one back"
        )
    found = _content_here(params.data, root)
    if found is not None and found != params.data.content:
        names = ", ".join(str(path) for path in _files(params.data, root))
        again = "call `gist params` again, with the same overrides"
        if params.data.content is None:
            raise ValueError(
                f"not noted in params.yaml is what stands in {names}, so that a change would go unseen; {again}, which notes it"
            )
        raise ValueError(
            f"changed since params.yaml was made (data.content): one of {names}; {again}, and what follows from the data is made "
            "anew. Or put the old content back; `dvc repro` goes on with what was made of it"
        )


def local_path(root: Path, key: str, path: str) -> Path:
    """The path that a parameter names, relative to `root`. Raises ValueError for the home (~NAME) of an unknown user."""
    try:
        return root / Path(path).expanduser()
    except RuntimeError as error:  # there is no such user
        raise ValueError(f"{key} is {path!r}: {error}") from None


def _content_here(data: DataParams, root: Path) -> str | None:
    files = _files(data, root)
    if not files or not all(file.is_file() for file in files):
        return None
    return sha256_of_json([[file.name, sha256_of_path(file)] for file in files])


def _names(data: Mapping[str, Any]) -> list[Any]:
    """The names of local files in a `data` section; empty if it names none."""
    rows = _mapping(data.get("rows"))
    names = [data.get("folder"), rows.get("file"), rows.get("human_file")]
    return [*names, data.get("stand_ins") or {}] if any(names) else []


def as_written(params: Path) -> dict[str, Any]:
    """The content of params.yaml; empty if it cannot be read."""
    try:
        read = parse_yaml(params.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return _mapping(read)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _files(data: DataParams, root: Path) -> list[Path]:
    if data.folder is not None:
        folder = local_path(root, "data.folder", data.folder)
        return [folder / name for name in folder_names(data.stand_ins).values()]
    if data.rows is not None:
        named = {"data.rows.file": data.rows.file, "data.rows.human_file": data.rows.human_file}
        return [local_path(root, key, path) for key, path in named.items() if path]
    return []
