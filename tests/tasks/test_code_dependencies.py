"""A stage runs again when code that makes its result changes: dvc.yaml names every module that the stage imports."""

import inspect
from pathlib import Path

import pytest
import yaml

from gist_core.compressors import compressor_names
from tasks import sections
from tasks.code import undeclared_code

ROOT = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.mark.parametrize("compressor", compressor_names())
def test_every_module_that_a_compressor_imports_is_among_its_dependencies(compressor: str) -> None:
    deps = [dep.replace("${item.compressor}", compressor) for dep in STAGES["baseline"]["do"]["deps"]]
    assert f"gist_core/compressors/{compressor}.py" in deps
    assert not undeclared_code(ROOT, "baseline", deps)


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_that_a_stage_imports_is_among_its_dependencies(stage: str) -> None:
    assert not undeclared_code(ROOT, stage, STAGES[stage].get("do", STAGES[stage])["deps"])


def test_what_an_imported_module_imports_is_code_of_the_stage_too(tmp_path: Path) -> None:
    for name, text in {
        "tasks/score.py": "from gist_core.scoring import rouge\nfrom tasks.stage import stage_main",
        "tasks/stage.py": "import gist_core.unseen",
        "gist_core/unseen.py": "",
        "gist_core/scoring/rouge.py": "def run():\n    from gist_core.chrf import chrf",
        "gist_core/chrf.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    deps = ["tasks/score.py", "gist_core/scoring"]
    assert undeclared_code(tmp_path, "score", deps) == ["gist_core/chrf.py"]
    assert not undeclared_code(tmp_path, "score", [*deps, "gist_core/chrf.py"])
    (tmp_path / "gist_core/chosen.py").write_text("import gist_core.helper")
    (tmp_path / "gist_core/helper.py").touch()
    deps += ["gist_core/chrf.py", "gist_core/chosen.py"]
    assert undeclared_code(tmp_path, "score", deps) == ["gist_core/helper.py"]


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
NO_ANSWER = {"base_url", "concurrency", "timeout_s", "max_attempts", "max_wait_s", "poll_s", "requests_per_batch"}


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
