"""The parameters of a pipeline run, typed and checked before anything starts, and the plan that follows from them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from flows.graph import RESOURCES, Graph, read_graph

Dispatch = Literal["here", "pools"]


class Limits(BaseModel):
    """How many stages of a resource may run at the same time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: PositiveInt = 1
    cpu: PositiveInt = 2
    net: PositiveInt = 1
    api: PositiveInt = 1

    def of(self, resource: str) -> int:
        return int(getattr(self, resource))


class PipelineParameters(BaseModel):
    """What one run of the pipeline is asked to do.

    targets: stages to make, with all they depend on; none means all of them.
    runs: keep to these runs of the matrix stages.
    overrides: Hydra overrides, composed into params.yaml as `gist params` does it.
    force: run stages although they are up to date.
    pull: fetch what is missing from the DVC remote first; push: send what was made there.
    limits: stages at the same time, per resource.
    timeouts_s: seconds after which a stage is stopped, by stage name or by resource; before `meta.timeout_s`.
    dispatch: "here" runs the stages in this process's machine; "pools" on the work pool of their resource.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    force: bool = False
    pull: bool = False
    push: bool = False
    limits: Limits = Field(default_factory=Limits)
    timeouts_s: dict[str, PositiveFloat] = {}
    dispatch: Dispatch = "here"

    @classmethod
    def checked(cls, **values: object) -> "PipelineParameters":
        """Builds the parameters. Raises ValueError that names every wrong value, not a pydantic error."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r:.80})" for e in error.errors()]
            raise ValueError("; ".join(lines)) from None


@dataclass(frozen=True)
class Plan:
    """What will run: the chosen part of the graph, and the time-out of each stage in seconds (None: no limit)."""

    root: Path
    parameters: PipelineParameters
    graph: Graph
    timeouts_s: dict[str, float | None]


def make_plan(root: Path, parameters: PipelineParameters) -> Plan:
    """Composes the overrides into params.yaml, reads the graph and chooses the stages.

    Raises:
        ValueError: an override, stage, run or time-out that does not exist, or no DVC remote where one is needed. All
            of them are named, and params.yaml is left as it was.
    """
    params_file = root / "params.yaml"
    before = params_file.read_bytes() if params_file.is_file() else None
    try:
        return _plan(root, parameters)
    except ValueError:
        if parameters.overrides and before is not None:
            params_file.write_bytes(before)
        raise


def _plan(root: Path, parameters: PipelineParameters) -> Plan:
    from tasks.compose import compose_params

    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    if parameters.overrides:
        compose_params(parameters.overrides, conf=root / "conf", output=root / "params.yaml")
    whole = read_graph(root)
    problems = []
    graph = whole
    try:
        graph = whole.select(parameters.targets, parameters.runs)
    except ValueError as error:
        problems.append(str(error))
    for key in parameters.timeouts_s:
        if key not in RESOURCES and key not in whole.stages:
            problems.append(
                f"timeouts_s names {key!r}, which is neither a resource ({', '.join(RESOURCES)}) nor a stage"
            )
    if parameters.pull or parameters.push or parameters.dispatch == "pools":
        problems += _remote_problems(root)
    if problems:
        raise ValueError("; ".join(problems))
    given = parameters.timeouts_s
    timeouts = {s.name: given.get(s.name, given.get(s.resource, s.timeout_s)) for s in graph.stages.values()}
    return Plan(root, parameters, graph, timeouts)


def _remote_problems(root: Path) -> list[str]:
    from dvc.config import NoRemoteError
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        try:
            repo.cloud.get_remote_odb()
        except NoRemoteError:
            return ["pull, push and dispatch to pools need a DVC remote: `dvc remote add --default NAME URL`"]
    return []
