"""Issue: every kind of tampering is found and named by `verify`, several trials each; a clean project raises no
alarm."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.dvc_project import cache_of, declared_outs
from gist_core.lineage.hashing import NOT_COUNTED
from gist_core.lineage.runlog import LOG
from gist_core.lineage.store import FolderStore
from gist_core.lineage.verification import Verification
from gist_core.lineage.verify import verify
from tests.lineage import project

RUNS = project.RUNS
OUTPUTS = (
    "data/scores/rows.parquet",
    "data/models/gist-1/model.safetensors",
    "data/generations/neg_control/seen.jsonl",
    "data/alpaca_plus/train.parquet",
    "data/base_model/model.safetensors",
    "reports/metrics.json",
    "reports/curves/pos_control.json",
    "data/benchmark/gist-1/raw.jsonl",
)
# A file, and the stage that made it.
MADE_BY = (
    ("data/scores/rows.parquet", "rouge"),
    ("data/models/gist-1/model.safetensors", "train@gist-1"),
    ("data/generations/neg_control/seen.jsonl", "generate@neg_control"),
    ("data/alpaca_plus/train.parquet", "alpaca_plus"),
    ("reports/metrics.json", "rouge"),
    ("data/verdicts/gist-1/seen.jsonl", "judge@gist-1"),
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


def no_stage_in_lock(root: Path, dice: random.Random) -> str:
    (root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    name, stage = dice.choice(MADE_BY)
    _flip(_own(root / name), dice, name)
    return f"it is an out of {stage}, and dvc.lock has no stage {stage}"


def stage_and_statement_removed(root: Path, dice: random.Random) -> str:
    """Without its statement and its entry in dvc.lock nobody speaks for an out."""
    name, stage = dice.choice(MADE_BY)
    _edit_lock(root, lambda stages: stages.pop(stage))
    (root / f"data/statements/{stage}.json").unlink()
    _flip(_own(root / name), dice, name)
    return f"it is an out of {stage}, and dvc.lock has no stage {stage}"


def stage_removed(root: Path, dice: random.Random) -> str:
    stage = dice.choice(STAGES)
    _edit_lock(root, lambda stages: stages.pop(stage))
    return f"data/statements/{stage}.json: dvc.lock knows no stage of this name"


def out_and_statement_removed(root: Path, dice: random.Random) -> str:
    name, stage = dice.choice(MADE_BY)
    statement = f"data/statements/{stage}.json"
    gone = {statement, name, str(Path(name).parent)}
    _edit_lock(root, lambda stages: _keep(stages[stage]["outs"], lambda out: out["path"] not in gone))
    (root / statement).unlink()
    _flip(_own(root / name), dice, name)
    return f"it is an out of {stage}, and dvc.lock has no such out"


def statement_removed_from_outs(root: Path, dice: random.Random) -> str:
    stage = dice.choice(STAGES)
    statement = f"data/statements/{stage}.json"
    _edit_lock(root, lambda stages: _keep(stages[stage]["outs"], lambda out: out["path"] != statement))
    (root / statement).unlink()
    return f"stage {stage}: {statement} is not among its outs"


def forged_in_a_clone_without_statements(root: Path, dice: random.Random) -> str:
    """As git gives it: no cache, and only the outs that git keeps."""
    project.run(root, "git", "clean", "-q", "-f", "-d", "-X")
    name = dice.choice(["reports/metrics.json", "reports/judge/gist-1.json", "reports/report.md"])
    _flip(root / name, dice, name)
    return f"{name}: it has MD5"


def linked_folder(root: Path, dice: random.Random) -> str:
    folder = dice.choice(["data/models/gist-1", "data/alpaca_plus", "data/generations/pos_control"])
    (root / folder / "more").symlink_to(root / "data/sources", target_is_directory=True)
    return f"{folder}/more is a link to a folder"


def run_that_the_scores_do_not_know(root: Path, dice: random.Random) -> str:
    """Generated after the scores, in a folder that they declare as a whole."""
    with (root / "params.yaml").open() as file:
        params = yaml.safe_load(file)
    params["runs"]["late"] = params["runs"]["gist-1"] | {"seed": 7}
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project.repro(root, "generate@late")
    return "data/generations/late/seen.jsonl: it is in data/generations now, but rouge did not read it"


def broken_bytes(root: Path, dice: random.Random) -> str:
    """Invalid UTF-8, or JSON and YAML nested deeper than a parser goes."""
    name = dice.choice(
        [
            "dvc.lock",
            "dvc.yaml",
            LOG.as_posix(),
            "data/statements/rouge.json",
            "data/generations/gist-1/seen.jsonl",
        ]
    )
    data = dice.choice([b"\xff\xfe{\n", b"[" * 200_000 + b"\n", b""])
    if name == LOG.as_posix():
        data = (root / name).read_bytes() + (data or b"\n")
    _own(root / name).write_bytes(data)
    return f"{name}: "


def broken_parameters(root: Path, dice: random.Random) -> str:
    (root / "params.yaml").write_bytes(dice.choice([b"\xff\xfe{\n", b"[" * 200_000, b"runs: [\n"]))
    return "dvc.yaml: params.yaml cannot be read"


def row_without_a_date(root: Path, dice: random.Random) -> str:
    """A time that Parquet can hold and Python cannot."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = "data/scores/rows.parquet"
    kind = dice.choice([pa.timestamp("s"), pa.timestamp("us", tz="No/Where"), pa.duration("s")])
    pq.write_table(pa.table({"at": pa.array([2**62 // 10**6], kind)}), _own(root / name))
    return f"{name}: it is not the file that rouge made"


def unreadable_file(root: Path, dice: random.Random) -> str:
    """Reading this link's target at 0 is an input/output error, for root as well."""
    name = dice.choice(OUTPUTS)
    (root / name).unlink()
    (root / name).symlink_to("/proc/self/mem")
    return f"{name}: it cannot be read: Input/output error"


def folder_or_pipe_for_a_file(root: Path, dice: random.Random) -> str:
    name = dice.choice(["dvc.lock", LOG.as_posix(), "data/statements/rouge.json", "reports/metrics.json"])
    (root / name).unlink()
    if name == "reports/metrics.json":
        os.mkfifo(root / name)
    else:
        (root / name).mkdir()
    return f"{name}: it "


def stage_twice_in_lock(root: Path, dice: random.Random) -> str:
    text = (root / "dvc.lock").read_text()
    stage = dice.choice(STAGES)
    block = next(part for part in _blocks(text) if part.startswith(f"  {stage}:"))
    (root / "dvc.lock").write_text(text.replace("stages:\n", "stages:\n" + block.replace("size: 1", "size: 2"), 1))
    return f'duplicate key "{stage}"'


def parameter_of_another_type(root: Path, dice: random.Random) -> str:
    old, new = dice.choice([("seed: 0", "seed: false"), ("bf16: false", "bf16: 0"), ("seed: 0", "seed: '0'")])
    text = (root / "dvc.lock").read_text()
    (root / "dvc.lock").write_text(text.replace(old, new, dice.randrange(1, 3)))
    return "parameter "


def parameter_removed(root: Path, dice: random.Random) -> str:
    """A section of parameters, or one value of it."""
    lines = (root / "dvc.lock").read_text().splitlines(keepends=True)
    entries = [number for number, line in enumerate(lines) if re.match(r" {8,}[\w.-]+:", line)]
    sections = [number for number in entries if lines[number].startswith(" " * 8 + lines[number].strip())]
    first = dice.choice(sections if dice.random() < 0.5 else entries)
    indent = len(lines[first]) - len(lines[first].lstrip())
    inside = re.compile(rf" {{{indent}}}( |- )")
    last = next((n for n in range(first + 1, len(lines)) if not inside.match(lines[n])), len(lines))
    del lines[first:last]
    (root / "dvc.lock").write_text("".join(lines))
    return "parameter"


def executable_in_lock(root: Path, dice: random.Random) -> str:
    name = dice.choice([name for name in OUTPUTS if name.startswith("reports/")])
    text = (root / "dvc.lock").read_text()
    place = text.index("size: ", text.index(f"- path: {name}"))
    end = text.index("\n", place) + 1
    (root / "dvc.lock").write_text(f"{text[:end]}      isexec: true\n{text[end:]}")
    return f"{name} has isexec True"


def comment_in_lock(root: Path, dice: random.Random) -> str:
    lines = (root / "dvc.lock").read_text().splitlines()
    number = dice.randrange(len(lines))
    lines[number] += " # checked"
    (root / "dvc.lock").write_text("\n".join(lines) + "\n")
    return f"line {number + 1} is"


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
    no_stage_in_lock: 2,
    stage_and_statement_removed: 6,
    stage_removed: 3,
    out_and_statement_removed: 4,
    statement_removed_from_outs: 4,
    forged_in_a_clone_without_statements: 3,
    linked_folder: 3,
    run_that_the_scores_do_not_know: 1,
    broken_bytes: 20,
    broken_parameters: 3,
    row_without_a_date: 4,
    unreadable_file: 4,
    folder_or_pipe_for_a_file: 6,
    stage_twice_in_lock: 4,
    parameter_of_another_type: 6,
    parameter_removed: 8,
    executable_in_lock: 3,
    comment_in_lock: 6,
}


QUICK = 2  # trials of each kind; the slow tests have the others


@pytest.mark.parametrize(
    ("trial", "seeds"),
    [pytest.param(trial, range(min(number, QUICK)), id=trial.__name__) for trial, number in MATRIX.items()]
    + [
        pytest.param(trial, range(QUICK, number), id=f"{trial.__name__}, more", marks=pytest.mark.slow)
        for trial, number in MATRIX.items()
        if number > QUICK
    ],
)
def test_tampering_is_found_and_named(
    trial: Trial, seeds: range, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missed = []
    for seed in seeds:
        root = project.copy(built, tmp_path / str(seed))
        name = trial(root, random.Random(seed))
        said = [f"{finding.path}: {finding.problem}" for finding in _verify(root).findings]
        if not any(name in text for text in said):
            missed.append((seed, name, said))
    with capsys.disabled():
        print(f"\ntampering, {trial.__name__}: {len(seeds)} trials, {len(seeds) - len(missed)} found and named")
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
    project.run(clone, "dvc", "pull", "-q", "rouge")  # of the runs that it read no statement is here
    assert (clone / "reports/metrics.json").exists()
    assert _verify(clone).findings == []
    project.run(clone, "dvc", "pull", "-q")
    pulled = _verify(clone, remote)
    assert (pulled.findings, pulled.notes) == ([], [])
    assert not (clone / LOG).exists()


def test_what_a_stage_read_is_missed_though_a_stage_that_is_none_claims_to_have_made_it(toy: Path) -> None:
    out = {"path": "tasks/rouge.py", "hash": "md5", "md5": "0" * 32, "size": 1}
    _edit_lock(toy, lambda stages: stages.update(zghost={"cmd": "make it", "outs": [out]}))
    (toy / "tasks/rouge.py").unlink()
    assert any(found.path == "tasks/rouge.py" and "it is gone" in found.problem for found in _verify(toy).findings)


def test_what_a_finder_or_an_editor_leaves_beside_a_file_counts_for_nothing(toy: Path) -> None:
    assert set(NOT_COUNTED) < set((toy / ".dvcignore").read_text().split())
    for folder in ("data/models", "data/models/gist-1", "data/generations", "reports/judge"):
        for name in (".DS_Store", "._weights", ".weights.swp"):
            (toy / folder / name).write_bytes(b"1")
    assert "up to date" in project.run(toy, "dvc", "status")
    result = _verify(toy)
    assert (result.findings, result.notes) == ([], [])
    (toy / "data/models/gist-1/weights.swp").write_bytes(b"1")
    assert _verify(toy).findings


@pytest.mark.slow
def test_an_executable_file_a_small_number_and_a_default_raise_no_alarm(toy: Path) -> None:
    """dvc.lock says of the first that it is one, writes `1e-05`, which is a text for YAML 1.1, and `on`, which is none, and
    has no defaults."""
    (toy / "tasks/rouge.py").chmod(0o755)
    params = yaml.safe_load((toy / "params.yaml").read_text())
    params["train"]["learning_rate"] = 1e-05
    prices = {"as_of": "2026-01-02", "input_usd_per_million": 1, "output_usd_per_million": 2.0}
    params["judge"]["prices"] = prices
    params["report"]["title"] = "on"
    (toy / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False).replace("1.0e-05", "0.00001"))
    project.repro(toy)
    lock = (toy / "dvc.lock").read_text()
    assert all(text in lock for text in ("isexec: true", "learning_rate: 1e-05", "as_of: '2026-01-02'", "title: on\n"))
    result = _verify(toy)
    assert (result.findings, result.notes) == ([], [])


def test_a_stage_that_was_taken_out_is_a_note_and_what_it_made_is_still_checked(toy: Path) -> None:
    graph = yaml.safe_load((toy / "dvc.yaml").read_text())
    del graph["stages"]["benchmark"]
    (toy / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    with (toy / "tasks/benchmark.py").open("a") as code:
        code.write("# another\n")
    result = _verify(toy)
    assert result.findings == []
    assert result.notes[0] == "benchmark@gist-1 is no stage of dvc.yaml any more, but dvc.lock keeps it"
    _flip(_own(toy / "data/benchmark/gist-1/raw.jsonl"), random.Random(0), "")
    assert [finding.path for finding in _verify(toy).findings] == ["data/benchmark/gist-1/raw.jsonl"]


def test_the_cache_is_where_the_configuration_of_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    (tmp_path / "user/config").write_text("[cache]\n    dir = ~/shared\n")
    (tmp_path / "project").mkdir()
    project.run(tmp_path / "project", "dvc", "init", "-q", "--no-scm")
    assert cache_of(tmp_path / "project").folder == tmp_path / "shared"


def test_folders_of_no_stage_are_a_note(toy: Path) -> None:
    (toy / "data/models/old").mkdir()
    (toy / "data/statements/runs/other").mkdir()
    result = _verify(toy)
    assert (result.findings, len(result.notes)) == ([], 1)
    assert "data/models/old is an out of no stage" in result.notes[0]


def test_a_stage_refuses_a_linked_folder_among_its_inputs(toy: Path) -> None:
    (toy / "data/generations/gist-1/more").symlink_to(toy / "data/sources", target_is_directory=True)
    with pytest.raises(RuntimeError, match="data/generations/gist-1/more is a link to a folder"):
        project.run(toy, "python", "-m", "tasks.rouge")


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


def _edit_lock(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the stages of dvc.lock and writes it in DVC's form."""
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    change(lock["stages"])
    (root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def _keep(entries: list[Any], kept: Callable[[Any], bool]) -> None:
    entries[:] = [entry for entry in entries if kept(entry)]


def _blocks(text: str) -> list[str]:
    """The stages of a dvc.lock as text."""
    return re.split(r"(?m)^(?=  [^ ])", text)


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
