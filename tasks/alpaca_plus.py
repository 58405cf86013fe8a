"""Makes the splits train, seen, unseen and human by the paper's rules, with the proof if they are the paper's.

    python -m tasks.alpaca_plus

Reads data/sources and the section `data` of params.yaml; writes one Parquet file per split, facts.json and croissant.json
to data/alpaca_plus."""

from gist_core.data.assemble import build_from_folder, write_data_folder
from tasks import paths
from tasks.sections import ColumnParams
from tasks.stage import Stage, stage_main


def run(stage: Stage) -> None:
    """Builds the splits into the stage's out."""
    data = stage.params.data
    settings = {"num_seen": data.num_seen, "num_unseen": data.num_unseen, "num_dev": data.num_dev, "seed": data.seed}
    columns = data.rows.columns if data.rows else ColumnParams()
    manifest, build = build_from_folder(stage.dep(paths.SOURCES), **settings, columns=columns.model_dump())
    with stage.out(paths.ALPACA_PLUS) as folder:
        facts = write_data_folder(folder, manifest, build, settings)
    for key in ("label", "is_papers_data", "proof", "dropped"):
        stage.facts[key] = facts[key]
    stage.facts["row_ids_sha256"] = {name: split["row_ids_sha256"] for name, split in facts["splits"].items()}
    print(
        f"alpaca_plus: {facts['label']}; " + ", ".join(f"{name} {s['rows']:,}" for name, s in facts["splits"].items())
    )


if __name__ == "__main__":
    stage_main("alpaca_plus", run)
