"""A small DVC project with a dozen quick stages, in a folder of its own: the flow must work on any DVC graph.

Each stage runs `work.py`, which records when it started and ended in `events/`, obeys what `orders/STAGE` tells it
("sleep 3", "fail once", "exit 2", "hang", ...), and writes its out from its name and its dependencies alone."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.running import environment, git, make_repository

WORK = """
import hashlib, json, os, pathlib, subprocess, sys, time
name, out, *deps = sys.argv[1:]
orders = pathlib.Path("orders") / name
events = pathlib.Path(os.environ.get("EVENTS", "events"))
events.mkdir(parents=True, exist_ok=True)
stamp = time.time()
event = events / f"{name}.{os.getpid()}.json"
event.write_text(json.dumps({"stage": name, "start": stamp, "pid": os.getpid(), "cwd": os.getcwd()}))
order = orders.read_text().split() if orders.exists() else []
print(f"{name}: working", flush=True)
if order[:1] == ["sleep"]:
    time.sleep(float(order[1]))
elif order[:1] == ["meet"]:  # goes on when another stage has started: the two run at the same time, or not at all
    deadline = time.time() + 600
    while not any(events.glob(f"{order[1]}.*.json")):
        if time.time() > deadline:
            sys.exit(f"{order[1]} did not start")
        time.sleep(0.1)
elif order[:2] == ["fail", "once"]:
    orders.unlink()
    sys.exit("error 503: the other side is not there yet")
elif order[:1] == ["exit"]:
    print(f"{name}: that parameter is wrong", flush=True)
    sys.exit(int(order[1]))
elif order[:1] == ["memory"]:
    sys.exit("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
elif order[:1] == ["hang"]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (events / f"{name}.child").write_text(str(child.pid))
    time.sleep(600)
elif order[:1] == ["suicide"]:
    orders.unlink()
    os.kill(os.getpid(), 9)
digest = hashlib.sha256(name.encode())
for dep in deps:
    digest.update(pathlib.Path(dep).read_bytes())
path = pathlib.Path(out)
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(json.dumps({"stage": name, "value": digest.hexdigest()}))
facts = {"stage": name, "start": stamp, "end": time.time(), "pid": os.getpid(), "cwd": os.getcwd()}
facts["started_by"] = [os.environ["GIST_FLOW_RUN"], os.environ["GIST_TASK_RUN"]] if "GIST_FLOW_RUN" in os.environ else None
event.write_text(json.dumps(facts))
"""

DVC_YAML = """
stages:
  fetch:
    meta: {resource: net}
    cmd: python work.py fetch out/fetch.json
    deps: [work.py]
    outs: [out/fetch.json]
  weights:
    meta: {resource: net}
    cmd: python work.py weights out/weights.json
    deps: [work.py]
    outs: [out/weights.json]
  split:
    meta: {resource: cpu}
    cmd: python work.py split out/split.json out/fetch.json
    deps: [work.py, out/fetch.json]
    outs: [out/split.json]
  train:
    meta: {resource: gpu}
    matrix: {run: "${runs}"}
    cmd: python work.py train@${item.run} out/model/${item.run}.json out/split.json out/weights.json
    deps: [work.py, out/split.json, out/weights.json]
    outs:
      - out/model/${item.run}.json
  check:
    meta: {resource: cpu}
    matrix: {run: "${runs}"}
    cmd: python work.py check@${item.run} out/check/${item.run}.json out/model/${item.run}.json
    deps:
      - work.py
      - out/model/${item.run}.json
    outs:
      - out/check/${item.run}.json
  judge:
    meta: {resource: api}
    cmd: python work.py judge judge.json out/check/a.json out/check/b.json out/check/c.json
    deps: [work.py, out/check]
    metrics:
      - judge.json: {cache: false}
  count:
    meta: {resource: cpu}
    cmd: python work.py count out/count.json out/split.json
    deps: [work.py, out/split.json]
    outs: [out/count.json]
  report:
    meta: {resource: cpu}
    cmd: python work.py report report.html judge.json out/count.json
    deps: [work.py, judge.json, out/count.json]
    outs:
      - report.html: {cache: false}
"""
STAGES = 12


@dataclass(frozen=True)
class Project:
    """A project folder that tests order about."""

    root: Path

    def order(self, stage: str, order: str) -> None:
        (self.root / "orders").mkdir(exist_ok=True)
        (self.root / "orders" / stage).write_text(order)

    def events(self, stage: str | None = None, folder: Path | None = None) -> list[dict[str, Any]]:
        """The executions of stages so far, by start."""
        files = sorted((folder or self.root / "events").glob("*.json"))
        events = [json.loads(file.read_text() or "{}") for file in files]
        return sorted((e for e in events if e and stage in (None, e["stage"])), key=lambda e: e["start"])

    def lock(self) -> str:
        return (self.root / "dvc.lock").read_text()

    def dvc(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=self.root, env=environment(), capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


def make_project(root: Path) -> Project:
    """A committed git and DVC repository at `root`, nothing run yet."""
    root.mkdir(parents=True)
    (root / "work.py").write_text(WORK)
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "params.yaml").write_text("runs: [a, b, c]\n")
    (root / ".gitignore").write_text("events/\norders/\n.work/\n/out\n")
    make_repository(root)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "A dozen quick stages")
    return Project(root)
