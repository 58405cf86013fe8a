"""How long `gist lineage verify` takes on 130,000 rows and 1 GB of artifacts, against `sha256sum` on the same files.

    python benchmarks/verify_speed.py [--megabytes 1000] [--rows 130000] [--rounds 3] [--folder DIR]

Makes a project with one statement over the files and a hard-linked cache, as DVC does it, and times both in turn, with the
files in the page cache. Exits with 1 if verify takes more than 1.5 times as long as sha256sum, or reads a byte twice."""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from gist_core.lineage.environment import environment
from gist_core.lineage.hashing import Artifact, digest_path
from gist_core.lineage.statement import write_statement
from gist_core.lineage.store import FolderStore
from gist_core.lineage.verify import verify

LIMIT = 1.5
STATEMENT = "data/statements/make.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the weights (10^6 bytes)")
    parser.add_argument("--rows", type=int, default=130_000, help="rows of the data set")
    parser.add_argument("--rounds", type=int, default=3, help="timings of each; the medians are compared")
    parser.add_argument("--folder", type=Path, help="where to make the project (default: the temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder)
        files = _make(root, args.megabytes, args.rows)
        theirs, ours = [], []
        for _ in range(args.rounds):
            theirs.append(_time(lambda: _sha256sum(root, files)))
            ours.append(_time(lambda: _verify(root, files)))
        ratio = statistics.median(ours) / statistics.median(theirs)
        size = sum((root / file).stat().st_size for file in files)
        print(f"{len(files)} files, {args.rows} rows, {size / 1e6:.0f} MB, {os.cpu_count()} processors")
        print(f"sha256sum: {statistics.median(theirs):.2f} s   ({', '.join(f'{t:.2f}' for t in theirs)})")
        print(f"verify:    {statistics.median(ours):.2f} s   ({', '.join(f'{t:.2f}' for t in ours)})")
        print(f"verify takes {ratio:.2f} times as long (limit {LIMIT})")
    sys.exit(ratio > LIMIT)


def _make(root: Path, megabytes: int, rows: int) -> list[str]:
    """Weights in shards, the rows, a cache of hard links, a statement and a dvc.lock. Returns the files' paths."""
    data = root / "data" / "artifacts"
    data.mkdir(parents=True)
    block = os.urandom(10_000_000)
    for shard in range(4):
        with (data / f"model-{shard}.safetensors").open("wb") as file:
            for part in range(megabytes // 40):
                file.write((shard * 10_000 + part).to_bytes(8, "little") + block[8:])
    with (data / "train.jsonl").open("w", encoding="utf-8") as lines:
        for row in range(rows):
            row_id = hashlib.sha256(str(row).encode()).hexdigest()[:32]
            record = {"row_id": row_id, "instruction": f"Do task {row}.", "input": "word " * 10, "output": "word " * 20}
            lines.write(json.dumps(record) + "\n")
    artifact = digest_path(data)
    for name, digest in artifact.files.items():
        _cache(root, data / name, digest.md5)
    listing = [{"md5": artifact.files[name].md5, "relpath": name} for name in sorted(artifact.files)]
    (root / "listing").write_text(json.dumps(listing, sort_keys=True))
    _cache(root, root / "listing", artifact.md5)
    (root / "listing").unlink()
    _state(root, artifact)
    return [f"data/artifacts/{name}" for name in artifact.files]


def _cache(root: Path, file: Path, md5: str) -> None:
    target = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(file, target)


def _state(root: Path, artifact: Artifact) -> None:
    write_statement(
        root / STATEMENT,
        root=root,
        stage="make",
        command=["make"],
        inputs={},
        outputs={"data/artifacts": artifact},
        parameters={},
        written={},
        facts={},
        source={"commit": None, "dirty": False, "dirty_diff_sha256": None, "changed_files": {}},
        environment=environment(root, {}),
        not_reproducible=None,
    )
    own = digest_path(root / STATEMENT)
    _cache(root, root / STATEMENT, own.md5)
    outs = [
        {
            "path": "data/artifacts",
            "hash": "md5",
            "md5": artifact.md5,
            "size": artifact.size,
            "nfiles": len(artifact.files),
        },
        {"path": STATEMENT, "hash": "md5", "md5": own.md5, "size": own.size},
    ]
    lock = {"schema": "2.0", "stages": {"make": {"cmd": "make", "outs": outs}}}
    (root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def _sha256sum(root: Path, files: list[str]) -> None:
    subprocess.run(["sha256sum", *files], cwd=root, check=True, stdout=subprocess.DEVNULL)


def _verify(root: Path, files: list[str]) -> None:
    result = verify(
        root, [FolderStore(root / ".dvc/cache", "cache")], lambda _: {"make": ["data/artifacts", STATEMENT]}
    )
    size = sum((root / file).stat().st_size for file in files)
    if result.findings or result.bytes_read != size:
        sys.exit(f"read {result.bytes_read} bytes of {size}: {result.findings}")


def _time(work: object) -> float:
    assert callable(work)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    if shutil.which("sha256sum") is None:
        sys.exit("sha256sum is not installed (coreutils)")
    main()
