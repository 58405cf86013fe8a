"""The flow's graph is DVC's: nothing of it is written a second time."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flows.flow import _run
from flows.graph import Graph, StageNode, read_graph
from flows.parameters import Limits, PipelineParameters, make_plan
from tests.flows.project import STAGES, make_project
from tests.running import git

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def graph() -> Graph:
    return read_graph(ROOT)


def test_the_plan_of_the_real_dvc_yaml_has_the_stages_and_edges_of_dvcs_own_graph(graph: Graph) -> None:
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        expected = {
            stage.name: {upstream.name for upstream in repo.index.graph.successors(stage)}
            for stage in repo.index.graph.nodes
        }
    assert {name: set(stage.upstream) for name, stage in graph.stages.items()} == expected


def test_stages_come_after_what_they_depend_on_and_carry_their_resource(graph: Graph) -> None:
    seen: set[str] = set()
    for stage in graph.stages.values():
        assert set(stage.upstream) <= seen
        seen.add(stage.name)
    assert graph.stages["train@gist-1"].resource == "gpu"
    assert graph.stages["sources"].resource == "net"
    assert graph.stages["rouge"].metrics == graph.stages["rouge"].uncached == ("reports/metrics.json",)


def test_a_target_brings_what_it_depends_on_and_nothing_else(graph: Graph) -> None:
    assert set(graph.select(["train@gist-1"]).stages) == {"sources", "alpaca_plus", "base_model", "train@gist-1"}
    assert {"train@gist-1", "train@pos_control"} <= set(graph.select(["train"]).stages)
    of_run = graph.select(runs=["neg_control"]).stages
    assert "generate@neg_control" in of_run
    assert "train@gist-1" not in of_run
    assert "report" not in of_run


def test_everything_that_does_not_exist_is_named_in_one_message() -> None:
    asked = PipelineParameters(targets=("trian@gist-1",), runs=("gist-7",), timeouts_s={"gpus": 5})
    with pytest.raises(ValueError, match="trian@gist-1") as error:
        make_plan(ROOT, asked)
    for part in ("did you mean train@gist-1", "no run 'gist-7'", "timeouts_s names 'gpus'"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"limits": {"gpu": 0}}, "limits.gpu"), ({"limits": {"tpu": 1}}, "limits.tpu"), ({"dispatch": "mars"}, "dispatch"),
     ({"timeouts_s": {"gpu": -1}}, "timeouts_s.gpu"), ({"target": ["report"]}, "target")],
)  # fmt: skip
def test_parameters_are_checked_before_anything_starts(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PipelineParameters.checked(**values)


def test_time_outs_go_by_stage_then_resource_then_dvc_yaml(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    text = (project.root / "dvc.yaml").read_text()
    (project.root / "dvc.yaml").write_text(text.replace("meta: {resource: api}", "meta: {resource: api, timeout_s: 7}"))
    plan = make_plan(project.root, PipelineParameters(timeouts_s={"gpu": 5, "train@a": 3}))
    assert len(plan.graph.stages) == STAGES
    timeouts = (plan.timeouts_s[name] for name in ("train@a", "train@b", "judge", "fetch"))
    assert tuple(timeouts) == (3, 5, 7, None)


@pytest.mark.parametrize("meta", ["{resource: tpu}", "{resource: cpu, timeout_s: soon}", "{alone: perhaps}"])
def test_a_wrong_meta_is_refused(tmp_path: Path, meta: str) -> None:
    project = make_project(tmp_path / "project")
    text = (project.root / "dvc.yaml").read_text()
    (project.root / "dvc.yaml").write_text(text.replace("meta: {resource: api}", f"meta: {meta}"))
    with pytest.raises(ValueError, match="stage judge: meta"):
        read_graph(project.root)


def test_overrides_reach_the_graph_and_wrong_ones_leave_params_as_they_were(tmp_path: Path) -> None:
    for folder in ("conf", ".dvc"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("cache", "tmp"))
    for file in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / file, tmp_path / file)
    git(tmp_path, "init", "-q")
    before = (tmp_path / "params.yaml").read_bytes()
    for wrong in (("train.stepz=3",), ("train.steps=3", "train.steps=none")):
        with pytest.raises(ValueError, match="step"):
            make_plan(tmp_path, PipelineParameters(overrides=wrong))
    with pytest.raises(ValueError, match="nowhere"):
        make_plan(tmp_path, PipelineParameters(overrides=("train.steps=3",), targets=("nowhere",)))
    assert (tmp_path / "params.yaml").read_bytes() == before
    (tmp_path / "params.yaml").write_bytes(before.replace(b"  steps: ", b"  stepz: "))
    with pytest.raises(ValueError, match=r"(?s)train\.steps: .*train\.stepz: "):
        make_plan(tmp_path, PipelineParameters())
    (tmp_path / "params.yaml").write_bytes(before)
    without_start = "+runs.gist-2={condition: gist, num_gist_tokens: 2}"
    with pytest.raises(ValueError, match=r"runs.gist-2.start: Field required"):
        make_plan(tmp_path, PipelineParameters(overrides=(without_start,)))
    from_nowhere = "+runs.gist-2={condition: gist, num_gist_tokens: 2, start: data/models/gist-3}"
    with pytest.raises(ValueError, match=r"runs.gist-2.start names the run 'gist-3', which is not one of pos_control"):
        make_plan(tmp_path, PipelineParameters(overrides=(from_nowhere,)))
    circle = ("runs.pos_control.start=data/models/gist-1", "runs.gist-1.start=data/models/pos_control")
    with pytest.raises(ValueError, match=r"runs.gist-1.start leads in a circle: gist-1 -> pos_control -> gist-1"):
        make_plan(tmp_path, PipelineParameters(overrides=circle))
    taught = ("runs.gist-1.start=data/models/neg_control", "+runs.gist-1.teacher_weight=0.5")
    with pytest.raises(ValueError, match=r"its start 'neg_control' is no pos_control run"):
        make_plan(tmp_path, PipelineParameters(overrides=taught))
    new_run = "+runs.gist-2={condition: gist, num_gist_tokens: 2, start: data/models/pos_control}"
    plan = make_plan(tmp_path, PipelineParameters(overrides=(new_run,), targets=("train@gist-2",)))
    assert plan.graph.stages["train@gist-2"].upstream == ("alpaca_plus", "train@pos_control")
    assert list(plan.graph.stages)[-2:] == ["train@pos_control", "train@gist-2"]
    assert (tmp_path / "params.yaml").read_bytes() == before, "a plan writes nothing"
    plan.put_params()
    assert "gist-2" in (tmp_path / "params.yaml").read_text()
    assert read_graph(tmp_path) == read_graph(tmp_path, tmp_path / "params.yaml")


def test_pull_and_push_need_a_remote(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    with pytest.raises(ValueError, match="dvc remote add"):
        make_plan(project.root, PipelineParameters(push=True))
    (project.root / ".dvc/config").write_text("[core]\n    remote = nope\n")
    with pytest.raises(ValueError, match=r"the DVC remote cannot be used: .*nope"):
        make_plan(project.root, PipelineParameters(push=True))


def test_what_the_pools_refuse_leaves_params_as_they_were(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    plan = make_plan(project.root, PipelineParameters())
    (project.root / "work.py").open("a").write("# changed\n")
    with pytest.raises(ValueError, match=r"has changes in work\.py"):
        _run(replace(plan, parameters=PipelineParameters(dispatch="pools"), params="runs: [other]\n"))
    assert (project.root / "params.yaml").read_text() == "runs: [a, b, c]\n"


def test_limits_have_defaults_for_one_machine() -> None:
    assert [Limits().of(resource) for resource in ("gpu", "cpu", "net", "api")] == [1, 2, 1, 1]
    assert StageNode("sub/dvc.yaml:clean@a", "cpu").run == "a"
