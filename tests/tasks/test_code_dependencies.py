"""A stage runs again when code that makes its result changes: dvc.yaml names every module that the stage imports."""

import ast
import inspect
from pathlib import Path

import pytest
import yaml

from tasks import sections
from tasks.stage import NO_RESULT

ROOT = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def imported(file: Path) -> set[Path]:
    """Modules of this project that a file imports, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    paths = [ROOT / name.replace(".", "/") for name in names if name.split(".")[0] in ("gist_core", "tasks")]
    return {module for path in paths if (module := path.with_suffix(".py")).is_file()}


def closure(file: Path) -> set[str]:
    seen: set[Path] = set()
    ahead = [file]
    while ahead:
        if (here := ahead.pop()) not in seen:
            seen.add(here)
            if not here.relative_to(ROOT).as_posix().startswith(NO_RESULT):
                ahead += imported(here)
    return {path.relative_to(ROOT).as_posix() for path in seen}


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_that_a_stage_imports_is_among_its_dependencies(stage: str) -> None:
    declared = [dep for dep in STAGES[stage].get("do", STAGES[stage])["deps"] if dep.startswith(("gist_core", "tasks"))]
    code = {path for path in closure(ROOT / f"tasks/{stage}.py") if not path.startswith(NO_RESULT)}
    assert not {path for path in code if not any(path == dep or path.startswith(f"{dep}/") for dep in declared)}


# A parameter that is not in params.yaml has the default of its section, and of that DVC knows nothing.
DEFAULTS = {
    "BenchmarkParams": {"dtype": "float32"},
    "ColumnParams": {"instruction": "instruction", "input": "input", "output": "output"},
    "DataParams": {"num_dev": 0, "seed": 0},
    "EngineParams": {"offload": False, "processes": 1, "attention": "sdpa", "torch_compile": False},
    "GenerateParams": {"dtype": "float32"},
    "HumanEvalParams": {"resamples": 1000},
    "JudgeParams": {"protocol": "strict", "seed": 0, "resamples": 1000, "temperature": 0.0, "max_output_tokens": 400}
    | {"mode": "live", "output_limit_field": "max_tokens", "lost_calls": "fail"},
    "JudgePrices": {"batch_factor": 0.5},
    "ModelParams": {"dtype": "float32"},
    "RowsParams": {"dataset_split": "train"},
    "TrainParams": {"bf16": False, "select": "last"},
}
# How it is asked, and from where, changes no answer.
NO_ANSWER = {"base_url", "concurrency", "timeout_s", "max_attempts", "max_wait_s", "poll_s"}


def test_no_default_changes_unseen() -> None:
    """Another default would pass results made under the old one as current: write the new value into conf/ instead, and a
    default that is new here into this table."""
    found = {
        name: {
            key: field.default
            for key, field in section.model_fields.items()
            if not field.is_required() and field.default not in (None, [], {}) and key not in NO_ANSWER
        }
        for name, section in inspect.getmembers(sections, inspect.isclass)
        if issubclass(section, sections.Section)
    }
    del found["RowsParams"]["columns"]  # a section of its own
    assert {name: defaults for name, defaults in found.items() if defaults} == DEFAULTS
