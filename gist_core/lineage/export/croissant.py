"""Croissant 1.0 (https://docs.mlcommons.org/croissant) of the data set: the build's own `croissant.json` where there
is one, else a description of the split files from their statement."""

import json
from pathlib import Path

from gist_core.data.croissant import HEAD, file_object, record_set
from gist_core.lineage.intact import Intact
from gist_core.lineage.ledger import Ledger

STAGE = "alpaca_plus"
OWN = Path("data/alpaca_plus/croissant.json")


def document(root: Path) -> str:
    """The JSON-LD text.

    Raises:
        ValueError: the data set has no statement.
        NotIntactError: its statement is not the one that dvc.lock names, or its own description not the stated one.
    """
    ledger = Ledger.of_workspace(root)
    intact = Intact(root, ledger)
    if STAGE not in intact.stages:
        raise ValueError(f"there is no statement of {STAGE!r}; there are: {', '.join(ledger.statements) or 'none'}")
    intact.demand([STAGE], [OWN.as_posix()] if (root / OWN).exists() else [])
    statement = ledger.statements[STAGE]
    if (root / OWN).exists():
        return (root / OWN).read_text(encoding="utf-8")
    files = {Path(path).stem: path for path in statement.outputs if path.endswith(".parquet")}
    content = HEAD | {
        "description": f"Instruction-following rows, built by `{statement.command}` at {statement.source['commit']}.",
        "distribution": [
            file_object(
                split,
                f"The rows of the split {split}",
                statement.annotations[path]["size"],
                statement.outputs[path]["sha256"],
            )
            for split, path in files.items()
        ],
        "recordSet": [record_set(split) for split in files],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
