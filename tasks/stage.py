"""What every stage has in common: one process per stage, its declared inputs and outs, and its statement.

A task module defines `run(stage)` and ends with `stage_main("name", run)`. The stage
- finds its dependencies, outs and parameters in dvc.yaml (through DVC's own reader), so that they are written only once;
- holds `.work/locks/NAME.lock`, and dies with the `dvc repro` or flow that started it;
- puts each out in place as a whole, by a rename; keeps work in progress under `.work/`, keyed by all that determines it,
  until DVC has recorded the result (tasks/work.py);
- writes its statement (gist_core/lineage) after its outs, and then a line in the run log.
"""

import argparse
import errno
import os
import resource
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from gist_core.lineage.environment import LOCK_FILE, environment
from gist_core.lineage.hashing import (
    Artifact,
    digest_path,
    files_under,
    md5_of_bytes,
    sha256_of_json,
    sha256_of_path,
)
from gist_core.lineage.runlog import Stopwatch, append_run
from gist_core.lineage.source import source_state
from gist_core.lineage.statement import write_statement
from tasks import paths
from tasks.code import undeclared_code
from tasks.collector import collect_rarely
from tasks.locks import held
from tasks.params import Params, load_params
from tasks.parent import die_with_parent
from tasks.sections import RunParams
from tasks.work import Work

# Environment variables that can change a stage's result; they belong to its statement.
RESULT_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUBLAS_WORKSPACE_CONFIG",
    "DS_ACCELERATOR",
    "PYTHONHASHSEED",
    "TOKENIZERS_PARALLELISM",
)
# Those that only say who started the stage, or where it runs; they belong to the run log.
RUN_VARIABLES = (
    "PREFECT__FLOW_RUN_ID",
    "GIST_FLOW_RUN",
    "GIST_TASK_RUN",
    "CUDA_VISIBLE_DEVICES",
)

