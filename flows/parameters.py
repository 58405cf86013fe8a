"""The parameters of a pipeline run, typed and checked before anything starts, and the plan that follows from them."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError

from flows.graph import RESOURCES, Graph, read_graph
from tasks.hand_out import refuse_answers_in_place
from tasks.params import load_params, told
from tasks.pins import refuse_other_content
from tasks.sections import Section

Dispatch = Literal["here", "pools"]


class Limits(Section, strict=False):
    """How many stages of a resource may run at the same time."""

    gpu: PositiveInt = 1
    cpu: PositiveInt = 2
    net: PositiveInt = 1
    api: PositiveInt = 1

    def of(self, resource: str) -> int:
        return int(getattr(self, resource))


class PipelineParameters(Section, strict=False):
    """What one run of the pipeline is asked to do. Values may be text and JSON, as the command line and Prefect's page
    give them; they are converted.

    targets: stages to make, with all they depend on; none means all of them.
    runs: keep to these runs of the matrix stages.
    overrides: Hydra overrides, composed into params.yaml as by `gist params`.
    force: run stages even if they are up to date.
    pull: fetch what is missing from the DVC remote first; push: send what was made there.
    limits: stages at the same time, per resource.
    timeouts_s: seconds after which a stage is stopped, by stage name or by resource; takes precedence over
        `meta.timeout_s`.
    dispatch: "here" runs the stages on this machine, "pools" on the work pool of their resource.
    """

    targets: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    force: bool = False
    pull: bool = False
    push: bool = False
    limits: Limits = Field(default_factory=Limits)
    timeouts_s: dict[str, PositiveFloat] = Field(default_factory=dict)
    dispatch: Dispatch = "here"

    @classmethod
    def checked(cls, **values: object) -> "PipelineParameters":
        """Builds the parameters. Raises ValueError that names every wrong value, not a pydantic error."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ValueError("; ".join(map(told, error.errors()))) from None


@dataclass(frozen=True)
class Plan:
    """What will run: the chosen part of the whole graph, and the time-out of each stage in seconds (None: no limit).

    params: the text of params.yaml as the overrides make it; None without overrides.
    """

    root: Path
    parameters: PipelineParameters
    graph: Graph
    whole: Graph
    timeouts_s: dict[str, float | None]
    params: str | None = None

    def put_params(self) -> None:
        """Writes params.yaml, if there are overrides. Only the run that holds the clone (tasks/only_run.py) may do so."""
        if self.params is not None:
            temporary = self.root / "params.new.yaml"
            temporary.write_text(self.params, encoding="utf-8")
            temporary.replace(self.root / "params.yaml")


def make_plan(root: Path, parameters: PipelineParameters) -> Plan:
    """Composes the overrides, reads the graph as it is with them, and chooses the stages. Writes nothing in `root`.

    Raises:
        ValueError: an override, stage, run or time-out that does not exist, or no DVC remote where one is needed. All
            of them are named.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    if not parameters.overrides and (root / "conf/config.yaml").is_file():
        # params.yaml may have been edited by hand; overrides are checked when they are composed.
        refuse_other_content(load_params(root / "params.yaml"), root)
    refuse_answers_in_place(root)
    whole, params = _graph_with(root, parameters.overrides)
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
    return Plan(root, parameters, graph, whole, timeouts, params)


def _graph_with(root: Path, overrides: Sequence[str]) -> tuple[Graph, str | None]:
    """The graph with these overrides, and the params.yaml that has them."""
    from tasks.compose import compose_params

    if not overrides:
        return read_graph(root), None
    with tempfile.TemporaryDirectory() as folder:
        composed = Path(folder) / "params.yaml"
        compose_params(overrides, conf=root / "conf", output=composed)
        return read_graph(root, composed), composed.read_text(encoding="utf-8")


def _remote_problems(root: Path) -> list[str]:
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        try:
            repo.cloud.get_remote_odb()
        except NoRemoteError:
            return ["pull, push and dispatch to pools need a DVC remote: `dvc remote add --default NAME URL`"]
        except (DvcException, ImportError) as error:  # a remote that is not defined, or whose library is missing
            return [f"the DVC remote cannot be used: {error}"]
    return []
