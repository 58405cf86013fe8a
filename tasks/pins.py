"""What DVC does not watch, written down in params.yaml: the content of the user's own files, and of a model's folder.

DVC knows a file outside the project by the name in a parameter alone, under which other bytes would pass for those that
were used. So `gist params` puts a hash beside the name, and other content is another parameter.
"""

from pathlib import Path

from gist_core.data.sources import folder_names
from gist_core.lineage.hashing import sha256_of_json, sha256_of_path
from tasks.params import Params
from tasks.sections import DataParams


def pins(params: Params, root: Path) -> list[str]:
    """Hydra overrides that pin what is not pinned yet. Relative paths are relative to `root`; what is missing is left out.

    Raises:
        ValueError: a path that cannot be one, or a model's folder with a link to a folder in it.
    """
    found = []
    if content := _content_here(params.data, root):
        found.append(f"++data.content={content}")
    folder = root / params.model.location
    if params.model.source == "folder" and params.model.revision is None and folder.is_dir():
        found.append(f"model.revision={sha256_of_path(folder)}")
    return found


def refuse_other_content(params: Params, root: Path) -> None:
    """Raises ValueError where the user's own rows or source files are here and are not those that params.yaml was made
    for: what DVC has of them would be out of date without its knowing."""
    found = _content_here(params.data, root)
    if params.data.content is not None and found is not None and found != params.data.content:
        names = ", ".join(str(path) for path in _files(params.data, root))
        raise ValueError(
            f"changed since params.yaml was made (data.content): one of {names}; call `gist params` again, with the same "
            "overrides, and what follows from the data is made anew"
        )


def local_path(root: Path, key: str, path: str) -> Path:
    """The path that a parameter names, relative to `root`. Raises ValueError for the home of nobody."""
    try:
        return root / Path(path).expanduser()
    except RuntimeError as error:  # there is no such user
        raise ValueError(f"{key} is {path!r}: {error}") from None


def _content_here(data: DataParams, root: Path) -> str | None:
    files = _files(data, root)
    if not files or not all(file.is_file() for file in files):
        return None
    return sha256_of_json([[file.name, sha256_of_path(file)] for file in files])


def _files(data: DataParams, root: Path) -> list[Path]:
    if data.folder is not None:
        folder = local_path(root, "data.folder", data.folder)
        return [folder / name for name in folder_names(data.stand_ins).values()]
    if data.rows is not None:
        named = {"data.rows.file": data.rows.file, "data.rows.human_file": data.rows.human_file}
        return [local_path(root, key, path) for key, path in named.items() if path]
    return []
