"""Every file of conf/ gives parameters that the stages accept."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml
from typer.testing import CliRunner

from cli.main import app
from tasks.compose import compose_params
from tasks.params import load_params

CONF = Path(__file__).parents[2] / "conf"
GROUPS = ("data", "model", "engine", "judge", "experiment")
CHOICES = [f"{group}={file.stem}" for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
GIVEN = {
    "data=own": ["data.rows.file=rows.jsonl"],
    "model=own": ["model.name=mine", "model.location=folder"],
    "data=local": ["data.folder=upstream"],
    "experiment=alpaca-cpu": ["data.folder=upstream"],
    "experiment=alpaca-gpu": ["data.folder=upstream"],
    # Two processes share the default's step of four rows.
    **{choice: ["train.micro_batch_size=2"] for choice in CHOICES if choice.startswith("engine=zero")},
}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(choice: str, tmp_path: Path) -> None:
    compose_params([choice, *GIVEN.get(choice, [])], conf=CONF, output=tmp_path / "params.yaml")
    load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=own"], r"data\.rows\.file is for you to give: data\.rows\.file=FILE"),
        (["model=own"], r"(?s)model\.name is for you to give.*model\.location is for you to give"),
        (["data=local"], r"data\.folder is for you to give: data\.folder=FOLDER"),
        (["experiment=alpaca-cpu"], r"data\.folder is for you to give"),
        (["generate.splits=[]"], r"generate\.splits: .*at least 1"),
        (
            ["model=flan-t5-base", "model.revision=main"],
            r"model: google/flan-t5-base needs a revision.*'main' need not",
        ),
        (["model=flan-t5-base", "model.revision=null"], r"model: google/flan-t5-base needs a revision: the commit"),
        (["benchmarked_runs=[]"], r"benchmarked_runs: .*at least 1"),
        (["benchmarked_runs=[pos_control]"], r"benchmarked_runs names pos_control, which has no gist to cache"),
        (["benchmark.batch_sizes=[]"], r"benchmark\.batch_sizes: .*at least 1"),
        (["train.micro_batch_size=3"], r"train\.batch_size 4 is not a multiple of train\.micro_batch_size 3 x 1 "),
        (
            ["engine=zero2"],
            r"batch_size 4 is not a multiple of train\.micro_batch_size 4 x 2 process\(es\); .*engine\.processes",
        ),
        (["engine.processes=4"], r"engine: processes would do nothing: engine=single is one process .* engine=zero1"),
        (["+engine.hostfile=hosts", "+engine.offload=true"], r"engine: offload, hostfile would do nothing"),
        (["judge=openai", "judge.base_url=http//x"], r"judge\.base_url: judge\.base_url = 'http//x' is no address"),
        (
            ["model=flan-t5-base", "baselines.tfidf-1.compressor=self_information"],
            r"self_information asks a decoder, and flan-t5-base is none; .* '~baselines\.tfidf-1'",
        ),
        (["+train.select=dev_loss"], r"dev_loss needs rows held out of train: \+data\.num_dev=200"),
        (["runs.pos_control.condition=gist"], r"runs\.pos_control\.condition is gist; .* must be pos_control"),
        (["runs.neg_control.condition=pos_control"], r"runs\.neg_control\.condition is pos_control; .* neg_control"),
        (["model.gist_init=Ċ"], r"""(?s)model\.gist_init=Ċ.*needs quotes of its own: 'KEY="VALUE"'"""),
        (["report.title=Anna's run"], "needs quotes of its own"),
        (["train.steps"], r"(?s)train\.steps.*an override is KEY=VALUE, \+KEY=VALUE for a new key"),
        (["train.seed=-1"], r"train\.seed: Input should be greater than or equal to 0 \(got -1\)"),
        (["human_eval.seed=4294967296"], r"human_eval\.seed: Input should be less than 4294967296"),
        (["train.learning_rate=1e400"], r"train\.learning_rate: Input should be a finite number \(got inf\)"),
        (["generate.batch_size=true"], r"generate\.batch_size: Input should be a valid integer \(got True\)"),
        (["train.steps='4'"], r"train\.steps: Input should be a valid integer \(got '4'\)"),
        (["judge=openai", "judge.prices.as_of=0"], r"judge\.prices\.as_of: put it in quotes: '0'"),
        (
            ["+baselines.gist-1=${baselines.tfidf-1}"],
            r"(?s)gist-1 is both under runs: and under baselines:(?!.*differ in no more)",
        ),
        (
            ["+runs.Gist-1=${runs.gist-1}"],
            r"gist-1 and Gist-1 differ in no more than case, - and _: on macOS their folders may be one",
        ),
        (["+baselines.tfidf_1=${baselines.tfidf-1}"], r"tfidf-1 and tfidf_1 differ in no more than case, - and _"),
        (["generate.splits=[seen,human,seen]"], r"generate\.splits: seen is there more than once"),
        (["benchmark.batch_sizes=[1,4,4,1]"], r"benchmark\.batch_sizes: 1, 4 is there more than once"),
        (
            [
                "train.seed=1",
                "+runs.gist-1-again={condition: gist, num_gist_tokens: 1, start: data/base_model, seed: 1}",
            ],
            r"runs gist-1 and gist-1-again are the same training, which says nothing of seeds",
        ),
        (["~baselines"], r"baselines: Field required"),  # dvc.yaml does not parse without
        (
            ["baselines.tfidf-1.compressor=first_word"],
            r"tfidf-1\.compressor: .*gist_core/compressors has self_information, tfidf.*got 'first",
        ),
        (
            ["engine=zero3", "train.micro_batch_size=2", "+runs.gist-1.lora_rank=4"],
            r"runs\.gist-1\.lora_rank needs whole weights .* engine=zero2",
        ),
        (["data=local", "generate.splits=[]", "benchmarked_runs=[]"], r"(?s)has 3 error.*folder.*runs.*splits"),
    ],
)
def test_what_a_stage_would_refuse_later_is_refused_at_once(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        compose_params(overrides, conf=CONF, output=tmp_path / "params.yaml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "overrides",
    [
        ["generate.splits=[seen]"],  # enough for the scores and the judge
        ["judged_runs=[gist-1,gist-1]"],  # DVC makes one stage of it
        ["+train.select=dev_loss", "+data.num_dev=20"],
        ["engine=zero2", "+engine.hostfile=hosts"],
        ["+runs.gist-1-seed1={condition: gist, num_gist_tokens: 1, start: data/base_model, seed: 1}"],
        ["+engine.attention=flex_attention"],
        ["engine=zero2", "train.micro_batch_size=2", "+runs.gist-1.lora_rank=4"],
        ["~baselines.tfidf-1"],
        ['model.gist_init="Ċ"', 'report.title="Anna\'s run, k = 1"'],
        ["report.title=My first run"],
        ["data=own", "data.rows.file=null", "+data.rows.dataset=OWNER/NAME", f"+data.rows.revision={'0' * 40}"],
        ["model=own", "model.name=NAME", "model.location=FOLDER"],
    ],
)
def test_what_can_work_is_not_refused(overrides: list[str], tmp_path: Path) -> None:
    compose_params(overrides, conf=CONF, output=tmp_path / "params.yaml")


@pytest.mark.parametrize("address", ["https://anna:s3cret@x/v1", "https://x/v1?key=s3cret", "https://x/v1#s3cret"])
def test_an_address_that_holds_a_secret_is_refused_and_not_shown(address: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"of the server x\) holds a name.* the key goes into OPENAI_API_KEY"
    ) as refused:
        compose_params(["judge=openai", f'judge.base_url="{address}"'], conf=CONF, output=tmp_path / "params.yaml")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("override", ["benchmarked_runs=[nope]", "train.micro_batch_size=3", "~runs"])
def test_an_error_across_keys_does_not_dump_their_section(override: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 1 error") as refused:
        compose_params([override], conf=CONF, output=tmp_path / "params.yaml")
    assert not re.search(r"got|Value error", str(refused.value))


def test_it_is_not_written_over_what_it_is_composed_from(tmp_path: Path) -> None:
    conf = shutil.copytree(CONF, tmp_path / "conf")
    before = (conf / "config.yaml").read_bytes()
    for output in (conf / "config.yaml", conf / "new.yaml", tmp_path, tmp_path / "nowhere/params.yaml"):
        with pytest.raises(
            ValueError, match=rf"{re.escape(str(output))} cannot be written: it is a folder, or in none, or in"
        ):
            compose_params([], conf=conf, output=output)
    assert (conf / "config.yaml").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_files_that_are_not_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["params", "data=own", "data.rows.file=nope.csv"])
    assert told.exit_code == 0, told.output
    assert "note: nope.csv is not here" in told.stderr


def test_a_value_of_the_wrong_kind_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "params.yaml"
    shutil.copy(CONF.parent / "params.yaml", output)
    before = output.read_bytes()
    with pytest.raises(ValueError, match=r"train\.steps"):
        compose_params(["train.steps=many"], conf=CONF, output=output)
    assert output.read_bytes() == before
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("broken", [b"a: [1", b"<<<<<<< ours\n", b"\xff\xfe", b"a: 2025-13-01", b"text", b""])
def test_a_broken_file_is_put_right(broken: bytes, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_bytes(broken)
    assert "train.steps: not there -> 5" in compose_params(["train.steps=5"], conf=CONF, output=params)
    assert load_params(params).train.steps == 5
    assert list(tmp_path.iterdir()) == [params]


def test_a_date_without_quotes_which_dvc_cannot_read_is_refused(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    compose_params(["judge=openai"], conf=CONF, output=params)
    text = params.read_text()
    assert "as_of: '2025-08-01'" in text
    params.write_text(text.replace("'2025-08-01'", "2025-08-01"))
    with pytest.raises(ValueError, match=r"judge\.prices\.as_of: put it in quotes: '2025-08-01'"):
        load_params(params)


def test_a_stage_runs_with_the_value_that_dvc_writes_down(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    compose_params(conf=CONF, output=params)
    text = params.read_text()
    assert "  steps: 200\n" in text
    for written in ("010", "1_0", "0o12", "0x0A"):
        params.write_text(text.replace("  steps: 200\n", f"  steps: {written}\n"))
        of_dvc = load_yaml(str(params))["train"]["steps"]
        if isinstance(of_dvc, int):
            assert load_params(params).train.steps == of_dvc == 10
        else:
            with pytest.raises(ValueError, match=r"train\.steps: Input should be a valid integer"):
                load_params(params)
    params.write_text(text.replace("  steps: 200\n", "  steps: yes\n"))
    with pytest.raises(ValueError, match=r"train\.steps: Input should be a valid integer .*\(got 'yes'\)"):
        load_params(params)
    params.write_text(text.replace("  steps: 200\n", "  steps: 200\n  steps: 10\n"))
    with pytest.raises(ValueError, match=r'found duplicate key "steps".*\(line \d+\)'):
        load_params(params)


@pytest.mark.parametrize("content", ["train: [", "a: 1\na: 2\n", "a: \xff"])
def test_a_file_of_conf_that_is_no_yaml_is_one_message(tmp_path: Path, content: str) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    (conf / "model/smollm2-135m.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"a file in .*conf cannot be read as YAML: .+") as told:
        compose_params(conf=conf, output=tmp_path / "params.yaml")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.glob("params*"))


def test_what_a_composition_changes_is_told(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    compose_params(["train.steps=5"], conf=CONF, output=params)
    told = compose_params(["~baselines.tfidf-1"], conf=CONF, output=params)
    assert told == [
        "train.steps: 5 -> 200",
        "baselines.tfidf-1.compressor: tfidf -> not there",
        "baselines.tfidf-1.num_kept_tokens: 1 -> not there",
        "baselines: not there -> {}",
    ]
    assert compose_params(["~baselines.tfidf-1"], conf=CONF, output=params) == []


def test_an_experiment_of_dvc_begins_with_params_yaml_as_it_is(tmp_path: Path) -> None:
    """With DVC's own use of Hydra it would begin with conf/: the user's data and model would be others, without a word."""
    (tmp_path / ".dvc").mkdir()
    shutil.copy(CONF.parent / ".dvc/config", tmp_path / ".dvc/config")
    shutil.copytree(CONF, tmp_path / "conf")
    compose_params(["train.steps=7"], conf=CONF, output=tmp_path / "params.yaml")
    stage = {"cmd": "true", "params": ["rouge.resamples"]}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"score": stage}}), encoding="utf-8")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "mine"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    ran = subprocess.run(
        [sys.executable, "-m", "dvc", "exp", "run", "-S", "rouge.resamples=10"],
        cwd=tmp_path,
        env=os.environ | {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    params = load_params(tmp_path / "params.yaml")
    assert (params.train.steps, params.rouge.resamples) == (7, 10)


def test_a_group_that_is_given_to_dvc_is_pointed_to_gist_params(tmp_path: Path) -> None:
    compose_params([], conf=CONF, output=tmp_path / "params.yaml")
    written = load_yaml(tmp_path / "params.yaml") | {"model": "gemma3-270m"}
    (tmp_path / "params.yaml").write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(ValueError, match=r"model: a name from conf/ and no section; `gist params model=gemma3-270m`"):
        load_params(tmp_path / "params.yaml")
