"""`diff` names what made a number change, and tells a changed result from a changed input."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.dvc_project import cache_of
from gist_core.lineage.diff import compare, difference
from gist_core.lineage.ledger import Ledger, Statement
from tests.lineage import project

STAGE = "generate@gist-1"
OUT = "data/generations/gist-1/human.jsonl"


def test_two_revisions_differ_where_a_parameter_changed(toy: Path) -> None:
    params = toy / "params.yaml"
    before = yaml.safe_load(params.read_text())["train"]["learning_rate"]
    params.write_text(params.read_text().replace(f"learning_rate: {before}", "learning_rate: 0.5"))
    project.repro(toy, "--single-item", "train@gist-1", "generate@gist-1", "rouge")
    project.commit(toy, "Another rate")
    found = difference(toy, "HEAD~1", "HEAD", [cache_of(toy)], "reports/metrics.json")
    assert [change.stage for change in found.stages] == ["train@gist-1", "generate@gist-1", "rouge"]
    assert [change.stage for change in found.roots] == ["train@gist-1"]
    assert [cause.what for cause in found.stages[0].causes] == [f"train.learning_rate: {before} -> 0.5"]
    assert {cause.kind for cause in found.stages[1].causes} == {"upstream"}
    assert found.numbers
    of_gist_1 = ("gist-1", "significance", "over_seeds")  # the last two are lists, of comparisons and means with it
    assert all(any(part in number.name for part in of_gist_1) for number in found.numbers)
    nothing = difference(toy, "HEAD", "workspace", [cache_of(toy)])
    assert (nothing.numbers, nothing.stages) == ((), ())
    with pytest.raises(ValueError, match="no revision"):
        difference(toy, "nowhere", "HEAD", [cache_of(toy)])


def _another(toy: Path, key: str, value: object, *stages: str) -> None:
    """A parameter of run gist-1 or of `train` changed, the stages run again, and all committed."""
    params = yaml.safe_load((toy / "params.yaml").read_text())
    section, _, name = key.rpartition(".")
    (params["runs"]["gist-1"] if section == "gist-1" else params[section])[name] = value
    (toy / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project.repro(toy, "--single-item", *stages)
    project.commit(toy, key)


def test_a_number_is_narrowed_to_what_it_rests_on_and_must_exist(toy: Path) -> None:
    _another(toy, "gist-1.seed", 7, "train@gist-1", "generate@gist-1", "rouge")

    def stages(number: str) -> list[str]:
        found = difference(
            toy, "HEAD~1", "HEAD", [cache_of(toy)], f"reports/metrics.json:human.rouge_l.{number}.mean_pct"
        )
        return [change.stage for change in found.stages]

    assert stages("gist-1") == ["train@gist-1", "generate@gist-1", "rouge"]
    assert not {"train@gist-1", "generate@gist-1"} & set(stages("neg_control"))
    with pytest.raises(ValueError, match="nonsense"):
        stages("nonsense")


def test_numbers_of_cached_files_are_compared_too(toy: Path) -> None:
    _another(toy, "train.steps", 77, "train@gist-1")
    number = "reports/curves/gist-1.json:4.loss"
    same = difference(toy, "HEAD~1", "HEAD", [cache_of(toy)], number)
    assert (same.numbers, [change.stage for change in same.stages]) == ((), ["train@gist-1"])
    with pytest.raises(ValueError, match="curves/gist-1"):
        difference(toy, "HEAD~1", "HEAD", [cache_of(toy)], "reports/curves/gist-1.json:40.loss")


def test_a_forged_statement_of_an_older_revision_is_refused(toy: Path) -> None:
    lock = yaml.safe_load((toy / "dvc.lock").read_text())
    path = "data/statements/train@gist-1.json"
    md5 = next(out["md5"] for out in lock["stages"]["train@gist-1"]["outs"] if out["path"] == path)
    _another(toy, "gist-1.seed", 7, "train@gist-1")
    stored = toy / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    forged = stored.read_bytes().replace(b'"train.seed": 0', b'"train.seed": 7').replace(b'"seed": 0', b'"seed": 7')
    assert forged != stored.read_bytes()
    stored.unlink()
    stored.write_bytes(forged)
    with pytest.raises(ValueError, match=r"statement of train@gist-1 at HEAD~1 is not the one in dvc.lock"):
        difference(toy, "HEAD~1", "HEAD", [cache_of(toy)])


def _change_code(content: Any) -> None:
    _input(content, "tasks/generate.py")["digest"]["sha256"] = "1" * 64


def _change_environment(content: Any) -> None:
    _internal(content)["environment"]["packages"]["dvc"] = "0.1"


def _change_weights(content: Any) -> None:
    entry = _input(content, "data/models/gist-1/model.safetensors")
    entry["name"], entry["digest"]["sha256"] = "weights/elsewhere.safetensors", "1" * 64


def _change_data(content: Any) -> None:
    _input(content, "data/alpaca_plus/facts.json")["name"] = "data/annotations/answers.csv"


def _change_uncommitted(content: Any) -> None:
    _internal(content)["source"]["changed_files"] = {"gist_core/x.py": "1" * 64}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("code", _change_code),
        ("environment", _change_environment),
        ("weights", _change_weights),
        ("data", _change_data),
        ("code", _change_uncommitted),
    ],
)
def test_each_kind_of_cause_is_named(built: Path, kind: str, change: Callable[[Any], None]) -> None:
    found = _compare(built, lambda content: (change(content), _other_result(content)))
    assert kind in {cause.kind for cause in found.causes}
    assert found.outs == (OUT,)
    assert "other result after a change of" in found.verdict


def test_the_same_result_after_a_change_is_said_to_be_the_same(built: Path) -> None:
    assert "same result, though environment changed" in _compare(built, _change_environment).verdict


def test_another_result_from_the_same_inputs_is_told_from_a_changed_input(built: Path) -> None:
    assert "OTHER RESULT FROM THE SAME INPUTS" in _compare(built, _other_result).verdict

    def on_a_gpu(content: Any) -> None:
        _other_result(content)
        _internal(content)["reproducibility"] = {"same_bytes_expected": False, "reason": "it ran on a GPU"}

    assert _compare(built, on_a_gpu).verdict.endswith("as its statement allows: it ran on a GPU")


def _compare(built: Path, change: Callable[[Any], Any]) -> Any:
    old = Ledger.of_workspace(built)
    content = copy.deepcopy(dict(old.statements[STAGE].content))
    change(content)
    (found,) = compare(old, Ledger(old.statements | {STAGE: Statement(content)}))
    return found


def _internal(content: Any) -> Any:
    return content["predicate"]["buildDefinition"]["internalParameters"]


def _input(content: Any, name: str) -> Any:
    dependencies = content["predicate"]["buildDefinition"]["resolvedDependencies"]
    return next(entry for entry in dependencies if entry["name"] == name)


def _other_result(content: Any) -> None:
    next(subject for subject in content["subject"] if subject["name"] == OUT)["digest"]["sha256"] = "2" * 64
