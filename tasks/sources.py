"""Source files of the data, each proved by its git blob id or named as what it is.

    python -m tasks.sources

Reads the section `data` of params.yaml; leaves the files and `manifest.json` in data/sources. A broken download goes on
from where it stopped."""

from dataclasses import asdict
from pathlib import Path

from gist_core.data.own import gather_own
from gist_core.data.sources import Manifest, gather_download, gather_embedded, gather_folder
from tasks import paths
from tasks.params import DataParams
from tasks.stage import Stage, stage_main


def run(stage: Stage) -> None:
    """Gathers the sources into their out."""
    with stage.out(paths.SOURCES) as folder:
        manifest = gather(folder, stage.params.data, stage.root, stage.work_dir)
    stage.facts["sources"] = [asdict(file) for file in manifest.files]


def gather(folder: Path, data: DataParams, root: Path, work_dir: Path) -> Manifest:
    """The sources of one `data` section; relative paths in it are relative to `root`."""
    match data.kind:
        case "embedded":
            return gather_embedded(folder, data.num_tasks)
        case "download":
            return gather_download(folder, work_dir, base_url=data.base_url)
        case "folder":
            assert data.folder is not None
            return gather_folder(folder, root / Path(data.folder).expanduser(), data.stand_ins)
        case "rows":
            assert data.rows is not None
            rows = data.rows
            return gather_own(
                folder,
                work_dir,
                file=root / Path(rows.file).expanduser() if rows.file else None,
                sha256=rows.sha256,
                human_file=root / Path(rows.human_file).expanduser() if rows.human_file else None,
                dataset=rows.dataset,
                revision=rows.revision,
                dataset_split=rows.dataset_split,
            )


if __name__ == "__main__":
    stage_main("sources", run)
