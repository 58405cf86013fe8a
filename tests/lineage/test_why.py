"""Issue: `why` on every number ends at source files with their hashes and names each stage's commit and
parameters."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from cli.dvc_project import cache_of, declared_outs
from gist_core.lineage import numbers
from gist_core.lineage.audit import every_number
from gist_core.lineage.hashing import sha256_of_path
from gist_core.lineage.intact import NotIntactError
from gist_core.lineage.ledger import Ledger
from gist_core.lineage.page import page
from gist_core.lineage.rowdiff import differing_rows
from gist_core.lineage.rows import _source, history
from gist_core.lineage.verify import verify
from gist_core.lineage.walk import _rests_on
from gist_core.lineage.why import Tracer
from tests.lineage import project

REPOSITORY = Path(__file__).parents[2]


def test_every_number_of_the_results_ends_at_sources_with_hashes(built: Path) -> None:
    audited = [*every_number(built)]
    files = {item.name.partition(":")[0] for item in audited}
    assert len(audited) > 200
    assert {"reports/metrics.json", "reports/judge/gist-1.json", "data/alpaca_plus/facts.json"} <= files
    assert "reports/curves/pos_control.json" in files
    assert [item for item in audited if item.problems] == []
    for item in audited:
        assert "sources" in item.stages or "base_model" in item.stages
        assert item.num_sources >= 3


def test_every_number_of_this_checkout_has_a_pedigree() -> None:
    """Runs on whatever the pipeline has produced here."""
    if not (REPOSITORY / "data/statements/report.json").exists():
        pytest.skip("the pipeline has not run in this checkout (`dvc repro` or `dvc pull`)")
    assert [item for item in every_number(REPOSITORY) if item.problems] == []


def test_a_score_rests_on_its_run_its_split_and_their_weights_alone(built: Path) -> None:
    pedigree = Tracer(built).why("reports/metrics.json:human.rouge_l.gist-1.mean_pct")
    assert list(pedigree.origins) == [
        "rouge", "alpaca_plus", "generate@gist-1", "sources", "train@gist-1", "base_model",
    ]  # fmt: skip
    inputs = {path for path, _, _ in pedigree.origins["rouge"].inputs}
    assert "data/generations/gist-1/human.jsonl" in inputs
    assert not inputs & {"data/generations/gist-1/seen.jsonl", "data/generations/neg_control/human.jsonl"}
    for origin in pedigree.origins.values():
        assert len(str(origin.commit)) == 40
        assert origin.parameters
    weights = sha256_of_path(built / "data/models/gist-1/model.safetensors")
    assert ("data/models/gist-1/model.safetensors", weights, "train@gist-1") in pedigree.origins[
        "generate@gist-1"
    ].inputs
    assert pedigree.sources["data/sources/tasks.json"] == sha256_of_path(built / "data/sources/tasks.json")


def test_a_score_rests_on_the_run_that_its_training_started_from(toy: Path) -> None:
    params = yaml.safe_load((toy / "params.yaml").read_text())
    params["runs"]["gist-1"]["start"] = "data/models/pos_control"
    (toy / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project.repro(toy)
    pedigree = Tracer(toy).why("reports/metrics.json:human.rouge_l.gist-1.mean_pct")
    first = "data/models/pos_control/model.safetensors"
    assert (first, sha256_of_path(toy / first), "train@pos_control") in pedigree.origins["train@gist-1"].inputs
    assert "train@pos_control" in pedigree.origins
    assert pedigree.problems == ()
    assert verify(toy, [cache_of(toy)], declared_outs).findings == []

    params["runs"]["pos_control"]["num_gist_tokens"] = 2
    (toy / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project.repro(toy, "train@pos_control")
    said = {f"{found.path}: {found.problem}" for found in verify(toy, [cache_of(toy)], declared_outs).findings}
    assert f"{first}: train@gist-1 read other bytes than train@pos_control states to have made" in said


@pytest.mark.parametrize(
    ("number", "runs"),
    [
        ("reports/metrics.json:human.exact_match.gist-1.mean_pct", {"gist-1", "pos_control"}),
        ("reports/metrics.json:human.normalised.gist-1.rouge_l.pct", {"gist-1", "pos_control", "neg_control"}),
        ("reports/metrics.json:human.significance.2.difference_pct", {"gist-1", "pos_control"}),
        ("reports/metrics.json:human.over_seeds.0.rouge_l.mean_pct", {"gist-1", "pos_control"}),
        ("reports/metrics.json:human.over_seeds.0.normalised.rouge_l.pct", {"gist-1", "pos_control", "neg_control"}),
        ("reports/judge/gist-1.json:human.win_rate_pct", {"gist-1", "pos_control"}),
        ("reports/benchmark/gist-1.json:flops.gist_cache", {"gist-1"}),
        ("reports/curves/neg_control.json:3.loss", {"neg_control"}),
    ],
)
def test_a_number_rests_on_the_runs_it_compares(built: Path, number: str, runs: set[str]) -> None:
    trained = {name.removeprefix("train@") for name in Tracer(built).why(number).origins if name.startswith("train@")}
    assert trained == runs


def test_a_file_too_deep_or_too_long_for_json_is_named() -> None:
    for text in (b"[" * 200_000 + b"]" * 200_000, b"9" * 5_000, b"\xff"):
        with pytest.raises(ValueError, match=r"reports/metrics\.json holds no JSON"):
            numbers.parse(text, "reports/metrics.json")


def test_a_line_separator_inside_a_text_is_no_new_line(tmp_path: Path) -> None:
    lines = [{"row_id": "a", "prediction": "one\u2028two\x85three", "n": 1}, {"row_id": "b", "prediction": "", "n": 2}]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path = tmp_path / "lines.jsonl"
    path.write_text(text, encoding="utf-8")
    assert numbers.load(path) == lines
    intact = io.BytesIO(text.replace('"n": 2', '"n": 3').encode())
    assert differing_rows(path, intact) == "row 2 (row_id b) differs in n"


def test_a_mean_is_counted_again_from_its_rows(toy: Path) -> None:
    pedigree = Tracer(toy).why("reports/metrics.json:seen.rouge_l.pos_control.mean_pct")
    assert pedigree.recounted is not None
    assert (len(pedigree.recounted.row_ids), pedigree.recounted.agrees) == (3, True)
    path = toy / "reports/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["seen"]["rouge_l"]["pos_control"]["mean_pct"] += 1
    path.write_text(json.dumps(metrics))
    problems = Tracer(toy).why("reports/metrics.json:seen.rouge_l.pos_control.mean_pct").problems
    assert any("counted again" in problem for problem in problems)
    assert any("is not the file that rouge made" in problem for problem in problems)


def test_a_metric_of_ones_own_is_counted_again_as_well(toy: Path) -> None:
    scores, path = toy / "data/scores/rows.parquet", toy / "reports/metrics.json"
    table = pd.read_parquet(scores).assign(chrf_pct=[float(number) for number in range(len(pd.read_parquet(scores)))])
    table.assign(comment="a column of texts is no metric").to_parquet(scores, index=False)
    mean = table[(table["split"] == "seen") & (table["run"] == "gist-1")]["chrf_pct"].mean()
    metrics = json.loads(path.read_text())
    metrics["seen"]["chrf"] = {"gist-1": {"mean_pct": mean}}
    path.write_text(json.dumps(metrics))
    recounted = Tracer(toy).why("reports/metrics.json:seen.chrf.gist-1.mean_pct").recounted
    assert recounted is not None
    assert (recounted.value, recounted.agrees) == (pytest.approx(mean), True)


@pytest.mark.parametrize("text", [None, "{}"])
def test_a_missing_or_unreadable_statement_is_no_source(toy: Path, text: str | None) -> None:
    statement = toy / "data/statements/train@gist-1.json"
    statement.unlink()
    if text is not None:
        statement.write_text(text)
    problems = Tracer(toy).why("reports/metrics.json:human.rouge_l.gist-1.mean_pct").problems
    assert any("model.safetensors was made by train@gist-1 (dvc.lock)" in problem for problem in problems)
    assert any(item.problems for item in every_number(toy))


def test_names_with_dots_and_hyphens_are_found() -> None:
    content = {"human": {"rouge_l": {"llama-7b-v1.5": {"mean_pct": 1.5}, "llama-7b-v1": {"5": 2}}}}
    keys, value = numbers.lookup(content, "human.rouge_l.llama-7b-v1.5.mean_pct")
    assert (keys, value) == (("human", "rouge_l", "llama-7b-v1.5", "mean_pct"), 1.5)
    with pytest.raises(ValueError, match=r"llama-7b-v1\.5, llama-7b-v1"):
        numbers.lookup(content, "human.rouge_l.gist-1.mean_pct")


def test_a_question_about_nothing_says_what_there_is(built: Path) -> None:
    tracer = Tracer(built)
    with pytest.raises(ValueError, match="seen, unseen"):
        tracer.why("reports/metrics.json:nowhere.rouge_l")
    with pytest.raises(ValueError, match=r"no stage made params\.yaml"):
        tracer.why("params.yaml")
    with pytest.raises(ValueError, match=r"is the statement of rouge; ask for what it made, e\.g\. data/scores"):
        tracer.why("data/statements/rouge.json")
    with pytest.raises(ValueError, match="is not in this project"):
        tracer.why("/etc/hostname")
    with pytest.raises(ValueError, match="does not exist"):
        tracer.why("reports/missing.json")
    with pytest.raises(
        ValueError, match=r"is a folder; ask for one of its files, e\.g\. data/generations/gist-1/"
    ) as told:
        tracer.why("data/generations/gist-1")
    assert not isinstance(told.value, NotIntactError)


def test_the_page_shows_the_number_and_every_source(built: Path) -> None:
    pedigree = Tracer(built).why("reports/metrics.json:human.rouge_l.gist-1.mean_pct")
    text = page(pedigree)
    assert str(pedigree.value) in text
    assert all(sha256 in text for sha256 in pedigree.sources.values())


def test_a_row_tells_everything_that_happened_to_it(built: Path) -> None:
    row = json.loads((built / "data/generations/gist-1/human.jsonl").read_text().splitlines()[1])
    found = history(built, row["row_id"][:8])
    assert found.row_id == row["row_id"]
    assert found.source == {"data/sources/tasks.json": sha256_of_path(built / "data/sources/tasks.json")}
    assert not any(event.stage.startswith("train@") for event in found.events)
    files = [event.file for event in found.events]
    assert files.count("data/scores/rows.parquet") == len(project.RUNS)
    assert {"data/verdicts/gist-1/human.jsonl", *(f"data/generations/{run}/human.jsonl" for run in project.RUNS)} < set(
        files
    )
    generation = next(event for event in found.events if event.file == "data/generations/gist-1/human.jsonl")
    assert (generation.line, generation.record) == (2, row)


def test_the_source_of_a_row_is_what_was_gathered_and_no_out_of_the_same_name() -> None:
    """Someone's own file may be called as one of ours."""
    outs = {name: {"sha256": name} for name in ("data/alpaca_plus/human.parquet", "data/sources/human.parquet")}
    ledger = SimpleNamespace(statements={"any": SimpleNamespace(inputs={}, outputs=outs)})
    found = _source(ledger, {"source_file": "human.parquet"})  # type: ignore[arg-type]
    assert found == {"data/sources/human.parquet": "data/sources/human.parquet"}


