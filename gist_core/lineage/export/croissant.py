"""Croissant 1.0 (https://docs.mlcommons.org/croissant) of the data set: the build's own `croissant.json` where there
is one, else a description of the split files from their statement."""

import json
from pathlib import Path
from typing import Any

from gist_core.lineage.ledger import Ledger
from gist_core.lineage.why import statement_of

OWN = Path("data/alpaca_plus/croissant.json")
# The terms of the standard's own @context that stand for themselves in its namespace.
TERMS = (
    "citeAs column extract field fileObject fileProperty fileSet format includes isLiveDataset jsonPath key md5 "
    "parentField path recordSet references regex repeated replace samplingRate separator source subField transform "
    "equivalentProperty"
)
CONTEXT = {
    **{term: f"cr:{term}" for term in TERMS.split()},
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
COLUMNS = ("row_id", "split", "instruction", "input", "output", "source", "source_file", "source_index")


def document(root: Path) -> str:
    """The JSON-LD text. Raises ValueError if the data set has no statement."""
    statement = statement_of(Ledger.of_workspace(root), "alpaca_plus")
    if (root / OWN).exists():
        return (root / OWN).read_text(encoding="utf-8")
    files = {path: digest["sha256"] for path, digest in statement.outputs.items() if path.endswith(".parquet")}
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "alpaca_plus",
        "description": f"Instruction-following rows, built by `{statement.command}` at {statement.source['commit']}.",
        "distribution": [_file(path, sha256, statement.annotations[path]) for path, sha256 in files.items()],
        "recordSet": [_records(path) for path in files],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _file(path: str, sha256: str, notes: dict[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": Path(path).name,
        "contentUrl": Path(path).name,
        "contentSize": f"{notes['size']} B",
        "encodingFormat": "application/x-parquet",
        "sha256": sha256,
    }


def _records(path: str) -> dict[str, Any]:
    split = Path(path).stem
    return {"@type": "cr:RecordSet", "@id": split, "name": split, "field": [_field(path, split, c) for c in COLUMNS]}


def _field(path: str, split: str, column: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{split}/{column}",
        "name": f"{split}/{column}",
        "dataType": "sc:Integer" if column == "source_index" else "sc:Text",
        "source": {"fileObject": {"@id": path}, "extract": {"column": column}},
    }
