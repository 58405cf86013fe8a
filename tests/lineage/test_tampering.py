"""Issue: every kind of tampering is found and named by `verify`, several trials each; a clean project raises no
alarm."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.lineage import declared_outs
from gist_core.lineage.runlog import LOG
from gist_core.lineage.store import FolderStore, cache_of
from gist_core.lineage.verify import Verification, verify
from tests.lineage import project

RUNS = project.RUNS
OUTPUTS = (
    "data/scores/rows.parquet",
    "data/models/gist-1/model.safetensors",
    "data/generations/neg_control/seen.jsonl",
    "data/alpaca_plus/train.parquet",
    "data/base_model/model.safetensors",
    "reports/metrics.json",
    "reports/curves/pos_control.jsonl",
    "data/benchmark/gist-1/raw.jsonl",
)
STAGES = (
    "sources",
    "alpaca_plus",
    "base_model",
    "train@gist-1",
    "generate@pos_control",
    "rouge",
    "judge@gist-1",
    "report",
)

# A trial changes a copy of the project and returns a text that `verify` must name.
Trial = Callable[[Path, random.Random], str]


def output_byte(root: Path, dice: random.Random) -> str:
    name = dice.choice(OUTPUTS)
    return _flip(_own(root / name), dice, name)


def cache_byte(root: Path, dice: random.Random) -> str:
    objects = [path for path in (root / ".dvc/cache/files/md5").rglob("*") if path.is_file() and path.stat().st_size]
    path = dice.choice(sorted(objects))
    path.chmod(0o444)
    return _flip(_own(path, mode=0o444), dice, path.name)


def cache_byte_through_hard_link(root: Path, dice: random.Random) -> str:
    linked = [path for path in (root / "data").rglob("*") if path.is_file() and path.stat().st_nlink > 1]
    path = dice.choice(sorted(linked))
    return _flip(path, dice, path.relative_to(root).as_posix())


def statement_byte(root: Path, dice: random.Random) -> str:
    name = f"data/statements/{dice.choice(STAGES)}.json"
    return _flip(_own(root / name), dice, name)


def lock_byte(root: Path, dice: random.Random) -> str:
    return _flip(root / "dvc.lock", dice, "dvc.lock")


def source_byte(root: Path, dice: random.Random) -> str:
    name = dice.choice(["data/sources/tasks.json", "tasks/toy_stages.py", "tasks/rouge.py"])
    return _flip(_own(root / name), dice, name)


def row_in_the_middle(root: Path, dice: random.Random) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = f"data/alpaca_plus/{dice.choice(['train', 'seen', 'unseen', 'human'])}.parquet"
    rows = pq.read_table(root / name).to_pylist()
    rows[1]["output"] += "."
    pq.write_table(pa.Table.from_pylist(rows), _own(root / name))
    return name


def prediction_by_hand(root: Path, dice: random.Random) -> str:
    name = f"data/generations/{dice.choice(RUNS)}/{dice.choice(['seen', 'unseen', 'human'])}.jsonl"
    return _edit_line(_own(root / name), dice, name, "prediction", lambda text: f"{text} indeed")


def verdict_flipped(root: Path, dice: random.Random) -> str:
    name = f"data/verdicts/gist-1/{dice.choice(['seen', 'unseen', 'human'])}.jsonl"
    return _edit_line(_own(root / name), dice, name, "verdict", lambda verdict: "b" if verdict != "b" else "a")


def weights_swapped(root: Path, dice: random.Random) -> str:
    victim, other = dice.sample(RUNS, 2)
    name = f"data/models/{victim}/model.safetensors"
    shutil.copy(root / f"data/models/{other}/model.safetensors", _own(root / name))
    return name


def weights_swapped_and_committed_to_dvc(root: Path, dice: random.Random) -> str:
    name = weights_swapped(root, dice)
    run = name.split("/")[2]
    project.run(root, "dvc", "commit", "-f", "-q", f"train@{run}")
    return name


def statement_of_another_run(root: Path, dice: random.Random) -> str:
    victim, other = dice.sample(RUNS, 2)
    kind = dice.choice(["train", "generate"])
    name = f"data/statements/{kind}@{victim}.json"
    shutil.copy(root / f"data/statements/{kind}@{other}.json", _own(root / name))
    return name


def out_without_statement(root: Path, dice: random.Random) -> str:
    stage = dice.choice(STAGES)
    (root / f"data/statements/{stage}.json").unlink()
    return f"data/statements/{stage}.json is missing"


def file_without_statement(root: Path, dice: random.Random) -> str:
    folder = dice.choice(
        ["data/models/gist-1", "data/alpaca_plus", "data/verdicts/gist-1", "data/generations/pos_control"]
    )
    (root / folder / "extra.jsonl").write_text("{}\n")
    return f"{folder}/extra.jsonl"


def clock_set_back(root: Path, dice: random.Random) -> str:
    """A genuine run of a stage under a clock that is behind."""
    hook = root.parent / "clock"
    hook.mkdir(exist_ok=True)
    seconds = dice.choice([60, 3600, 86400 * 30])
    (hook / "sitecustomize.py").write_text(f"import time\nreal = time.time\ntime.time = lambda: real() - {seconds}\n")
    stage = dice.choice(["rouge", "alpaca_plus", "generate@gist-1"])
    path = os.pathsep.join([str(hook), str(project.REPOSITORY)])
    project.run(root, "dvc", "repro", "--single-item", "--force", stage, PYTHONPATH=path)
    return f"{stage}: line"


def clock_edited_in_the_log(root: Path, dice: random.Random) -> str:
    lines = (root / LOG).read_text().splitlines()
    number = dice.randrange(len(lines) - 1)
    record = json.loads(lines[number])
    record["started"] = record["finished"] = "2001-01-01T00:00:00.000+00:00"
    lines[number] = json.dumps(record, sort_keys=True)
    (root / LOG).write_text("\n".join(lines) + "\n")
    return LOG.as_posix()


MATRIX: dict[Trial, int] = {
    output_byte: 8,
    cache_byte: 8,
    cache_byte_through_hard_link: 4,
    statement_byte: 8,
    lock_byte: 40,
    source_byte: 6,
    row_in_the_middle: 4,
    prediction_by_hand: 4,
    verdict_flipped: 4,
    weights_swapped: 4,
    weights_swapped_and_committed_to_dvc: 1,
    statement_of_another_run: 4,
    out_without_statement: 4,
    file_without_statement: 4,
    clock_set_back: 2,
    clock_edited_in_the_log: 3,
}


@pytest.mark.parametrize("trial", MATRIX, ids=lambda trial: trial.__name__)
def test_tampering_is_found_and_named(
    trial: Trial, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missed = []
    root = project.copy(built, tmp_path / "toy")
    for seed in range(MATRIX[trial]):
        name = trial(root, random.Random(seed))
        said = [f"{finding.path}: {finding.problem}" for finding in _verify(root).findings]
        if not any(name in text for text in said):
            missed.append((seed, name, said))
        if trial is lock_byte:
            shutil.copy(built / "dvc.lock", root / "dvc.lock")
        else:
            project.restore(built, root)
    with capsys.disabled():
        trials = MATRIX[trial]
        print(f"\ntampering, {trial.__name__}: {trials} trials, {trials - len(missed)} found and named")
    assert not missed


def test_a_clean_tree_raises_no_alarm(built: Path) -> None:
    result = _verify(built)
    assert (result.findings, result.notes) == ([], [])
    assert result.files_read > 40


def test_a_second_clone_raises_no_alarm_before_and_after_pull(toy: Path, tmp_path: Path) -> None:
    remote, clone = tmp_path / "remote", tmp_path / "clone"
    project.run(toy, "dvc", "remote", "add", "-q", "-d", "store", str(remote))
    project.commit(toy, "A remote")
    project.run(toy, "dvc", "push", "-q")
    assert _verify(toy, remote).findings == []
    project.run(tmp_path, "git", "clone", "-q", str(toy), str(clone))
    empty = _verify(clone)
    assert empty.findings == []
    assert any("dvc pull" in note for note in empty.notes)
    project.run(clone, "dvc", "pull", "-q")
    pulled = _verify(clone, remote)
    assert (pulled.findings, pulled.notes) == ([], [])
    assert not (clone / LOG).exists()


def test_a_byte_of_the_remote_is_found(toy: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    project.run(toy, "dvc", "remote", "add", "-q", "-d", "store", str(remote))
    project.run(toy, "dvc", "push", "-q")
    objects = sorted(path for path in remote.rglob("*") if path.is_file() and path.stat().st_size)
    victim = random.Random(1).choice(objects)
    victim.chmod(0o644)
    _flip(victim, random.Random(1), victim.name)
    findings = _verify(toy, remote).findings
    assert [Path(finding.path) for finding in findings] == [victim]


def test_garbage_collection_and_a_repeated_run_raise_no_alarm(toy: Path) -> None:
    project.run(toy, "dvc", "repro", "--single-item", "--force", "rouge")
    project.run(toy, "dvc", "gc", "-w", "-f", "-q")
    result = _verify(toy)
    assert (result.findings, result.notes) == ([], [])


def _verify(root: Path, remote: Path | None = None) -> Verification:
    stores = [cache_of(root)] + ([FolderStore(remote, "remote")] if remote else [])
    return verify(root, stores, declared_outs)


def _own(path: Path, mode: int = 0o644) -> Path:
    """Makes a file its own inode, so that changing it does not change what it is linked with."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    path.chmod(mode)
    return path


def _flip(path: Path, dice: random.Random, name: str) -> str:
    """Replaces one byte, at a random place, by another one."""
    data = bytearray(path.read_bytes())
    place = dice.randrange(len(data))
    data[place] = dice.choice([value for value in range(32, 127) if value != data[place]])
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(data)
    return name


def _edit_line(path: Path, dice: random.Random, name: str, key: str, change: Callable[[str], str]) -> str:
    lines = path.read_text().splitlines()
    number = dice.randrange(len(lines))
    record = json.loads(lines[number])
    record[key] = change(record[key])
    lines[number] = json.dumps(record)
    path.write_text("\n".join(lines) + "\n")
    return name
