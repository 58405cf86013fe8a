"""Facts, tables, plot and Croissant metadata of a built data folder."""

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.data import _print, app
from gist_core.data.assemble import build_from_folder, read_facts, write_data_folder
from gist_core.data.describe import Table, tables_of, token_lengths
from gist_core.data.facts import lengths
from gist_core.data.plot import plot_lengths
from gist_core.data.rows import SPLITS, read_rows
from gist_core.data.sources import gather_folder
from gist_core.data.upstream import UPSTREAM
from tasks.params import load_params
from tests.data.random_sources import SMALL_ALPACA, SMALL_SELF_INSTRUCT, SMALL_TASKS, write_upstream_shapes

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {"num_seen": 1, "num_unseen": 2, "num_dev": 0, "seed": 0}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder built from small stand-ins with one pair twice, an Alpaca pair of seen, and an empty output."""
    folder = tmp_path_factory.mktemp("built")
    self_instruct = [*SMALL_SELF_INSTRUCT, SMALL_SELF_INSTRUCT[1]]
    alpaca = [*SMALL_ALPACA, SMALL_SELF_INSTRUCT[0]]
    write_upstream_shapes(folder / "files", self_instruct, alpaca, SMALL_TASKS)
    gather_folder(folder / "sources", folder / "files", {role: file.name for role, file in UPSTREAM.items()})
    manifest, build = build_from_folder(folder / "sources", **SETTINGS)
    write_data_folder(folder / "alpaca_plus", manifest, build, SETTINGS)
    return folder / "alpaca_plus"


def test_facts_count_what_is_in_the_files(built: Path) -> None:
    facts = read_facts(built)
    for split in SPLITS:
        rows = read_rows(built / f"{split}.parquet")
        found: dict[str, Any] = facts["splits"][split]
        assert found["rows"] == len(rows)
        assert found["distinct_instructions"] == len({row.instruction for row in rows})
        assert found["distinct_inputs"] == len({row.input for row in rows if row.input})
        assert found["without_input_pct"] == round(100 * sum(not row.input for row in rows) / len(rows), 2)
        assert found["empty_outputs"] == sum(not row.output for row in rows)
        words = [len(row.instruction.split()) for row in rows]
        assert found["words"]["instruction"]["mean"] == round(sum(words) / len(words), 2)
    assert facts["splits"]["human"]["empty_outputs"] == 1
    assert facts["overlap"]["train and seen"] == {"shared_pairs": 0, "shared_instructions": 1}
    assert {reason: entry["rows"] for reason, entry in facts["dropped"].items()} == {
        "duplicate": 1,
        "pair_in_validation": 1,
    }


def test_facts_are_the_same_every_time(built: Path, tmp_path: Path) -> None:
    manifest, build = build_from_folder(built.parent / "sources", **SETTINGS)
    write_data_folder(tmp_path, manifest, build, SETTINGS)
    for path in built.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_lengths_by_hand() -> None:
    assert lengths([]) is None
    assert lengths(list(range(100, 0, -1))) == {"n": 100, "mean": 50.5, "median": 50, "p95": 95, "p99": 99, "max": 100}
    twenty = lengths(list(range(1, 21)))
    assert twenty is not None
    assert (twenty["median"], twenty["p95"], twenty["p99"]) == (10, 19, 20)
    assert lengths([7]) == {"n": 1, "mean": 7.0, "median": 7, "p95": 7, "p99": 7, "max": 7}


def test_croissant_passes_its_validator_and_gives_back_the_rows(built: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(built / "croissant.json")
    issues = dataset.metadata.issues
    assert not issues.errors
    # The licence of unknown files is not ours to claim; for known ones see test_build.
    assert [warning for warning in issues.warnings if "schema.org/license" not in warning] == []
    for split in SPLITS:
        records = list(dataset.records(split))
        rows = read_rows(built / f"{split}.parquet")
        assert [record[f"{split}/row_id"].decode() for record in records] == [row.row_id for row in rows]
        assert [record[f"{split}/output"].decode() for record in records] == [row.output for row in rows]


def test_croissant_of_wrong_columns_would_not_pass(built: Path, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    metadata = json.loads((built / "croissant.json").read_text())
    del metadata["recordSet"][0]["field"][0]["dataType"]
    (tmp_path / "croissant.json").write_text(json.dumps(metadata))
    with pytest.raises(mlcroissant.ValidationError):
        mlcroissant.Dataset(tmp_path / "croissant.json")


def test_croissant_claims_no_licence_for_unknown_files(built: Path) -> None:
    assert "license" not in json.loads((built / "croissant.json").read_text())


def test_tables_show_the_label_the_papers_figures_and_what_was_left_out(built: Path) -> None:
    text = "\n".join(table.markdown() for table in tables_of(read_facts(built)))
    assert "not the paper's data" in text
    assert "| train | 8 | 130,321 |" in text
    assert "| a train row whose (instruction, input) pair is in seen, unseen or human | 1 |" in text
    assert all(len(row) == len(table.heads) for table in tables_of(read_facts(built)) for row in table.rows)


def tokenizer_folder(folder: Path) -> Path:
    """A tokenizer for which one word is one token."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_token_lengths_are_the_tokenizers(built: Path, tmp_path: Path) -> None:
    found = token_lengths(built, SPLITS, tokenizer_folder(tmp_path / "model"))
    facts = read_facts(built)
    assert found == {split: facts["splits"][split]["words"] for split in SPLITS}


