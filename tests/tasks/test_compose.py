"""Every file of conf/ gives parameters that the stages accept."""

import shutil
from pathlib import Path

import pytest

from tasks.compose import compose_params
from tasks.params import load_params

CONF = Path(__file__).parents[2] / "conf"
GROUPS = ("data", "model", "engine", "judge", "experiment")
CHOICES = [f"{group}={file.stem}" for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
GIVEN = {"data=own": ["data.rows.file=rows.jsonl"], "data=local": ["data.folder=upstream"]}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(choice: str, tmp_path: Path) -> None:
    folder = ["data.folder=upstream"] if choice.startswith("experiment") else GIVEN.get(choice, [])
    compose_params([choice, *folder], conf=CONF, output=tmp_path / "params.yaml")
    load_params(tmp_path / "params.yaml")


def test_a_value_of_the_wrong_kind_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "params.yaml"
    shutil.copy(CONF.parent / "params.yaml", output)
    before = output.read_bytes()
    with pytest.raises(ValueError, match=r"train\.steps"):
        compose_params(["train.steps=many"], conf=CONF, output=output)
    assert output.read_bytes() == before
    assert list(tmp_path.iterdir()) == [output]