def test_a_score_on_one_split_rests_on_no_other_rows() -> None:
    rests = [
        split
        for split in ("train", "seen", "unseen", "human", "dev", "facts")
        if _rests_on(f"data/alpaca_plus/{split}.parquet", frozenset(), set(), frozenset({"human"}))
    ]
    assert rests == ["human", "facts"]


def test_a_statement_that_a_stage_reads_was_made_by_the_stage_it_is_about(built: Path) -> None:
    ledger = Ledger.of_workspace(built)
    assert ledger.maker("data/statements/train@pos_control.json") == "train@pos_control"
    assert "train@pos_control" in ledger.upstream("report")
    assert ledger.maker("data/statements/none.json") is None
    sources = Tracer(built).why("reports/report.md").sources
    assert not [path for path in sources if path.startswith("data/statements/")]


def test_a_training_row_names_the_models_trained_on_it_and_no_others(built: Path) -> None:
    import pyarrow.parquet as pq

    first, *_, last = pq.read_table(built / "data/alpaca_plus/train.parquet")["row_id"].to_pylist()
    assert {event.stage for event in history(built, first).events} == {f"train@{run}" for run in project.RUNS}
    assert history(built, last).events == ()  # in the split, and not reached by so short a training
    with pytest.raises(ValueError, match="no row"):
        history(built, "0" * 32)
