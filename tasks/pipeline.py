"""Runs everything that is out of date and names the report: what `make pipeline` calls.

    python -m tasks.pipeline [DVC TARGET ...]

It is `dvc repro` under a lock of its own, so that a second start is refused at once, with a message, and not half-way.
"""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

from gist_core.lineage.hashing import is_counted
from tasks import paths
from tasks.hand_out import refuse_answers_in_place
from tasks.mend import mend
from tasks.only_run import only_run
from tasks.params import load_params
from tasks.pins import refuse_other_content


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tasks.pipeline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "targets", nargs="*", help="stages to bring up to date, e.g. rouge or train@gist-1 (default: all)"
    )
    parser.add_argument(
        "--dry", action="store_true", help="only say which stages would run, as far as what they read has been made"
    )
    args = parser.parse_args()
    try:
        raise SystemExit(_repro(args.targets, dry=args.dry))
    except ValueError as error:
        print(f"pipeline: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _repro(targets: list[str], *, dry: bool) -> int:
    if not Path("dvc.yaml").is_file():
        raise ValueError("there is no dvc.yaml here; run this from the project's root")
    params = load_params()
    refuse_other_content(params, Path())
    refuse_answers_in_place(Path())
    if left := _left_over({*params.runs, *params.baselines}):
        print(f"of no run any more, but read with the others: {', '.join(left)} (docs/how_to.md, Delete a run)")
    with only_run(Path()):
        mend(Path())
        started = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "dvc", "repro", *["--dry"] * dry, *targets])
        _end_with_this(process)
        code = process.wait()
    if dry:
        if code:
            print(
                "pipeline: if what a stage reads has been neither made nor pulled, DVC cannot tell whether it and those after it "
                "would run",
                file=sys.stderr,
            )
        return code
    if code:
        print(
            "pipeline: stopped before the end; once the cause is mended, the same command goes on where it was",
            file=sys.stderr,
        )
        return 128 - code if code < 0 else code
    print(f"pipeline: up to date after {time.monotonic() - started:.0f} s")
    if not targets:
        print(f"report: {paths.REPORT_HTML} (and {paths.REPORT_MD})")
    return 0


def _left_over(runs: set[str]) -> list[str]:
    """What runs that are no longer in params.yaml have left in folders that a stage reads as a whole."""
    folders = (paths.GENERATIONS, paths.JUDGE_METRICS, paths.BENCHMARK_METRICS, paths.CURVES)
    found = (path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()))
    return [str(path) for path in found if is_counted(path.name) and path.stem not in runs]


def _end_with_this(dvc: "subprocess.Popen[bytes]") -> None:
    """Ends DVC when this process is told to end; otherwise DVC would go on without the lock that is held here. A stage ends
    with DVC (tasks/parent.py). While a stage runs, DVC ignores SIGINT. The first Ctrl-C does not end DVC: a terminal sends
    it to the stage too, which ends by itself (a judge after its last calls), and DVC ends with it."""
    asked = 0 if sys.stdin and sys.stdin.isatty() else 1

    def interrupted(*_: object) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            dvc.terminate()

    signal.signal(signal.SIGTERM, lambda *_: dvc.terminate())
    signal.signal(signal.SIGINT, interrupted)


if __name__ == "__main__":
    main()
