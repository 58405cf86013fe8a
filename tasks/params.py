"""params.yaml is read once, at the edge, and checked as a whole; all errors are reported together.

`gist params` composes it from conf/; see conf/config.yaml for what each group means."""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, model_validator

from gist_core.compressors import OF_DECODERS
from gist_core.lineage.yaml12 import parse_yaml
from gist_core.training.engine import accumulation_steps
from tasks.sections import (
    BaselineParams,
    BenchmarkParams,
    DataParams,
    EngineParams,
    GenerateParams,
    HumanEvalParams,
    JudgeParams,
    ModelParams,
    ReportParams,
    RougeParams,
    RunName,
    RunParams,
    Section,
    TrainParams,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Params(Section):
    """shape: the model's published sizes, as its config.json has them. Only `gist plan` reads it, no stage does."""

    data: DataParams
    model: ModelParams
    shape: dict[str, Any] | None = None
    train: TrainParams
    engine: EngineParams
    runs: dict[RunName, RunParams]
    baselines: dict[RunName, BaselineParams]  # {} means none; dvc.yaml cannot be read without the key
    judged_runs: list[RunName]
    benchmarked_runs: list[RunName] = Field(min_length=1)  # without its outs DVC makes no report
    generate: GenerateParams
    rouge: RougeParams
    judge: JudgeParams
    human_eval: HumanEvalParams
    benchmark: BenchmarkParams
    report: ReportParams

    @model_validator(mode="after")
    def _sections_agree(self) -> "Params":
        problems = [
            *self._problems_of_names(),
            *self._problems_of_controls(),
            *self._problems_of_runs(),
            *self._problems_of_baselines(),
            *self._problems_of_training(),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems_of_names(self) -> Iterator[str]:
        """Runs that are named and not there, or named alike."""
        trained, answering = list(self.runs), [*self.runs, *self.baselines]
        for where, names, known in (
            ("judged_runs", self.judged_runs, answering),
            ("benchmarked_runs", self.benchmarked_runs, trained),
            ("human_eval.run", [self.human_eval.run], answering),
        ):
            for run in names:
                if run not in known:
                    yield f"{where} names the run {run!r}, which is not one of {', '.join(known)}"
        for run in self.benchmarked_runs:
            if run in self.runs and (condition := self.runs[run].condition) != "gist":
                yield f"benchmarked_runs names {run}, which has no gist to cache (condition: {condition}); take gist runs"
        if "pos_control" in self.judged_runs:
            yield "judged_runs names pos_control, which every run is judged against; take it out"
        if self.human_eval.run == "pos_control":
            yield "human_eval.run names pos_control, which people compare the run with; name another one"
        elif self.human_eval.run not in self.judged_runs:
            yield (
                f"human_eval.run is {self.human_eval.run!r}, which is not under judged_runs "
                f"({', '.join(self.judged_runs)}); add it there; people are compared with the judge"
            )
        for name in self.baselines:
            if name in self.runs:
                yield f"{name} is both under runs: and under baselines:"
        for one, other in combinations(answering, 2):
            if one != other and _folded(one) == _folded(other):
                yield (
                    f"{one} and {other} differ in no more than case, - and _: on macOS their folders may be one, in Prefect "
                    "their artifacts are; rename one of them"
                )

    def _problems_of_controls(self) -> Iterator[str]:
        for control in ("pos_control", "neg_control"):
            if control not in self.runs:
                yield f"runs: has no {control}; every score is normalised between the two controls"
            elif (condition := self.runs[control].condition) != control:
                yield (
                    f"runs.{control}.condition is {condition}; every score is normalised between the two controls, so it "
                    f"must be {control}"
                )

    def _problems_of_runs(self) -> Iterator[str]:
        for one, other in combinations(self.runs, 2):
            if self._trained_as(one) == self._trained_as(other):
                yield f"runs {one} and {other} are the same training, which says nothing of seeds; give one another seed"
        for name, run in self.runs.items():
            yield from self._problems_of_start(name)
            if run.drawn_gist_tokens and self.train.batching != "packed":
                yield f"runs.{name}.drawn_gist_tokens needs train.batching: packed, not {self.train.batching}"
            if run.lora_rank is not None and self.engine.zero_stage == 3:
                yield (
                    f"runs.{name}.lora_rank needs whole weights to merge into, which ZeRO-3 divides; take engine=zero2, "
                    "where LoRA's states are small"
                )

    def _trained_as(self, name: str) -> RunParams:
        """A run with the values of `train` filled in where it has none."""
        run = self.runs[name]
        train = run.trained_with(self.train)
        return run.model_copy(update={"steps": train.steps, "learning_rate": train.learning_rate, "seed": train.seed})

    def _problems_of_start(self, name: str) -> Iterator[str]:
        passed, at = [name], name
        while (start := self.runs[at].start) != "data/base_model":
            at = start.removeprefix("data/models/")
            if at not in self.runs:
                yield f"runs.{passed[-1]}.start names the run {at!r}, which is not one of {', '.join(self.runs)}"
                return
            if at in passed:
                yield f"runs.{name}.start leads in a circle: {' -> '.join([*passed, at])}"
                return
            passed.append(at)
        if self.runs[name].teacher_weight and self.runs[passed[1]].condition != "pos_control":
            yield f"runs.{name}.teacher_weight: its start {passed[1]!r} is no pos_control run, and cannot teach it"

    def _problems_of_baselines(self) -> Iterator[str]:
        if str((self.shape or {}).get("model_type")).endswith("t5"):
            for name, baseline in self.baselines.items():
                if baseline.compressor in OF_DECODERS:
                    yield (
                        f"baselines.{name}.compressor: {baseline.compressor} asks a decoder, and {self.model.name} is none; "
                        f"leave it out: '~baselines.{name}'"
                    )

    def _problems_of_training(self) -> Iterator[str]:
        if self.train.select == "dev_loss" and not self.data.num_dev:
            yield "train.select: dev_loss needs rows held out of train: +data.num_dev=200, say"
        # With a hostfile, the slots of the machines determine the number of processes.
        processes = 1 if self.engine.hostfile else self.engine.processes
        try:
            accumulation_steps(self.train.batch_size, self.train.micro_batch_size, processes)
        except ValueError as error:
            yield str(error)


GROUPS = ("data", "model", "engine", "judge")  # sections that are chosen by name from the folders of conf/


def load_params(path: Path = Path("params.yaml"), *, called: str | None = None) -> Params:
    """Reads and checks params.yaml. called: what an error calls it; default: the path.

    Raises:
        ValueError: the file is missing, is not YAML, has wrong, missing or unknown keys, or has `???` where the user must
            give a value. All wrong keys are named.
    """
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path} does not exist here; run this from the project's root, or `gist params` to make it"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    lines = [
        f"  {key} is for you to give: {key}={key.rpartition('.')[2].upper()} (got '???')" for key in _not_given(raw)
    ]
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        lines += [f"  {told(problem)}" for problem in error.errors()]
    if lines:
        raise ValueError(f"{called or path} has {len(lines)} error(s):\n" + "\n".join(lines))
    return params


def told(problem: "ErrorDetails") -> str:
    """One error as a line. The value is left out if it is a section of many keys, whose name the line has, or an address,
    which may hold a secret."""
    if isinstance(problem["input"], str) and len(problem["loc"]) == 1 and (group := problem["loc"][0]) in GROUPS:
        return f"{group}: a name from conf/ and no section; `gist params {group}={problem['input']}` composes it"
    left_out = isinstance(problem["input"], dict) or "base_url" in problem["loc"]
    got = "" if left_out else f" (got {problem['input']!r:.80})"
    return f"{'.'.join(map(str, problem['loc'])) or 'params'}: {problem['msg'].removeprefix('Value error, ')}{got}"


def _folded(name: str) -> str:
    """A run's name as in the key of its artifacts (flows/artifacts.py), and so also without the case that a folder's name
    may lose."""
    return re.sub(r"[_-]+", "-", name.lower()).strip("-")


def _not_given(raw: object, key: str = "") -> Iterator[str]:
    """Keys whose value is `???`, which files in conf/ have where only the user knows the value."""
    if raw == "???":
        yield key
    for name, value in raw.items() if isinstance(raw, dict) else ():
        yield from _not_given(value, f"{key}.{name}" if key else str(name))