def test_the_plot_is_the_same_every_time(built: Path, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        plot_lengths(built, list(SPLITS), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"train (n = 6)" in (tmp_path / "a.svg").read_bytes()
    with pytest.raises(ValueError, match=r"a plot ends in \.svg"):
        plot_lengths(built, list(SPLITS), tmp_path / "a.txt")


def test_describe_prints_the_facts(built: Path, tmp_path: Path) -> None:
    model = tokenizer_folder(tmp_path / "model")
    plot = tmp_path / "plots" / "lengths.png"
    for extra in ([], ["--markdown"]):
        result = CliRunner().invoke(
            app, ["describe", "--folder", str(built), "--tokenizer", str(model), "--plot", str(plot), *extra]
        )
        assert result.exit_code == 0, result.output
        for words in (
            "not the paper's data",
            "130,321",
            "Lengths in tokens",
            "9186d4927b7082e1ddfa79e18d9cba7929c845c3",
        ):
            assert words in result.output
    assert plot.stat().st_size > 1000


def test_names_with_brackets_are_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    _print([Table("of rows[v2].csv", ("file", "rows"), (("rows[final].json", "7"),))])
    shown = capsys.readouterr().out
    assert "of rows[v2].csv" in shown
    assert "rows[final].json" in shown


@pytest.mark.parametrize("content", [None, "{"])
def test_describe_without_data_says_what_makes_it(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "facts.json").write_text(content)
    result = CliRunner().invoke(app, ["describe", "--folder", str(tmp_path)])
    assert isinstance(result.exception, ValueError)
    assert "dvc repro" in str(result.exception)


def test_check_says_how_a_file_would_be_split(tmp_path: Path) -> None:
    rows = [{"q": f"Prompt {p}", "x": str(n), "a": "b"} for p in range(4) for n in range(5)]
    (tmp_path / "own.json").write_text(json.dumps(rows))
    arguments = ["check", str(tmp_path / "own.json"), "--instruction", "q", "--input", "x", "--output", "a"]
    result = CliRunner().invoke(app, [*arguments, "--num-seen", "2", "--num-unseen", "5"])
    assert result.exit_code == 0, result.output
    found = {"rows": 20, "train": 13, "seen": 2, "unseen": 3, "human": 2, "left_out": 0}
    assert json.loads(result.stdout.splitlines()[0]) == found
    assert "gist params data=own" in result.stdout
    assert not result.stderr


def test_check_says_which_rows_of_a_split_are_not_independent(tmp_path: Path) -> None:
    rows = [{"q": f"Prompt {n}", "a": f"answer {k}"} for n in range(8) for k in range(3)]
    (tmp_path / "own.json").write_text(json.dumps(rows))
    arguments = ["check", str(tmp_path / "own.json"), "--instruction", "q", "--input", "", "--output", "a"]
    result = CliRunner().invoke(app, [*arguments, "--num-unseen", "12"])
    split = json.loads(result.stdout.splitlines()[0])
    assert split["human"] == 6
    assert "human: 4 of 6 rows repeat the instruction and input of another" in result.stderr


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("own.csv", ["instruction", "input", "output"]),
        ("my rows.csv", ["Message (de)", "null", "2024"]),
        ("it's {1}, $HOME [x]=`ls`.csv", ["a: b, c", "d'\"\\'", "$e"]),
    ],
)
def test_the_command_that_check_prints_can_be_pasted(tmp_path: Path, name: str, columns: list[str]) -> None:
    human = f"human {name}"
    for path, prompts in ((tmp_path / name, range(4)), (tmp_path / human, range(4, 5))):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([columns, *([f"Prompt {p}", str(n), "b"] for p in prompts for n in range(5))])
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    gist = f"{shlex.quote(sys.executable)} -m cli.main"
    options = ["--instruction", columns[0], "--input", columns[1], "--output", columns[2], "--human-file", human]
    options += ["--num-seen", "2", "--num-unseen", "5"]
    check = subprocess.run(
        [*shlex.split(gist), "data", "check", name, *options],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert check.returncode == 0, check.stderr
    printed = check.stdout.splitlines()[-1].removeprefix("Use it: gist ")
    pasted = subprocess.run(
        f"{gist} {printed}", shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert pasted.returncode == 0, pasted.stderr
    data = load_params(tmp_path / "params.yaml").data
    assert data.rows is not None
    assert (data.rows.file, data.rows.human_file) == (name, human)
    assert list(data.rows.columns.model_dump().values()) == columns


def test_check_splits_rows_without_inputs_and_refuses_a_file_without_validation_rows(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps([{"q": f"Prompt {n}", "a": "b"} for n in range(600)]))
    arguments = ["check", str(tmp_path / "own.json"), "--instruction", "q", "--input", "", "--output", "a"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = {"rows": 600, "train": 500, "seen": 0, "unseen": 50, "human": 50, "left_out": 0}
    assert json.loads(result.stdout.splitlines()[0]) == found
    assert result.stderr == "seen: 0 rows, where 100 were wanted; they come from instructions with several inputs\n"

    same = CliRunner().invoke(app, [*arguments, "--human-file", str(tmp_path / "own.json")])
    assert "has the name of another source file" in str(same.exception)
    shutil.copy(tmp_path / "own.json", tmp_path / "human.json")
    refused = CliRunner().invoke(app, [*arguments, "--human-file", str(tmp_path / "human.json")])
    assert isinstance(refused.exception, ValueError)
    assert "no row is left to train on: 0 rows are seen, 0 unseen" in str(refused.exception)
    assert "left out (pair_in_validation)" in str(refused.exception)

    (tmp_path / "own.json").write_text(json.dumps([{"q": f"Prompt {n}", "a": "b"} for n in range(600)]))
    refused = CliRunner().invoke(app, [*arguments, "--num-unseen", "1"])
    assert isinstance(refused.exception, ValueError)
    assert "no row is left for human" in str(refused.exception)
    (tmp_path / "human.json").write_text(json.dumps([{"q": "Other", "a": "c"}]))
    result = CliRunner().invoke(app, [*arguments, "--human-file", str(tmp_path / "human.json")])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[0])["human"] == 1
