"""The stage that docs/how_to.md adds, as it stands there, in a real project."""

import json
import re
import shutil
from pathlib import Path

import yaml

from gist_core.lineage.audit import every_number
from gist_core.lineage.why import Tracer
from tests.lineage import project

DOCS = (project.REPOSITORY / "docs/how_to.md").read_text(encoding="utf-8")


def test_the_stage_of_the_docs_runs_and_its_numbers_have_a_pedigree(toy: Path) -> None:
    page = DOCS[DOCS.index("## Add a stage") :]
    code, entry = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "yaml"))
    assert code
    assert entry
    (toy / "tasks/lengths.py").write_text(code[1], encoding="utf-8")
    graph = yaml.safe_load((toy / "dvc.yaml").read_text(encoding="utf-8"))
    graph["stages"] |= yaml.safe_load(entry[1])
    (toy / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False), encoding="utf-8")
    for path in graph["stages"]["lengths"]["deps"]:
        if path.startswith("gist_core/"):
            (toy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project.REPOSITORY / path, toy / path)
    project.commit(toy, "A stage")
    project.repro(toy, "lengths")
    means = json.loads((toy / "reports/lengths.json").read_text(encoding="utf-8"))
    assert set(means) == set(project.RUNS)
    assert all(mean > 0 for mean in means.values())
    pedigree = Tracer(toy).why("reports/lengths.json:gist-1")
    assert {"lengths", "generate@gist-1", "train@gist-1", "sources"} <= set(pedigree.origins)
    assert not pedigree.problems
    audited = [number for number in every_number(toy) if number.name.startswith("reports/lengths.json")]
    assert len(audited) == len(project.RUNS)
    assert not [problem for number in audited for problem in number.problems]
