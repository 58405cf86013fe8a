"""Trains the model of one run under its attention mask.

    python -m tasks.train --run gist-1

With `engine.zero_stage` set, the same training runs in `engine.processes` processes under DeepSpeed (tasks/train_worker.py).
If it is killed at any moment, it goes on from its last whole checkpoint when it is started again.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from tasks import paths
from tasks.stage import Stage, stage_main
from tasks.train_worker import ERROR_FILE, TRAINED_ROWS_FILE, Job, run_job


def run(stage: Stage) -> None:
    from gist_core.training.engine import launch_command

    work_dir = stage.work_dir
    dev_rows = paths.ALPACA_PLUS / "dev.parquet"
    with (
        stage.out(paths.MODELS / stage.run_name) as model_folder,
        stage.out(paths.TRAINED_ROWS / f"{stage.run_name}.jsonl") as rows_file,
        stage.out(paths.CURVES / f"{stage.run_name}.json") as curve_file,
    ):
        job = Job(
            start=str(stage.dep(Path(stage.run_params.start))),
            rows=str(stage.dep(paths.ALPACA_PLUS / "train.parquet")),
            dev_rows=str(stage.dep(dev_rows)) if (stage.root / dev_rows).exists() else None,
            output=str(model_folder),
            work_dir=str(work_dir),
            progress_file=str(stage.progress_file),
            train=stage.params.train,
            engine=stage.params.engine,
            run=stage.run_params,
        )
        if stage.params.engine.zero_stage is None:
            run_job(job)
        else:
            spec = work_dir / "job.json"
            (work_dir / ERROR_FILE).unlink(missing_ok=True)
            spec.write_text(job.model_dump_json(indent=1), encoding="utf-8")
            engine = stage.params.engine
            command = launch_command(
                "tasks.train_worker", [str(spec)], processes=engine.processes, hostfile=engine.hostfile
            )
            result = subprocess.run(
                command, env=os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
            )
            if result.returncode:
                raise _what_ended(stage.run_name, work_dir / ERROR_FILE, result.returncode)
        shutil.copy(work_dir / TRAINED_ROWS_FILE, rows_file)
        curve_file.write_text(_as_plotted(work_dir / "curve.jsonl"), encoding="utf-8")
    summary = json.loads((work_dir / "summary.json").read_text(encoding="utf-8"))
    stage.facts |= summary
    speeds = [json.loads(line)["tokens_per_s"] for line in (work_dir / "speed.jsonl").read_text("utf-8").splitlines()]
    stage.run_facts["tokens_per_s_median"] = round(statistics.median(speeds), 1) if speeds else None


def _what_ended(run_name: str, mistake: Path, exit_code: int) -> BaseException:
    """The exception for the launcher's failure: the user's mistake, a worker that was ended by a signal, or anything else.
    The stage ends with it, and the flow decides by that whether to retry (flows/failures.py)."""
    exit_code = 128 - exit_code if exit_code < 0 else exit_code
    why = mistake.read_text(encoding="utf-8") if mistake.exists() else "messages above"
    message = (
        f"training of {run_name} failed in a worker (exit code {exit_code}): {why}; started again, it goes on from its last "
        "whole checkpoint"
    )
    if mistake.exists():
        return ValueError(message)
    if exit_code > 128:
        print(f"tasks.train: {message}", file=sys.stderr)
        return SystemExit(exit_code)
    return RuntimeError(message)


def _as_plotted(curve: Path) -> str:
    """The points of a curve in the form that `dvc plots` draws: one JSON list, every point with the same keys."""
    points = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    keys = dict.fromkeys(key for point in points for key in point)
    return "[\n" + ",\n".join(json.dumps({key: point.get(key) for key in keys}) for point in points) + "\n]\n"


if __name__ == "__main__":
    stage_main("train", run)
