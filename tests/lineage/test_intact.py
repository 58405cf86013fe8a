"""What is not intact is named, and nothing is presented as genuine: `why`, `row` and the exports on a project that was
tampered with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from gist_core.lineage.export import export
from gist_core.lineage.intact import Intact, NotIntactError
from gist_core.lineage.ledger import Ledger
from gist_core.lineage.rows import history
from gist_core.lineage.runlog import LOG
from gist_core.lineage.why import Tracer

NUMBER = "reports/metrics.json:human.rouge_l.gist-1.mean_pct"
GENERATED = "data/generations/gist-1/human.jsonl"


@pytest.fixture
def gist(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`gist lineage ...` in a folder, as the console entry point runs it: exit code, and all that it said."""

    def call(folder: Path, *arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["gist", "lineage", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return call


def test_a_prediction_changed_by_hand_is_named_by_row_and_why(toy: Path, gist: Callable[..., tuple[int, str]]) -> None:
    row_id = _change_prediction(toy)
    for arguments in (("row", row_id), ("row", row_id, "--json"), ("why", NUMBER), ("why", NUMBER, "--json")):
        code, said = gist(toy, *arguments)
        assert (code, f"{GENERATED} is not the file that generate@gist-1 made" in said) == (1, True)
    assert gist(toy, "why", "reports/metrics.json:seen.rouge_l.gist-1.mean_pct")[0] == 0


def test_a_statement_that_dvc_lock_does_not_name_is_named(toy: Path, gist: Callable[..., tuple[int, str]]) -> None:
    path = toy / "data/statements/generate@gist-1.json"
    _own(path).write_text(path.read_text().replace('"max_new_tokens"', '"max_new_tokenz"') + "\n")
    row_id = json.loads((toy / GENERATED).read_text().splitlines()[0])["row_id"]
    for arguments in (("why", NUMBER), ("row", row_id), ("export", "prov"), ("export", "openlineage")):
        code, said = gist(toy, *arguments)
        assert (code, "generate@gist-1.json is not the statement that dvc.lock names" in said) == (1, True)


@pytest.mark.parametrize("damage", ["unreadable", "missing"])
def test_a_stage_without_a_readable_statement_is_not_left_out(
    toy: Path, gist: Callable[..., tuple[int, str]], damage: str
) -> None:
    path = toy / "data/statements/rouge.json"
    path.unlink()
    if damage == "unreadable":
        path.write_text("{}")
    for form, run in (("openlineage", None), ("prov", None), ("model-card", "gist-1")):
        with pytest.raises(ValueError, match="the statement of rouge"):
            export(toy, form, run)
    export(toy, "croissant")  # does not rest on it
    row_id = json.loads((toy / GENERATED).read_text().splitlines()[0])["row_id"]
    for arguments in (("row", row_id), ("why", NUMBER), ("export", "prov"), ("diff", "HEAD")):
        code, said = gist(toy, *arguments)
        assert (code, "the statement of rouge" in said) == (1, True), arguments


def test_a_changed_value_is_in_no_model_card(toy: Path, gist: Callable[..., tuple[int, str]]) -> None:
    _change_metrics(toy, 99.5)
    code, said = gist(toy, "export", "model-card", "--run", "gist-1", "--output", "card.md")
    assert (code, "reports/metrics.json is not the file that rouge made" in said) == (1, True)
    assert not (toy / "card.md").exists()


def test_a_changed_description_is_no_croissant(toy: Path) -> None:
    (toy / "data/alpaca_plus/croissant.json").write_text("{}")
    with pytest.raises(NotIntactError, match="not the file that alpaca_plus made"):
        export(toy, "croissant")
    (toy / "dvc.lock").unlink()
    (toy / "data/statements/alpaca_plus.json").unlink()
    with pytest.raises(NotIntactError, match=r"the statement of alpaca_plus .* is missing"):
        export(toy, "croissant")
    (toy / "data/alpaca_plus/croissant.json").unlink()
    with pytest.raises(ValueError, match="dvc pull"):
        export(toy, "croissant")


def test_each_file_is_hashed_once(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gist_core.lineage import intact

    hashed: list[Path] = []
    real = intact.sha256_of_path
    monkeypatch.setattr(intact, "sha256_of_path", lambda path: (hashed.append(path), real(path))[1])
    tracer = Tracer(built)
    for split in ("human", "seen"):
        tracer.why(f"reports/metrics.json:{split}.rouge_l.gist-1.mean_pct")
    assert len(hashed) == len(set(hashed))
    untouched = ("pos_control", "generations/gist-1/unseen")  # training is given all of data/alpaca_plus
    assert [path for path in hashed if any(part in path.as_posix() for part in untouched)] == []


def test_a_statement_that_is_an_input_is_held_against_dvc_lock(built: Path) -> None:
    intact = Intact(built, Ledger.of_workspace(built))
    assert intact.file("data/statements/train@gist-1.json") is None
    assert intact.problems(intact.stages, intact.ledger.producers) == ()


def test_a_renamed_statement_is_a_problem(toy: Path) -> None:
    (toy / "data/statements/rouge.json").rename(toy / "data/statements/rouge-old.json")
    problems = Tracer(toy).why(NUMBER).problems
    assert "data/statements/rouge-old.json is the statement of rouge, not of rouge-old" in problems


@pytest.mark.parametrize("value", ["high", None, {"a": ["x"], "b": {}}])
def test_a_mean_that_is_no_number_is_a_problem(toy: Path, gist: Callable[..., tuple[int, str]], value: Any) -> None:
    _change_metrics(toy, value)
    code, said = gist(toy, "why", NUMBER)
    assert (code, "counted again" in said) == (1, True)


def test_scores_cut_short_are_a_problem(toy: Path, gist: Callable[..., tuple[int, str]]) -> None:
    path = _own(toy / "data/scores/rows.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    code, said = gist(toy, "why", NUMBER)
    assert (code, "rows.parquet cannot be read" in said, "is not the file that rouge made" in said) == (1, True, True)
    row_id = json.loads((toy / GENERATED).read_text().splitlines()[0])["row_id"]
    code, said = gist(toy, "row", row_id)
    assert (code, "rows.parquet cannot be read" in said) == (1, True)


def test_a_record_without_times_is_no_time(toy: Path, gist: Callable[..., tuple[int, str]]) -> None:
    records = [json.loads(line) for line in (toy / LOG).read_text().splitlines()]
    lines = (json.dumps({key: value for key, value in r.items() if key != "started"}) + "\n" for r in records)
    (toy / LOG).write_text("".join(lines))
    assert gist(toy, "why", NUMBER)[0] == 0
    assert "startTime" not in export(toy, "prov")
    facets = json.loads(export(toy, "openlineage").splitlines()[0])["run"]["facets"]
    assert facets["gist_statement"]["timesAreOfCommit"]


def test_a_row_in_two_splits_is_shown_in_both(toy: Path, gist: Callable[..., tuple[int, str]]) -> None:
    folder = toy / "data/alpaca_plus"
    shutil.copy(folder / "seen.parquet", _own(folder / "unseen.parquet"))
    row_id = json.loads((toy / "data/generations/gist-1/seen.jsonl").read_text().splitlines()[0])["row_id"]
    assert list(history(toy, row_id).rows) == ["data/alpaca_plus/seen.parquet", "data/alpaca_plus/unseen.parquet"]
    code, said = gist(toy, "row", row_id)
    assert "in data/alpaca_plus/seen.parquet" in said
    assert "in data/alpaca_plus/unseen.parquet" in said
    assert (code, "unseen.parquet is not the file that alpaca_plus made" in said) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("why", "reports:abc"), "reports is a folder"),
        (("why", "data/models/gist-1:x"), "data/models/gist-1 is a folder"),
        (("why", NUMBER, "--html", "/nonexist/x.html"), "/nonexist/x.html: No such file"),
        (("export", "prov", "--output", "/nonexist/x"), "/nonexist/x: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_or_written_is_one_message(
    built: Path, gist: Callable[..., tuple[int, str]], arguments: tuple[str, ...], words: str
) -> None:
    code, said = gist(built, *arguments)
    assert (code, words in said, "Traceback" in said) == (2, True, False)


@pytest.mark.parametrize(
    "arguments",
    [("why", NUMBER), ("row", "123456"), ("verify",), ("diff", "HEAD"), ("sign", "--key", "k"), ("export", "prov")],
    ids=lambda arguments: arguments[0],
)
def test_outside_the_root_every_command_says_so(
    built: Path, gist: Callable[..., tuple[int, str]], arguments: tuple[str, ...]
) -> None:
    code, said = gist(built / "data", *arguments)
    assert (code, "is not the root of the project" in said) == (2, True)


def test_signing_nothing_is_a_mistake(toy: Path, gist: Callable[..., tuple[int, str]]) -> None:
    shutil.rmtree(toy / "data/statements")
    code, said = gist(toy, "sign", "--key", "k")
    assert (code, "no statements" in said) == (2, True)


def _change_prediction(toy: Path) -> str:
    path = _own(toy / GENERATED)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["prediction"] = "forged"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines[0]["row_id"]


def _change_metrics(toy: Path, value: Any) -> None:
    path = toy / "reports/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["human"]["rouge_l"]["gist-1"]["mean_pct"] = value
    path.write_text(json.dumps(metrics))


def _own(path: Path) -> Path:
    """Makes a file its own inode, so that changing it does not change the cache."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    return path