TRY_LATER = 75  # EX_TEMPFAIL of sysexits.h: not a mistake, so the flow tries a stage of net or api again
NOT_USABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Stage:
    """One stage of dvc.yaml, as its own process sees it.

    name: the stage's name in dvc.yaml, with the run for a matrix stage, e.g. "train@gist-1".
    params: all of params.yaml; a stage may use only the keys that dvc.yaml declares for it.
    facts: what the statement should record besides inputs, outputs and parameters (seeds, the name that the judge's server
        gave its model, ...): JSON, and the same for every execution on the same inputs.
    run_facts: what varies from one execution to the next (speed); it goes to the run log.
    """

    def __init__(self, name: str, root: Path, command: list[str]) -> None:
        self.name = name
        self.run_name = name.partition("@")[2]  # "" for a stage that is no matrix
        self.root = root
        self.command = command
        self._work = Work(root, name)
        self._parameter_files = self._stamps("params.yaml", "dvc.yaml")  # before anything is read from them
        self.params: Params = load_params(root / "params.yaml")
        known = [*self.params.runs, *self.params.baselines]
        if self.run_name and self.run_name not in known:
            raise ValueError(
                f"there is no run {self.run_name!r}; params.yaml has, under `runs:` and `baselines:`, {', '.join(known)}"
            )
        self.facts: dict[str, Any] = {}
        self.run_facts: dict[str, Any] = {}
        self._declared = _declaration(root, name)

    @property
    def run_params(self) -> RunParams:
        """The parameters of this stage's trained run."""
        return self.params.runs[self.run_name]

    @cached_property
    def inputs(self) -> dict[str, Artifact]:
        """Every declared dependency (files and folders) as it was when first asked for, by path."""
        return {path: digest_path(self.root / path) for path in self._declared["deps"]}

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The declared parameters with their values, as dvc.yaml names them."""
        values = self.params.model_dump(mode="json")
        return {key: _lookup(values, key) for key in self._declared["params"]}

    def dep(self, path: Path) -> Path:
        """The absolute path of a dependency. Raises ValueError if dvc.yaml does not declare it or it is missing."""
        inside = [declared for declared in self._declared["deps"] if path.is_relative_to(declared)]
        if not inside:
            raise ValueError(f"stage {self.name} reads {path}, which dvc.yaml does not declare among its deps")
        if not (self.root / path).exists():
            raise ValueError(
                f"stage {self.name} needs {path}, which is missing; `dvc repro {self.name}` makes what a stage makes"
            )
        return self.root / path

    @contextmanager
    def out(self, path: Path) -> Iterator[Path]:
        """A temporary path for an out (a file, or a folder that you create); renamed to `path` if the block ends well.

        Raises:
            ValueError: dvc.yaml does not declare the out, its folder cannot be written, or it is on another file system
                than `.work`, so that a rename is impossible.
        """
        if str(path) not in self._declared["outs"]:
            raise ValueError(f"stage {self.name} writes {path}, which dvc.yaml does not declare among its outs")
        final = self.root / path
        temporary = self.root / paths.WORK / "outs" / self.name / path
        try:
            _remove(temporary)
            temporary.parent.mkdir(parents=True, exist_ok=True)
            final.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"stage {self.name} cannot write {error.filename}: {error.strerror}") from None
        if temporary.parent.stat().st_dev != final.parent.stat().st_dev:
            raise ValueError(
                f"{final.parent} and {temporary.parent} are on two file systems, so that an out cannot be put in place by "
                "a rename; keep the whole project on one (DVC's cache may lie elsewhere: `dvc cache dir`)"
            )
        yield temporary
        if not temporary.exists():
            raise RuntimeError(f"stage {self.name} left nothing at {temporary}")
        _remove(final)
        os.replace(temporary, final)

    @cached_property
    def device(self) -> str:
        """Where the stage computes: "cuda" if its resource is gpu and there is a GPU, else "cpu"."""
        if self._declared["resource"] != "gpu":
            return "cpu"
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def work_dir(self) -> Path:
        """A folder for work in progress that outlives a kill (tasks/work.py), by a hash of the stage's inputs (data and code),
        parameters, device and locked environment. An execution that differs in one of them never finds this folder. It is
        removed once DVC has recorded what the stage made."""
        lock = self.root / LOCK_FILE
        made_with = [self.device, sha256_of_path(lock) if lock.is_file() else None]
        inputs = {path: artifact.sha256 for path, artifact in self.inputs.items()}
        return self._work.folder(sha256_of_json([inputs, self.parameters, made_with])[:16])

    @cached_property
    def progress_file(self) -> Path:
        """Where the stage may write how far it is, {"done": int, "total": int}; the flow shows it (flows/artifacts.py)."""
        file = self.root / paths.WORK / "progress" / f"{self.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def _execute(self, run: Callable[["Stage"], None]) -> None:
        busy = f"stage {self.name} is already running in process {{}}; wait for it or stop it"
        with held(self.root / paths.WORK / "locks", self.name, busy):
            self._refuse_undeclared_code()
            self._work.remove_recorded(self._declared["cache"])
            watch = Stopwatch.start()
            as_they_are = self._parameter_files | self._stamps(*self._declared["deps"])
            for path in self._declared["deps"]:
                self.dep(Path(path))  # refuses one that is missing
            inputs = self.inputs
            source = source_state(self.root).as_json()
            variables = {name: os.environ[name] for name in RESULT_VARIABLES if name in os.environ}
            around = environment(self.root, variables)
            run(self)
            self._refuse_changes(as_they_are)
            self._state(inputs, source, around)
            self._log(watch, source)
            self._work.note_made(md5_of_bytes((self.root / self._statement).read_bytes()))

    def _stamps(self, *named: str) -> dict[str, Any]:
        """A cheap sign of whether files or folders were written to: sizes and modification times, by path."""
        stamps: dict[str, Any] = {}
        for path in named:
            whole = self.root / path
            files = [whole / name for name in files_under(whole)] if whole.is_dir() else [whole]
            stamps[path] = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
        return stamps

    def _refuse_changes(self, as_they_were: dict[str, Any]) -> None:
        """Refuses changes during the run: DVC records dependencies and parameters after a stage has ended, but the stage
        read them before.

        Raises:
            ValueError: one of them is not what the stage worked with.
        """
        touched = {path for path, stamp in self._stamps(*as_they_were).items() if stamp != as_they_were[path]}
        changed = [
            path
            for path in sorted(touched & set(self._declared["deps"]))
            if not (self.root / path).exists() or digest_path(self.root / path).sha256 != self.inputs[path].sha256
        ]
        if touched & {"params.yaml", "dvc.yaml"}:
            now, before = _declaration(self.root, self.name)["written"], self._declared["written"]
            changed += [f"{key} in params.yaml" for key in before | now if before.get(key) != now.get(key)]
        if changed:
            raise ValueError(
                f"changed while stage {self.name} ran: {', '.join(changed)}; DVC would take what the stage made for made with "
                "that. Put it back and start again, and finished work is taken up; or start again with it as it is now"
            )

    def _refuse_undeclared_code(self) -> None:
        task = self.name.partition("@")[0]
        if (self.root / "tasks" / f"{task}.py").is_file() and (
            code := undeclared_code(self.root, task, self._declared["deps"])
        ):
            raise ValueError(
                f"stage {self.name} runs {', '.join(code)}, which dvc.yaml does not name among its deps: a change there would "
                "not run it again. Add it there"
            )

    def _state(self, inputs: dict[str, Artifact], source: dict[str, Any], around: dict[str, Any]) -> None:
        with self.out(self._statement) as target:
            write_statement(
                target,
                root=self.root,
                stage=self.name,
                command=self.command,
                inputs=inputs,
                outputs={
                    path: digest_path(self.root / path)
                    for path in self._declared["outs"]
                    if path != str(self._statement)
                },
                parameters=self.parameters,
                written=self._declared["written"],
                facts=self.facts,
                source=source,
                environment=around,
                not_reproducible=self._why_not_reproducible(),
            )

    def _log(self, watch: Stopwatch, source: dict[str, Any]) -> None:
        started_by = {name: os.environ[name] for name in RUN_VARIABLES if name in os.environ}
        record = {
            "stage": self.name,
            "statement": sha256_of_path(self.root / self._statement),
            "commit": source["commit"],
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started_by": started_by,
            "peak_memory_mib": _peak_memory_mib(),
            "facts": self.run_facts,
        }
        record |= watch.read()
        for root in {self.root, paths.project_of(self.root)}:  # a copy is removed, and the clone of a night may be
            append_run(root, record)

    @property
    def _statement(self) -> Path:
        return paths.STATEMENTS / f"{self.name}.json"

    def _why_not_reproducible(self) -> str | None:
        """Why the same bytes cannot be expected from another run; None if they can."""
        if self.name.startswith("benchmark"):
            return "it measures time and memory, which no run repeats exactly"
        if self.device != "cpu":
            return f"it ran on a GPU ({self.facts.get('device', self.device)}), whose kernels may add in another order"
        if self.facts.get("processes", 1) > 1:
            return f"it ran in {self.facts['processes']} processes, which may add in another order"
        if self._declared["resource"] == "api" and self.params.judge.provider != "reference_rule":
            judge = f"{self.params.judge.model} ({self.params.judge.provider})"
            return f"the judge {judge} is a remote service that may answer otherwise"
        return None


def stage_main(name: str, run: Callable[[Stage], None]) -> None:
    """Entry point of a task module: `python -m tasks.NAME [--run RUN]`. The exit code is 2 for a user's mistake (a full disk or
    a file without permission is one), TRY_LATER if somebody else's server does not answer, and 130 after Ctrl-C."""
    collect_rarely()
    module = sys.modules[run.__module__]
    parser = argparse.ArgumentParser(
        prog=f"python -m tasks.{name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", help="of a matrix stage: a name under `runs:` or `baselines:` in params.yaml")
    args = parser.parse_args()
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the progress bars of every library
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    die_with_parent()
    command = ["python", "-m", f"tasks.{name}", *(["--run", args.run] if args.run else [])]
    try:
        Stage(f"{name}@{args.run}" if args.run else name, Path.cwd(), command)._execute(run)
    except ValueError as error:
        print(f"tasks.{name}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ConnectionError as error:
        print(f"tasks.{name}: {error}", file=sys.stderr)
        raise SystemExit(TRY_LATER) from None
    except OSError as error:
        if error.errno not in NOT_USABLE:
            raise
        where = error.filename2 or error.filename or f"a file of this stage in {Path.cwd()}"
        print(f"tasks.{name}: {where} cannot be used: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"tasks.{name}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _declaration(root: Path, name: str) -> dict[str, Any]:
    """The stage's dependencies, outs, parameter keys (and their values as written in params.yaml) and resource as dvc.yaml
    declares them, templates resolved; and the folder in which DVC keeps files by their MD5."""
    from dvc.dependency.param import ParamsDependency
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            stage = repo.stage.load_one(str(root / "dvc.yaml"), name)
            sections = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
            params = [key for section in sections for key in section.params]
            written = {key: value for section in sections for key, value in section.read_params().items()}
            deps = [dep.def_path for dep in stage.deps if not isinstance(dep, ParamsDependency)]
            resource = (stage.meta or {}).get("resource", "cpu")
            outs = [out.def_path for out in stage.outs]
            cache = Path(repo.cache.local.path)
            return {
                "deps": deps,
                "outs": outs,
                "params": params,
                "written": written,
                "resource": resource,
                "cache": cache,
            }
    except DvcException as error:
        hint = (
            "runs, baselines, judged_runs or benchmarked_runs in params.yaml lists the runs that have it"
            if "@" in name
            else "a stage that dvc.yaml has for each of many runs needs --run RUN"
        )
        raise ValueError(f"stage {name} cannot be read from {root / 'dvc.yaml'}: {error}; {hint}") from None


def _peak_memory_mib() -> int:
    """Largest resident memory of this process or of one that it started (Linux counts in KiB, macOS in bytes)."""
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return largest >> (20 if sys.platform == "darwin" else 10)


def _lookup(values: dict[str, Any], dotted: str) -> Any:
    node: Any = values
    for part in dotted.split("."):
        node = node[part]
    return node


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
