"""Gathers the source files of the data, each proved by its git blob id or recorded as not being the upstream one.

    python -m tasks.sources

Reads the section `data` of params.yaml; writes the files and `manifest.json` to data/sources. A broken download goes on
from where it stopped. A finished one is proved again, but not fetched again, whatever else changes under `data`."""

from dataclasses import asdict
from pathlib import Path

from gist_core.data.own import gather_own
from gist_core.data.sources import Manifest, gather_download, gather_embedded, gather_folder
from tasks import paths
from tasks.pins import local_path, refuse_other_content
from tasks.sections import DataParams
from tasks.stage import Stage, stage_main

# Not in the stage's work_dir, because any change of a parameter or of code gives the stage a new one. Here a hash (a blob
# id, a commit on the hub) identifies each file, and nothing else has to.
DOWNLOADS = paths.WORK / "downloads"


def run(stage: Stage) -> None:
    """Gathers the sources into the stage's out."""
    if stage.params.data.content is not None:
        refuse_other_content(stage.params, stage.root)
    with stage.out(paths.SOURCES) as folder:
        manifest = gather(folder, stage.params.data, stage.root, stage.root / DOWNLOADS)
    stage.facts["sources"] = [asdict(file) for file in manifest.files]


def gather(folder: Path, data: DataParams, root: Path, downloads: Path) -> Manifest:
    """Gathers the sources of one `data` section into `folder`. Relative paths in it are relative to `root`; downloads are
    kept in `downloads`."""
    match data.kind:
        case "embedded":
            return gather_embedded(folder, data.num_tasks)
        case "download":
            return gather_download(folder, downloads, base_url=data.base_url)
        case "folder":
            assert data.folder is not None
            return gather_folder(folder, local_path(root, "data.folder", data.folder), data.stand_ins)
        case "rows":
            assert data.rows is not None
            rows = data.rows
            return gather_own(
                folder,
                downloads,
                file=local_path(root, "data.rows.file", rows.file) if rows.file else None,
                sha256=rows.sha256,
                human_file=local_path(root, "data.rows.human_file", rows.human_file) if rows.human_file else None,
                dataset=rows.dataset,
                revision=rows.revision,
                dataset_split=rows.dataset_split,
            )


if __name__ == "__main__":
    stage_main("sources", run)
