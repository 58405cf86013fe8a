"""A small, real DVC project in a temporary folder: the real tasks/stage.py, a dvc.yaml of the real shape, quick
stages.

`build` runs it once with `dvc repro` (14 stages); tests copy the result, hard links, git repository and cache
included."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
RUNS = ("pos_control", "neg_control", "gist-1")
EACH_RUN = "${runs}"

STAGES: dict[str, dict[str, Any]] = {
    "sources": {"deps": [], "outs": ["data/sources"], "params": ["data"]},
    "alpaca_plus": {"deps": ["data/sources"], "outs": ["data/alpaca_plus"], "params": ["data"]},
    "base_model": {"deps": [], "outs": ["data/base_model"], "params": ["model"]},
    "train": {
        "runs": EACH_RUN,
        "deps": ["data/alpaca_plus", "${item.start}"],
        "outs": ["data/models/RUN", "data/trained_rows/RUN.jsonl", {"reports/curves/RUN.json": {"cache": True}}],
        "params": ["train", "runs.RUN"],
    },
    "generate": {
        "runs": EACH_RUN,
        "deps": ["data/alpaca_plus", "data/models/RUN"],
        "outs": ["data/generations/RUN"],
        "params": ["generate", "runs.RUN"],
    },
    "rouge": {
        "deps": ["data/alpaca_plus", "data/generations"],
        "outs": ["data/scores", {"reports/metrics.json": {"cache": False}}],
        "params": ["rouge", "runs"],
    },
    "judge": {
        "runs": ["gist-1"],
        "deps": ["data/alpaca_plus", "data/generations/pos_control", "data/generations/RUN"],
        "outs": ["data/verdicts/RUN", {"reports/judge/RUN.json": {"cache": False}}],
        "params": ["judge"],
    },
    "benchmark": {
        "runs": ["gist-1"],
        "deps": ["data/alpaca_plus", "data/models/RUN"],
        "outs": ["data/benchmark/RUN", {"reports/benchmark/RUN.json": {"cache": False}}],
        "params": ["benchmark"],
    },
    "report": {
        "deps": [
            "data/scores",
            "data/statements/train@pos_control.json",
            "reports/metrics.json",
            "reports/judge",
            "reports/benchmark",
            "reports/curves",
        ],
        "outs": [{"reports/report.html": {"cache": False}}, {"reports/report.md": {"cache": False}}],
        "params": ["report"],
    },
}


def build(root: Path) -> Path:
    """Makes the project at `root`, runs it, commits it. Returns `root`."""
    (root / "tasks").mkdir(parents=True)
    for file in (REPOSITORY / "tasks").glob("*.py"):
        if file.stem not in STAGES:  # those follow
            shutil.copy(file, root / "tasks")
    shutil.copy(REPOSITORY / "requirements.lock", root / "requirements.lock")
    shutil.copy(Path(__file__).parent / "toy" / "stages.py", root / "tasks" / "toy_stages.py")
    for name in STAGES:
        (root / "tasks" / f"{name}.py").write_text(
            f'"""Toy."""\nfrom tasks import toy_stages\nfrom tasks.stage import stage_main\n\n'
            f'if __name__ == "__main__":\n    stage_main("{name}", toy_stages.{name})\n'
        )
    shutil.copy(REPOSITORY / ".dvcignore", root / ".dvcignore")
    (root / ".gitignore").write_text("__pycache__/\n*.pyc\n.work/\n")
    (root / "params.yaml").write_text(yaml.safe_dump(_params(), sort_keys=False))
    (root / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {n: _entry(n, s) for n, s in STAGES.items()}}, sort_keys=False)
    )
    run(root, "git", "init", "-q", "-b", "main")
    run(root, "dvc", "init", "-q")
    run(root, "dvc", "config", "cache.type", "hardlink,copy")
    commit(root, "A toy")
    repro(root)
    commit(root, "Its results")
    return root


def repro(root: Path, *arguments: str, **variables: str) -> str:
    return run(root, "dvc", "repro", *arguments, **variables)


def commit(root: Path, message: str) -> str:
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-q", "-m", message)
    return run(root, "git", "rev-parse", "HEAD").strip()


def copy(project: Path, to: Path) -> Path:
    """A copy of the project with its hard links between workspace and cache, as `cp -a` makes it."""
    subprocess.run(["cp", "-a", str(project), str(to)], check=True)
    return to


def run(root: Path, *command: str, **variables: str) -> str:
    """Output of a command in `root`, with this interpreter first on PATH and this repository's gist_core."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _params() -> dict[str, Any]:
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    runs = {run: {"condition": run.split("-")[0], "num_gist_tokens": 1, "start": "data/base_model"} for run in RUNS}
    return params | {"runs": runs, "judge": {"provider": "reference_rule"}, "judged_runs": ["gist-1"]}


def _entry(name: str, stage: dict[str, Any]) -> dict[str, Any]:
    def named(value: object) -> object:
        if isinstance(value, dict):
            return {named(key): inner for key, inner in value.items()}
        return value.replace("RUN", run) if isinstance(value, str) else value

    runs = stage.get("runs")
    run = "${key}" if runs == EACH_RUN else "${item}"
    entry = {
        "cmd": f"python -m tasks.{name}" + (f" --run {run}" if runs else ""),
        "deps": [f"tasks/{name}.py", "tasks/toy_stages.py", *map(named, stage["deps"])],
        "params": [named(key) for key in stage["params"]],
        "outs": [*map(named, stage["outs"]), f"data/statements/{name}{f'@{run}' if runs else ''}.json"],
    }
    return {"foreach": runs, "do": entry} if runs else entry
