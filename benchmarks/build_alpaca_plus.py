"""How long building Alpaca+ takes, compared with reading the same sources by json.loads, and how much memory it needs.

    python benchmarks/build_alpaca_plus.py                      # made-up rows of the real lengths
    python benchmarks/build_alpaca_plus.py --folder FOLDER      # a folder with upstream files (and a stand-in)

The yardstick is `json.loads` of every line of the JSON Lines files and of the whole Alpaca file, with the text in memory.
The build is everything from opening the sources to closing the Parquet files: parsing, checks, the split, the proof (where
the sources are exact), row ids. Not part of it are gathering the sources (hashing and copying, not timed) and the facts (timed
apart). Each repeat is a process of its own; its imports (about a second, mostly `datasets`) are timed apart as well."""

import argparse
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

AIM_RATIO = 5.0
AIM_MIB = 1024
NUM_ROWS = 130_000


def main() -> None:
    """Prints one table; exits 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder with the upstream files and a stand-in")
    parser.add_argument("--stand-in", default="multi_input_instances.jsonl", help="plays Self-Instruct with --folder")
    parser.add_argument("--rows", type=int, default=NUM_ROWS, help="made-up rows, without --folder")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        gathered = _gather(folder / "sources", folder / "files", args)
        context = multiprocessing.get_context("spawn")
        runs: list[dict[str, float]] = []
        for _ in range(args.repeats):
            with context.Pool(1) as pool:
                runs.append(pool.apply(measure, (folder / "sources", folder / "out")))
    best = {name: min(run[name] for run in runs) for name in runs[0]}
    ratio = min(run["build_cpu_s"] / run["json_cpu_s"] for run in runs)
    ratios = sorted(run["build_cpu_s"] / run["json_cpu_s"] for run in runs)
    median = ratios[len(ratios) // 2]
    wall = sorted(run["build_s"] / run["json_s"] for run in runs)[len(runs) // 2]
    peak = max(run["peak_mib"] for run in runs)
    print(f"{best['rows']:,.0f} rows from {gathered}; best of {args.repeats} runs unless said otherwise")
    print(f"  json.loads of the sources   {best['json_s']:6.2f} s   ({best['json_cpu_s']:.2f} s of CPU)")
    print(f"  build, sources to Parquet   {best['build_s']:6.2f} s   ({best['build_cpu_s']:.2f} s of CPU)")
    print(
        f"  ratio, CPU time             {median:6.2f}     median of the runs, lowest {ratio:.2f}; aim: at most {AIM_RATIO:g}"
    )
    print(f"  ratio, wall time            {wall:6.2f}     median of the runs")
    print(f"  peak memory                 {peak:6.0f} MiB of the process, highest; aim: below {AIM_MIB}")
    print(
        f"  facts                       {best['facts_s']:6.2f} s   imports {best['import_s']:.2f} s (neither in the ratio)"
    )
    if median > AIM_RATIO or peak >= AIM_MIB:
        raise SystemExit(1)


def measure(sources: Path, out: Path) -> dict[str, float]:
    """One repeat, in a fresh process. Times in seconds, memory in MiB."""
    started = time.perf_counter()
    import datasets  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from gist_core.data.assemble import build_from_folder, write_splits
    from gist_core.data.facts import facts_of
    from gist_core.data.sources import read_manifest

    import_s = time.perf_counter() - started
    texts = [(f.name, (sources / f.name).read_text(encoding="utf-8")) for f in read_manifest(sources).files]
    lines = {name: text.splitlines() for name, text in texts if name.endswith(".jsonl")}
    wall, cpu = time.perf_counter(), time.process_time()
    parsed: list[Any] = [json.loads(text) for name, text in texts if name.endswith(".json")]
    parsed.extend([json.loads(line) for line in found] for found in lines.values())
    json_s, json_cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    del texts, lines, parsed

    wall, cpu = time.perf_counter(), time.process_time()
    manifest, build = build_from_folder(sources)
    write_splits(out, build)
    build_s, build_cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

    wall = time.perf_counter()
    facts_of(manifest, build, {})
    return {
        "rows": float(sum(len(getattr(build.splits, s)) for s in ("train", "seen", "unseen", "human"))),
        "import_s": import_s,
        "json_s": json_s,
        "json_cpu_s": json_cpu_s,
        "build_s": build_s,
        "build_cpu_s": build_cpu_s,
        "facts_s": time.perf_counter() - wall,
        "peak_mib": peak_mib,
    }


def _gather(sources: Path, files: Path, args: argparse.Namespace) -> str:
    """Fills the folder of sources, and returns in words where they come from."""
    from gist_core.data.sources import gather_folder
    from gist_core.data.upstream import UPSTREAM, Role

    if args.folder is not None:
        gather_folder(sources, args.folder, {"self_instruct": args.stand_in})
        return f"the upstream files in {args.folder}, with {args.stand_in} for Self-Instruct"
    _write_made_up(files, args.rows)
    names: dict[Role, str] = {role: file.name for role, file in UPSTREAM.items()}
    gather_folder(sources, files, names)
    return "made-up sources"


def _write_made_up(folder: Path, num_rows: int) -> None:
    """Rows much like the real ones: 60 % Self-Instruct, where 15 % of the instructions have several inputs; 48 % of all rows
    without input; on average 12 words of instruction, 15 of input, 40 of output."""
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(2, 9))) for _ in range(20_000)]
    words[:20] = [f"{word}é" for word in words[:20]]  # 6 % of the rows get a character outside ASCII; in Alpaca 3 %

    def text(mean: int) -> str:
        return " ".join(generator.choices(words, k=1 + int(generator.expovariate(1 / mean))))

    def record(instruction: str, has_input: bool) -> dict[str, str]:
        return {"instruction": instruction, "input": text(15) if has_input else "", "output": text(40)}

    folder.mkdir(parents=True)
    self_instruct: list[dict[str, str]] = []
    while len(self_instruct) < 0.6 * num_rows:
        instruction = text(12)
        times = generator.randint(2, 6) if generator.random() < 0.15 else 1
        self_instruct.extend(record(instruction, times > 1 or generator.random() < 0.3) for _ in range(times))
    alpaca = [record(text(12), generator.random() < 0.4) for _ in range(num_rows - len(self_instruct) - 252)]
    tasks = [{"instruction": text(25), "instances": [{"input": text(40), "output": text(40)}]} for _ in range(252)]
    for name, records in (("all_instances_82K.jsonl", self_instruct), ("user_oriented_instructions.jsonl", tasks)):
        with (folder / name).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in records)
    (folder / "alpaca_data.json").write_text(json.dumps(alpaca, indent=4), encoding="utf-8")


if __name__ == "__main__":
    main()
