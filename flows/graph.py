"""The graph of stages, read from DVC's own index. It is written once, in dvc.yaml; this module only puts it into a form
that a scheduler can use. Any DVC project will do. In a stage, `meta.resource` (net, cpu, gpu, api; cpu when absent) says
which limit or work pool it counts against, `meta.timeout_s` how long it may take at most, `meta.grace_s` how long it may
take to end once it is told to, and `meta.alone` that nothing may run beside it because it measures time."""

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.processes import GRACE_SECONDS

RESOURCES = ("net", "cpu", "gpu", "api")


@dataclass(frozen=True)
class StageNode:
    """One stage of the graph.

    name: how `dvc repro` addresses it from the root, e.g. "train@gist-1" or "sub/dvc.yaml:clean".
    upstream: names of the stages whose outs it reads.
    timeout_s: seconds after which it is stopped, or None. grace_s: seconds that it then has to end by itself. alone: no
        other stage of the flow may run at the same time.
    outs: every out, relative to the root; `uncached` are those that DVC does not keep (`cache: false`), `metrics` those
        declared as metrics. sources: what it reads that no stage makes, relative to the root.
    """

    name: str
    resource: str
    upstream: tuple[str, ...] = ()
    timeout_s: float | None = None
    grace_s: float = GRACE_SECONDS
    alone: bool = False
    outs: tuple[str, ...] = ()
    uncached: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def run(self) -> str | None:
        """The run of a matrix stage ("gist-1" of "train@gist-1")."""
        return self.name.rpartition(":")[2].partition("@")[2] or None


@dataclass(frozen=True)
class Graph:
    """All stages by name, in the order in which `dvc repro` runs them: each after the stages it depends on."""

    stages: dict[str, StageNode]

    def select(self, targets: Sequence[str] = (), runs: Sequence[str] = ()) -> "Graph":
        """The part of the graph that makes `targets`: the targets and everything they depend on.

        targets: stage names; the name of a matrix stage without a run ("train") means all its runs. Empty: every stage.
        runs: keep only these runs among the targets; without targets, all stages of these runs.

        Raises:
            ValueError: targets or runs that do not exist (all are named, with the nearest names that do), or no stage left.
        """
        by_base: dict[str, list[str]] = {}
        for name in self.stages:
            by_base.setdefault(name.partition("@")[0], []).append(name)
        problems = []
        chosen: list[str] = []
        for target in targets:
            if target in self.stages:
                chosen.append(target)
            elif target in by_base:
                chosen += by_base[target]
            else:
                problems.append(unknown("stage", target, [*self.stages, *by_base]))
        known_runs = sorted({stage.run for stage in self.stages.values() if stage.run})
        problems += [unknown("run", run, known_runs) for run in runs if run not in known_runs]
        if problems:
            raise ValueError("; ".join(problems))
        if not targets:
            chosen = list(self.stages)
        if runs:
            chosen = [
                name for name in chosen if self.stages[name].run in runs or (targets and not self.stages[name].run)
            ]
        if not chosen:
            raise ValueError(f"no stage is left: targets {', '.join(targets)} have no run among {', '.join(runs)}")
        keep = set(chosen)
        for name in reversed(list(self.stages)):
            if name in keep:
                keep.update(self.stages[name].upstream)
        return Graph({name: stage for name, stage in self.stages.items() if name in keep})


def read_graph(root: Path, params: Path | None = None) -> Graph:
    """Reads the graph of the DVC project at `root`.

    params: a file to read in place of its params.yaml: gives the graph as it would be with it, without writing anything.

    Raises:
        ValueError: no DVC project there, dvc.yaml or params.yaml cannot be read, or a stage has a wrong `meta`.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import plan_repro

    try:
        with Repo(str(root), fs=_file_system(root, params)) as repo:
            dvc_graph = repo.index.graph
            ordered = [stage for stage in plan_repro(dvc_graph) if stage.cmd]
            names = {stage: _address(stage, Path(repo.root_dir)) for stage in ordered}
            made = {Path(out.fs_path) for stage in ordered for out in stage.outs if out.protocol == "local"}
            nodes = {}
            for stage in ordered:
                outs = [
                    (out, str(Path(out.fs_path).relative_to(repo.root_dir)))
                    for out in stage.outs
                    if out.protocol == "local"
                ]
                nodes[names[stage]] = StageNode(
                    name=names[stage],
                    upstream=tuple(sorted(names[dep] for dep in dvc_graph.successors(stage) if dep in names)),
                    outs=tuple(path for _, path in outs),
                    uncached=tuple(path for out, path in outs if not out.use_cache),
                    metrics=tuple(path for out, path in outs if out.metric),
                    sources=tuple(_sources(stage, Path(repo.root_dir), made)),
                    **_meta(names[stage], stage.meta or {}),
                )
    except DvcException as error:
        raise ValueError(f"the graph of {root} cannot be read: {error}") from None
    if not nodes:
        raise ValueError(f"{root} has no stages; is there a dvc.yaml?")
    return Graph(nodes)


def _sources(stage: Any, root: Path, made: set[Path]) -> Iterator[str]:
    from dvc.dependency.param import ParamsDependency

    for dep in stage.deps:
        path = Path(dep.fs_path)
        apart = not any(path.is_relative_to(out) or out.is_relative_to(path) for out in made)
        if dep.protocol == "local" and not isinstance(dep, ParamsDependency) and apart and path.is_relative_to(root):
            yield path.relative_to(root).as_posix()


def _file_system(root: Path, params: Path | None) -> Any:
    """The file system through which DVC reads the project; None means DVC's own local one."""
    if params is None:
        return None
    from dvc.fs import LocalFileSystem

    class WithParams(LocalFileSystem):
        def open(self, path: str, *arguments: Any, **options: Any) -> Any:
            asked = Path(os.path.abspath(path))  # DVC asks for paths relative to the working directory
            return super().open(str(params) if asked == root / "params.yaml" else path, *arguments, **options)

    return WithParams()


def _address(stage: Any, root: Path) -> str:
    where = Path(stage.path).relative_to(root).as_posix()
    name = getattr(stage, "name", None)
    if name is None:
        return where
    return str(name) if where == "dvc.yaml" else f"{where}:{name}"


def _meta(name: str, meta: dict[str, Any]) -> dict[str, Any]:
    resource = meta.get("resource", "cpu")
    if resource not in RESOURCES:
        raise ValueError(f"stage {name}: meta.resource is {resource!r}; it must be one of {', '.join(RESOURCES)}")
    seconds = {key: meta[key] for key in ("timeout_s", "grace_s") if meta.get(key) is not None}
    for key, value in seconds.items():
        if not isinstance(value, int | float) or value <= 0:
            raise ValueError(f"stage {name}: meta.{key} is {value!r}; it must be a positive number of seconds")
    alone = meta.get("alone", False)
    if not isinstance(alone, bool):
        raise ValueError(f"stage {name}: meta.alone is {alone!r}; it must be true or false")
    return {"resource": resource, "alone": alone, **seconds}


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """The message for a name that is not in `known`, with the nearest names that are."""
    near = difflib.get_close_matches(name, set(known), n=3) or sorted(set(known))
    return f"there is no {what} {name!r} (did you mean {', '.join(near)}?)"
