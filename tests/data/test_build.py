"""The build: row ids, the proof, and the paper's own files."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given

from gist_core.data import build as build_module
from gist_core.data import sources as sources_module
from gist_core.data import upstream as upstream_module
from gist_core.data.assemble import build_from_folder, write_data_folder
from gist_core.data.build import build
from gist_core.data.parse import Source
from gist_core.data.rows import SPLITS, read_rows, row_id
from gist_core.data.sources import gather_folder
from gist_core.data.upstream import RELEASED, blob_id
from tests.data.literal_rules import Record, literal_split, release_bytes
from tests.data.random_sources import (
    RECORDS,
    SMALL_ALPACA,
    SMALL_SELF_INSTRUCT,
    SMALL_TASKS,
    TASKS,
    human_source,
    write_upstream_shapes,
)
from tests.data.upstream_files import STAND_IN, UPSTREAM_FOLDER, needs_upstream


@given(RECORDS, RECORDS, TASKS)
def test_every_row_has_its_own_id_counted_in_source_order(
    self_instruct: list[Record], alpaca: list[Record], tasks: list[Record]
) -> None:
    built = build(Source("s", self_instruct), Source("a", alpaca), human_source(tasks), num_seen=2, num_unseen=2)
    assert len(set(built.row_ids)) == len(built.row_ids)
    before: list[tuple[str, ...]] = []
    rows = zip(built.sources, built.instructions, built.inputs, built.outputs, strict=True)
    for identity, row in zip(built.row_ids, rows, strict=True):
        assert identity == row_id(*row, occurrence=before.count(row))
        before.append(row)


@given(RECORDS, RECORDS, TASKS)
def test_row_ids_do_not_depend_on_the_sizes_of_the_splits(
    self_instruct: list[Record], alpaca: list[Record], tasks: list[Record]
) -> None:
    parts = (Source("s", self_instruct), Source("a", alpaca), human_source(tasks))
    assert build(*parts, num_seen=1, num_unseen=1).row_ids == build(*parts, num_seen=9, num_unseen=9).row_ids


def test_a_row_is_found_again_at_its_source_file_and_index(tmp_path: Path) -> None:
    manifest = small_world(tmp_path)
    _, built = build_from_folder(manifest, num_seen=2, num_unseen=2)
    write_data_folder(tmp_path / "out", _, built, {})
    files = {
        "all_instances_82K.jsonl": SMALL_SELF_INSTRUCT,
        "alpaca_data.json": SMALL_ALPACA,
        "user_oriented_instructions.jsonl": human_source(SMALL_TASKS).records,
    }
    rows = [row for split in SPLITS for row in read_rows(tmp_path / "out" / f"{split}.parquet")]
    assert len(rows) == sum(map(len, files.values()))
    for row in rows:
        record = files[row.source_file][row.source_index]
        assert (row.instruction, row.input, row.output) == (record["instruction"], record["input"], record["output"])


def small_world(tmp_path: Path) -> Path:
    """A sources folder of small stand-ins."""
    write_upstream_shapes(tmp_path / "files", SMALL_SELF_INSTRUCT, SMALL_ALPACA, SMALL_TASKS)
    names = {role: file.name for role, file in upstream_module.UPSTREAM.items()}
    gather_folder(tmp_path / "sources", tmp_path / "files", names)
    return tmp_path / "sources"


def make_small_world_the_papers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str = "", output: str = "3"
) -> Path:
    """The same code with other constants: small files take the place of the upstream and the released ones. Their blob
    ids come from git and the expected splits from the literal rules, so nothing of the code under test is in them."""
    self_instruct = [{**record, "most_similar": {"é": 0.5}} for record in SMALL_SELF_INSTRUCT]
    self_instruct[2]["output"] = output
    tasks = [{**task, "instances": [*task["instances"], {"input": "x", "output": output}]} for task in SMALL_TASKS]
    paths = write_upstream_shapes(tmp_path / "files", self_instruct, SMALL_ALPACA, tasks)
    upstream = {
        role: upstream_module.UpstreamFile(
            path.name, "o/r", "c", path.name, git_hash_object(path), upstream_module.UPSTREAM[role].licence
        )
        for role, path in paths.items()
    }
    monkeypatch.setattr(sources_module, "UPSTREAM", upstream)
    released = {}
    for split, records in literal_split(self_instruct, SMALL_ALPACA, tasks, 1, 2).items():
        path = tmp_path / f"{split}.json"
        path.write_bytes(release_bytes(records) + extra.encode())
        released[split] = git_hash_object(path)
    monkeypatch.setattr(build_module, "RELEASED", released)
    monkeypatch.setattr(build_module, "PAPER_NUM_SEEN", 1)
    monkeypatch.setattr(build_module, "PAPER_NUM_UNSEEN", 2)
    gather_folder(tmp_path / "sources", tmp_path / "files", {})
    return tmp_path / "sources"


def git_hash_object(path: Path) -> str:
    return subprocess.run(
        ["git", "hash-object", "--no-filters", path], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_exact_sources_are_proved_to_give_the_released_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = make_small_world_the_papers(tmp_path, monkeypatch)
    manifest, built = build_from_folder(sources, num_seen=1, num_unseen=2, num_dev=1)
    facts = write_data_folder(tmp_path / "out", manifest, built, {"num_seen": 1, "num_unseen": 2})
    assert facts["is_papers_data"] is True
    assert facts["label"] == "Alpaca+, the paper's data, proved by git blob ids, 1 train rows held out for development"
    assert all(entry["blob_id"] == entry["released_blob_id"] for entry in facts["proof"].values())


def test_exact_sources_with_half_a_character_are_proved_too_and_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = make_small_world_the_papers(tmp_path, monkeypatch, output="half \ud83d")
    manifest, built = build_from_folder(sources, num_seen=1, num_unseen=2)
    assert write_data_folder(tmp_path / "out", manifest, built, {})["is_papers_data"] is True
    for split in ("train", "human"):
        rows = read_rows(tmp_path / "out" / f"{split}.parquet")
        assert sum(row.output == "half \ufffd" for row in rows) == 1


def test_other_split_sizes_of_exact_sources_are_labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = make_small_world_the_papers(tmp_path, monkeypatch)
    manifest, built = build_from_folder(sources, num_seen=2, num_unseen=2)
    facts = write_data_folder(tmp_path / "out", manifest, built, {"num_seen": 2, "num_unseen": 2})
    assert facts["is_papers_data"] is False
    assert facts["label"].startswith("not the paper's data: its sources, but other split sizes (seen 2, unseen 2")


def test_a_proof_that_fails_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = make_small_world_the_papers(tmp_path, monkeypatch, extra=" ")
    with pytest.raises(ValueError, match=r"gave train the blob id .* but the released file has"):
        build_from_folder(sources, num_seen=1, num_unseen=2)


def test_blob_id_is_gits(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a\r\nb\0\xff")
    assert blob_id(b"a\r\nb\0\xff") == git_hash_object(tmp_path / "x")


def test_splits_that_leave_nothing_to_train_on_are_refused(tmp_path: Path) -> None:
    write_upstream_shapes(tmp_path / "files", [], [{"instruction": "a", "input": "b", "output": ""}], [])
    names = {role: file.name for role, file in upstream_module.UPSTREAM.items()}
    gather_folder(tmp_path / "sources", tmp_path / "files", names)
    with pytest.raises(
        ValueError, match=r"no row is left to train on: 0 rows are seen, 1 unseen, of 1; lower data.num"
    ):
        build_from_folder(tmp_path / "sources")


def test_sources_without_a_human_row_are_refused(tmp_path: Path) -> None:
    write_upstream_shapes(tmp_path / "files", SMALL_SELF_INSTRUCT, SMALL_ALPACA, [])
    names = {role: file.name for role, file in upstream_module.UPSTREAM.items()}
    gather_folder(tmp_path / "sources", tmp_path / "files", names)
    with pytest.raises(ValueError, match=r"no row is left for human.*data\.stand_ins\.user_oriented"):
        build_from_folder(tmp_path / "sources", num_seen=1, num_unseen=2)


class TestUpstream:
    pytestmark = needs_upstream

    def test_the_human_split_is_the_released_one_and_the_stand_in_build_obeys_every_rule(self, tmp_path: Path) -> None:
        gather_folder(tmp_path / "sources", UPSTREAM_FOLDER, {"self_instruct": STAND_IN})
        manifest, built = build_from_folder(tmp_path / "sources")
        assert built.proof["human"]["blob_id"] == "9186d4927b7082e1ddfa79e18d9cba7929c845c3" == RELEASED["human"]
        facts = write_data_folder(tmp_path / "out", manifest, built, {})
        assert facts["is_papers_data"] is False
        assert facts["label"] == f"not the paper's data: {STAND_IN} stands in for the upstream all_instances_82K.jsonl"
        sizes = {name: split["rows"] for name, split in facts["splits"].items()}
        # 41,375 stand-in rows + 52,002 Alpaca rows + 252; 14 stand-in rows repeat a pair; 251 instructions, all
        # with two inputs or more, each give one row to seen.
        assert sizes == {"train": 92_112, "seen": 251, "unseen": 1000, "human": 252}
        assert sum(sizes.values()) + facts["dropped"]["duplicate"]["rows"] == 41_375 + 52_002 + 252
        mlcroissant = pytest.importorskip("mlcroissant")
        issues = mlcroissant.Dataset(tmp_path / "out" / "croissant.json").metadata.issues
        assert (list(issues.errors), list(issues.warnings)) == ([], [])
        splits = {name: read_rows(tmp_path / "out" / f"{name}.parquet") for name in SPLITS}
        pairs = {name: {(row.instruction, row.input) for row in rows} for name, rows in splits.items()}
        trained = {row.instruction for row in splits["train"]}
        assert all(not pairs[a] & pairs[b] for a in SPLITS for b in SPLITS if a < b)
        assert {row.instruction for row in splits["seen"]} <= trained
        assert not {row.instruction for row in splits["unseen"]} & trained
        assert len({row.row_id for rows in splits.values() for row in rows}) == sum(sizes.values())

    def test_the_human_split_alone_equals_the_released_file(self) -> None:
        released = UPSTREAM_FOLDER.parent / "release" / "alpaca_plus_validation_human.json"
        tasks = [json.loads(line) for line in (UPSTREAM_FOLDER / "user_oriented_instructions.jsonl").open()]
        assert release_bytes(literal_split([], [], tasks, 0, 0)["human"]) == released.read_bytes()

    def test_a_stand_in_that_is_not_named_is_refused(self, tmp_path: Path) -> None:
        for name in ("alpaca_data.json", "user_oriented_instructions.jsonl"):
            shutil.copyfile(UPSTREAM_FOLDER / name, tmp_path / name)
        shutil.copyfile(UPSTREAM_FOLDER / "user_oriented_instructions.jsonl", tmp_path / "all_instances_82K.jsonl")
        with pytest.raises(
            ValueError, match=r"ed6d5d98.*ccceb267.*data.stand_ins.self_instruct=all_instances_82K.jsonl"
        ):
            gather_folder(tmp_path / "sources", tmp_path, {})
