"""Everything that the report is made of, read from the files of the earlier stages. Nothing is measured here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gist_core.data.json_lines import read_json_lines
from gist_core.data.rows import VALIDATION_SPLITS, Row, read_rows
from gist_core.lineage.ledger import Statement

Json = dict[str, Any]


@dataclass(frozen=True)
class ReportInputs:
    """The contents of the stage's inputs, by run and split.

    params: the declared sections of params.yaml (data, model, train, engine, runs, baselines, ...).
    facts: data/alpaca_plus/facts.json. rows: by validation split. metrics: by split. judge, benchmark, curves: by run;
    a run that is missing was not judged, measured or trained. generations: by run, split and row id.
    human_eval: None before the human evaluation ran. hardware: of the training, as its statement has it, or None.
    """

    params: Json
    facts: Json
    rows: Mapping[str, list[Row]]
    metrics: Json
    judge: Mapping[str, Json]
    human_eval: Json | None
    benchmark: Mapping[str, Json]
    curves: Mapping[str, list[Json]]
    generations: Mapping[str, Mapping[str, Mapping[str, Json]]]
    hardware: Json | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[str]:
        """The runs in the order of a table: pos_control, the compressed runs, neg_control."""
        names = [*self.params["runs"], *self.baselines]
        return sorted(names, key=lambda name: {"pos_control": 0, "neg_control": 2}.get(name, 1))

    @property
    def baselines(self) -> Json:
        """The runs that are not trained: pos_control asked with shortened instructions. By name, as in params.yaml."""
        return self.params["baselines"]

    @property
    def trained_runs(self) -> list[str]:
        """The runs that were trained, in the order of a table."""
        return [name for name in self.runs if name not in self.baselines]

    @property
    def compressed_runs(self) -> list[str]:
        """The runs between the two controls."""
        return [name for name in self.runs if name not in ("pos_control", "neg_control")]

    @property
    def headline_run(self) -> str | None:
        """gist-1, or the first gist run where there is none of that name."""
        gists = [name for name in self.trained_runs if self.params["runs"][name]["condition"] == "gist"]
        return "gist-1" if "gist-1" in gists else next(iter(gists), None)

    @property
    def splits(self) -> list[str]:
        """The validation splits that were scored, in their usual order."""
        return [split for split in VALIDATION_SPLITS if split in self.metrics]

    @property
    def dev_losses(self) -> dict[str, float]:
        """For each run, the loss of its final weights on the rows held out of train (if there are any), in nats per answer
        token."""
        which = min if self.params["train"]["select"] == "dev_loss" else lambda losses: losses[-1]
        found = {
            run: [point["dev_loss"] for point in curve if point.get("dev_loss") is not None]
            for run, curve in self.curves.items()
        }
        return {run: which(losses) for run, losses in found.items() if losses}

    @property
    def data_label(self) -> str:
        """What the data is, in the words of the data stage."""
        return str(self.facts["label"])

    @property
    def is_papers_data(self) -> bool:
        """Whether the splits were proved to be the paper's."""
        return bool(self.facts["is_papers_data"])


def load_inputs(
    *,
    params: Json,
    data: Path,
    metrics: Path,
    judge: Path,
    judged_runs: Sequence[str],
    human_eval: Path,
    benchmark: Path,
    benchmarked_runs: Sequence[str],
    curves: Path,
    generations: Path,
    statement: Path,
    notes: list[str],
) -> ReportInputs:
    """Reads the inputs. data, judge, benchmark, curves and generations are folders; metrics, human_eval and statement are
    files. Only data and metrics must exist. Files of runs that are not named, left there by an earlier experiment, are not
    read.

    Raises:
        ValueError: the data or the metrics are missing, or a file is not valid JSON.
    """
    for needed in (data / "facts.json", metrics):
        if not needed.is_file():
            raise ValueError(
                f"{needed} is missing; the report needs at least the data and the scores (`dvc repro rouge`)"
            )
    return ReportInputs(
        params=params,
        facts=_json(data / "facts.json"),
        rows={
            split: read_rows(data / f"{split}.parquet")
            for split in VALIDATION_SPLITS
            if (data / f"{split}.parquet").is_file()
        },
        metrics=_json(metrics),
        judge={run: _json(path) for run, path in _present(judge, judged_runs)},
        human_eval=_json(human_eval) if human_eval.is_file() else None,
        benchmark={run: _json(path) for run, path in _present(benchmark, benchmarked_runs)},
        curves={run: _json(path) for run, path in _present(curves, params["runs"])},
        generations={run: _generations(generations / run) for run in (*params["runs"], *params["baselines"])},
        hardware=Statement(_json(statement)).environment["hardware"] if statement.is_file() else None,
        notes=notes,
    )


def _present(folder: Path, runs: Iterable[str]) -> list[tuple[str, Path]]:
    """The files of these runs that exist, by run."""
    return [(run, path) for run in sorted(runs) if (path := folder / f"{run}.json").is_file()]


def _generations(folder: Path) -> dict[str, dict[str, Json]]:
    return {
        path.stem: {line["row_id"]: line for _, line in read_json_lines(path)}
        for path in sorted(folder.glob("*.jsonl"))
        if path.stem in VALIDATION_SPLITS
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
