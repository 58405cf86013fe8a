"""A copy of this project in another folder, with a tiny random model in place of the pretrained one."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.running import environment, git
from tests.tiny import byte_tokenizer, tiny_model

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "model.name=tiny",
    "model.source=folder",
    "model.file=null",
    "model.revision=null",
    "train.steps=4",
    "train.batch_size=4",
    "train.micro_batch_size=4",
    "train.log_every=1",
    "train.max_length=600",
    "data.num_seen=12",
    "data.num_unseen=12",
    "generate.max_rows=6",
    "generate.max_new_tokens=6",
    "human_eval.items=5",
    "rouge.resamples=50",
    "rouge.processes=1",
    "human_eval.resamples=50",
    "benchmark.max_prompts=2",
    "benchmark.batch_sizes=[1,2]",
    "benchmark.warmup=0",
    "benchmark.repeats=1",
    "benchmark.resamples=50",
]


def copy_project(folder: Path, family: str) -> Path:
    """The tracked files, committed in a repository of their own, with params.yaml composed for a tiny model."""
    root = folder / "project"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if name == "dvc.lock" or not (ROOT / name).is_file():
            continue
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    model = folder / "model"
    tiny_model(family).save_pretrained(model)
    byte_tokenizer().save_pretrained(model)
    compose(root, f"model.location={model}", *SMALL)
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "start")
    return root


def compose(root: Path, *overrides: str) -> None:
    run(root, "-m", "cli.main", "params", *overrides)


def run(root: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` in the copy, its output kept."""
    around = environment(OMP_NUM_THREADS="1", PYTHONPATH=str(root))
    result = subprocess.run([sys.executable, *arguments], cwd=root, env=around, capture_output=True, text=True)
    assert not check or result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result
