"""Which code a stage runs: DVC runs a stage again when its deps change, and knows nothing of other code."""

import ast
from collections.abc import Collection
from pathlib import Path

# Code that runs every stage, checks its parameters and reports on it. It changes no result, nor does what it imports,
# except that some outs hold digests by gist_core/lineage/hashing.py, so what that computes must never change.
NO_RESULT = (
    "gist_core/lineage/",
    "gist_core/out_of_memory.py",
    "tasks/__init__.py",
    "tasks/code.py",
    "tasks/collector.py",
    "tasks/locks.py",
    "tasks/paths.py",
    "tasks/params.py",
    "tasks/pins.py",
    "tasks/sections.py",
    "tasks/parent.py",
    "tasks/stage.py",
    "tasks/work.py",
)


def undeclared_code(root: Path, stage: str, deps: Collection[str]) -> list[str]:
    """Modules of the project that tasks/STAGE.py imports, also inside functions and through other modules, and that no dep
    covers. Likewise for a module among the deps, which the stage may import by a name from a parameter."""
    seen: set[Path] = set()
    named = [root / dep for dep in deps if dep.endswith(".py")]
    ahead = [root / "tasks" / f"{stage}.py", *(module for module in named if module.is_file())]
    while ahead:
        if (here := ahead.pop()) not in seen:
            seen.add(here)
            if not _relative(here, root).startswith(NO_RESULT):
                ahead += _imported(here, root)
    code = sorted(path for module in seen if not (path := _relative(module, root)).startswith(NO_RESULT))
    return [path for path in code if not any(path == dep or path.startswith(f"{dep}/") for dep in deps)]


def _imported(file: Path, root: Path) -> set[Path]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    paths = [root / name.replace(".", "/") for name in names if name.split(".")[0] in ("gist_core", "tasks")]
    return {file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()}


def _relative(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()
