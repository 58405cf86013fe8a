"""A stage runs again when code that makes its result changes: dvc.yaml names every module that the stage imports."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# What runs every stage, checks its parameters and says what it did or why not changes no result; nor does what that imports.
NO_RESULT = (
    "gist_core/lineage/",
    "gist_core/out_of_memory.py",
    "tasks/locks.py",
    "tasks/paths.py",
    "tasks/params.py",
    "tasks/pins.py",
    "tasks/sections.py",
    "tasks/parent.py",
    "tasks/stage.py",
)


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
