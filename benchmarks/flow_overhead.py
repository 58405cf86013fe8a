"""What the Prefect flow costs over plain `dvc repro`: seconds at the start, and seconds per stage.

    python benchmarks/flow_overhead.py                  a chain of 12 stages that do nothing, three trials
    python benchmarks/flow_overhead.py --trials 5

The stages do nothing and run one at a time, so every second is overhead. Each trial runs the whole chain with `dvc repro`
and with `python -m flows.pipeline`, which starts a temporary server of its own; each is then run again with nothing to do.
The start is the time from the command to the end of the first stage's process.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
STAGE = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text("done")
print(time.time(), file=open("times", "a"))
"""


def make_chain(root: Path, stages: int) -> None:
    """A DVC project with `stages` stages, each depending on the one before."""
    (root / "stage.py").write_text(STAGE)
    lines = ["stages:"]
    for number in range(stages):
        needs = f", s{number - 1}" if number else ""
        lines.append(f"  s{number}: {{cmd: python stage.py s{number}, deps: [stage.py{needs}], outs: [s{number}]}}")
    (root / "dvc.yaml").write_text("\n".join(lines) + "\n")
    (root / ".gitignore").write_text(".work/\n")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=root, check=True, capture_output=True)


def clean(root: Path, stages: int) -> None:
    for name in ("dvc.lock", "times", *(f"s{number}" for number in range(stages))):
        (root / name).unlink(missing_ok=True)
    shutil.rmtree(root / ".dvc/cache", ignore_errors=True)


def timed(root: Path, command: list[str]) -> tuple[float, float | None]:
    """Seconds a command takes, and seconds from its start to the end of the first stage (None if no stage ran)."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    env |= {"PYTHONPATH": str(REPOSITORY), "DVC_NO_ANALYTICS": "1"}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    times = root / "times"
    times.unlink(missing_ok=True)
    started = time.time()
    subprocess.run([sys.executable, "-m", *command], cwd=root, env=env, check=True, capture_output=True)
    wall_s = time.time() - started
    return wall_s, (float(times.read_text().split()[0]) - started if times.is_file() else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=12, help="length of the chain")
    parser.add_argument("--trials", type=int, default=3, help="runs of each kind; medians are printed")
    args = parser.parse_args()
    commands = {"dvc repro": ["dvc", "repro"], "flow": ["flows.pipeline"]}
    walls: dict[str, list[float]] = {}
    starts: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_chain(root, args.stages)
        first, _ = timed(root, commands["flow"])
        print(f"very first run of the flow (creates the temporary server's database): {first:.1f} s", flush=True)
        for trial in range(args.trials):
            for name, command in commands.items():
                clean(root, args.stages)
                wall, start = timed(root, command)
                assert start is not None, "no stage ran"
                walls.setdefault(name, []).append(wall)
                starts.setdefault(name, []).append(start)
                walls.setdefault(f"{name}, nothing to do", []).append(timed(root, command)[0])
                print(f"trial {trial + 1}: {name} {wall:.1f} s, first stage after {start:.1f} s", flush=True)
    for name, values in walls.items():
        print(f"{name:26} median {statistics.median(values):6.2f} s of {[round(value, 2) for value in values]}")
    at_start = statistics.median(starts["flow"]) - statistics.median(starts["dvc repro"])
    whole = statistics.median(walls["flow"]) - statistics.median(walls["dvc repro"])
    print(f"overhead at the start: {at_start:.2f} s (aim: under 10)")
    print(f"overhead per stage:    {(whole - at_start) / (args.stages - 1):.2f} s (aim: under 2)")


if __name__ == "__main__":
    main()
