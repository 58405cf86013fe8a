"""Local files and a model's folder are pinned by their content when parameters are composed, and not taken for other ones."""

import shutil
from pathlib import Path

import pytest

from gist_core.data.sources import ROLES
from gist_core.lineage.hashing import sha256_of_path
from tasks.compose import compose_params
from tasks.params import Params, load_params
from tasks.pins import refuse_other_content

CONF = Path(__file__).parents[2] / "conf"
STAND_INS = [f"+data.stand_ins.{role}={name}" for role, name in zip(ROLES, "abc", strict=True)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(CONF, tmp_path / "conf")
    return tmp_path


def composed(root: Path, *overrides: str) -> Params:
    compose_params(overrides, conf=root / "conf", output=root / "params.yaml")
    return load_params(root / "params.yaml")


@pytest.mark.parametrize(
    ("files", "overrides"),
    [
        (["rows.csv"], ["data=own", "data.rows.file=rows.csv"]),
        (["rows.csv", "people.csv"], ["data=own", "data.rows.file=rows.csv", "+data.rows.human_file=people.csv"]),
        (["up/a", "up/b", "up/c"], ["data=local", "data.folder=up", *STAND_INS]),
    ],
)  # fmt: skip
def test_other_content_under_the_same_name_is_another_parameter(
    root: Path, files: list[str], overrides: list[str]
) -> None:
    unknown = composed(root, *overrides)
    assert unknown.data.content is None
    refuse_other_content(unknown, root)
    for name in files:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("as it was")
    with pytest.raises(ValueError, match=r"not noted in params\.yaml is what stands in"):
        refuse_other_content(unknown, root)
    before = composed(root, *overrides)
    refuse_other_content(before, root)
    (root / files[-1]).write_text("as it is now")
    with pytest.raises(
        ValueError, match=rf"changed since params.yaml was made .*{files[-1]}; call `gist params` again"
    ):
        refuse_other_content(before, root)
    after = composed(root, *overrides)
    assert None is not before.data.content != after.data.content is not None
    refuse_other_content(after, root)
    (root / files[-1]).unlink()  # a clone that has only what was made of it
    refuse_other_content(after, root)
    assert composed(root, *overrides, "train.steps=7").data.content == after.data.content
    assert composed(root).data.content is None


@pytest.mark.parametrize("broken", ["data: oops\nmodel: oops\n", "data:\n  rows: oops\n  content: 1\n"])
def test_pins_are_not_looked_for_in_a_section_that_is_none(root: Path, broken: str) -> None:
    (root / "params.yaml").write_text(broken, encoding="utf-8")
    own = composed(root, "data=own", "data.rows.file=rows.csv", "model=own", "model.name=mine", "model.location=model")
    assert own.data.content is None
    assert {path.name for path in root.iterdir()} == {"conf", "params.yaml"}


def test_the_folder_of_a_model_is_pinned_and_a_pin_that_is_given_stays(root: Path) -> None:
    (root / "model").mkdir()
    (root / "model/weights").write_bytes(b"123")
    given = ["model=own", "model.name=mine", "model.location=model"]
    own = root / "conf/model/own.yaml"
    own.write_text("".join(line for line in own.read_text().splitlines(keepends=True) if "revision:" not in line))
    known = composed(root, *given).model.revision
    assert known == sha256_of_path(root / "model")
    (root / "model/weights").write_bytes(b"124")
    with pytest.raises(ValueError, match=r"\(model.revision\): the model in .*model; call `gist params` again"):
        refuse_other_content(load_params(root / "params.yaml"), root)
    (root / "model/weights").write_bytes(b"123")
    refuse_other_content(load_params(root / "params.yaml"), root)
    (root / "model").rename(root / "elsewhere")
    assert composed(root, *given, "train.steps=7").model.revision == known
    assert composed(root, *given[:2], "model.location=elsewhere").model.revision == known, "the same model"
    assert composed(root, *given[:2], "model.location=nowhere").model.revision is None
    assert composed(root, *given, "++model.revision=abc").model.revision == "abc"


def test_the_default_has_nothing_to_pin(root: Path) -> None:
    assert composed(root).data.content is None
