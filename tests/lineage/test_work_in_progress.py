"""Work in progress outlives a kill at any moment, and nothing else takes it up."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from tasks import paths
from tasks.stage import Stage
from tests.lineage import project

NAME = "generate@gist-1"


def answer(stage: Stage) -> None:
    """Stands for hours of work: goes on from a file in the work folder if there is one."""
    progress = stage.work_dir / "progress"
    stage.run_facts["went_on"] = progress.exists()
    progress.touch()
    with stage.out(paths.GENERATIONS / "gist-1") as folder:
        folder.mkdir()
        (folder / "human.jsonl").write_text('{"row_id": "r", "prediction": "new"}\n')


def execute(root: Path, name: str = NAME) -> bool:
    """Runs the stage, DVC's record left out; whether it found its work of before."""
    Stage(name, root, ["python"])._execute(answer)
    log = (root / paths.STATEMENTS / "runs" / "log.jsonl").read_text().splitlines()
    return bool(json.loads(log[-1])["facts"]["went_on"])


def test_work_is_kept_until_dvc_has_recorded_what_came_of_it(toy: Path) -> None:
    assert not execute(toy)
    work = Stage(NAME, toy, []).work_dir
    assert execute(
        toy
    )  # as after a kill between the stage's last line and DVC's record, for which DVC removes the outs
    project.run(toy, "dvc", "commit", "--force", NAME)
    assert work.exists()
    project.repro(toy, "--single-item", "--force", "base_model")  # any stage that starts
    assert not work.exists()
    assert not execute(toy)  # forced to run again, it does all of its work again


def test_another_locked_environment_or_parameter_does_not_take_it_up(toy: Path) -> None:
    assert not execute(toy)
    assert execute(toy)
    (toy / "requirements.lock").write_text("torch==2.14.1\n")
    assert not execute(toy)
    params = (toy / "params.yaml").read_text()
    (toy / "params.yaml").write_text(params.replace("max_new_tokens: ", "max_new_tokens: 1"))
    assert not execute(toy)


SHARED_MEMORY = Path("/dev/shm")


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="needs a second file system, /dev/shm")
def test_outs_on_another_file_system_are_refused_before_the_work(toy: Path) -> None:
    if SHARED_MEMORY.stat().st_dev == toy.stat().st_dev:
        pytest.skip("/dev/shm is on the file system of the temporary folder")
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as elsewhere:
        shutil.rmtree(toy / paths.GENERATIONS)
        (toy / paths.GENERATIONS).symlink_to(elsewhere)
        with (
            pytest.raises(ValueError, match="on two file systems"),
            Stage(NAME, toy, []).out(paths.GENERATIONS / "gist-1"),
        ):
            pytest.fail("the work has begun")
