"""The worked example of docs/data.md, run as it is written, and then every stage on its rows with a tiny model."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.project import ROOT, SMALL, copy_project, run


def commands() -> str:
    """The indented blocks of the section, in order, as one shell script."""
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    section = re.search(r"## Worked example.*?(?=\nInstructions with several inputs)", text, re.DOTALL)
    assert section is not None
    return "\n".join(line[4:] for line in section[0].split("\n") if line.startswith("    "))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_worked_example_of_the_docs_runs_as_written(tmp_path: Path) -> None:
    root = copy_project(tmp_path, "llama")
    overrides = [option for option in SMALL if not option.startswith("data.")] + [f"model.location={tmp_path}/model"]
    # The script `gist` of the environment may belong to another clone.
    command = f'gist() {{ {sys.executable} -m cli.main "$@"; }}\nset -e\n{commands()}'
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", command], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = re.search(r"It prints `(.*?)`", (ROOT / "docs/data.md").read_text(encoding="utf-8"))
    assert printed is not None
    assert printed[1] in done.stdout
    facts = json.loads((root / "data/alpaca_plus/facts.json").read_text(encoding="utf-8"))
    rows = {name: split["rows"] for name, split in facts["splits"].items()}
    expected = json.loads(printed[1])
    assert rows == {name: expected.get(name, 0) for name in ("train", "seen", "unseen", "human")}
    assert "own rows (own file support.csv)" in done.stdout

    params = re.search(r"gist (params(?:.|\\\n)*?)\ndvc repro", command)
    assert params is not None
    line = f'gist() {{ {sys.executable} -m cli.main "$@"; }}\ngist {params[1]} ' + " ".join(map(repr, overrides))
    subprocess.run(["bash", "-c", line], cwd=root, env=environment, check=True)
    run(root, "-m", "tasks.pipeline")
    assert "own rows (own file support.csv)" in (root / "reports/report.html").read_text(encoding="utf-8")
