"""W3C PROV as PROV-JSON (member submission of 24 April 2013): files are entities, stages activities, the pipeline
the agent."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gist_core.lineage.hashing import sha256_of_path
from gist_core.lineage.intact import whole_ledger
from gist_core.lineage.ledger import Statement
from gist_core.lineage.runlog import run_times
from gist_core.lineage.statement import FOLDER

PREFIXES = {"file": "urn:x-gist-pipeline:file:", "stage": "urn:x-gist-pipeline:stage:", "gist": "urn:x-gist-pipeline:"}


def document(root: Path) -> str:
    """The document. An entity is a file with its content: the same path with other bytes is another entity.

    Raises as `whole_ledger` does.
    """
    ledger = whole_ledger(root)
    kinds = ("entity", "activity", "used", "wasGeneratedBy", "wasAssociatedWith")
    found: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
    agent = {"gist:pipeline": {"prov:type": {"$": "prov:SoftwareAgent", "type": "prov:QUALIFIED_NAME"}}}
    for name in ledger.in_order():
        statement = ledger.statements[name]
        activity = f"stage:{_local(name)}"
        found["activity"][activity] = _activity(root, name, statement)
        found["wasAssociatedWith"][f"_:a-{_local(name)}"] = {"prov:activity": activity, "prov:agent": "gist:pipeline"}
        for kind, digests in (("used", statement.inputs), ("wasGeneratedBy", statement.outputs)):
            for number, (path, digest) in enumerate(digests.items()):
                entity = f"file:{_local(path)}-{digest['sha256'][:16]}"
                found["entity"][entity] = {"prov:label": path, "gist:sha256": digest["sha256"]}
                link = {"prov:activity": activity, "prov:entity": entity}
                found[kind][f"_:{kind[0]}-{_local(name)}-{number}"] = link
    return json.dumps({"prefix": PREFIXES, "agent": agent, **found}, indent=1, sort_keys=True) + "\n"


def _activity(root: Path, name: str, statement: Statement) -> dict[str, Any]:
    times = run_times(root, sha256_of_path(root / FOLDER / f"{name}.json"))
    return ({"prov:startTime": times[0], "prov:endTime": times[1]} if times else {}) | {
        "prov:label": name,
        "gist:command": statement.command,
        "gist:commit": str(statement.source["commit"]),
        "gist:parameters": json.dumps(statement.parameters, sort_keys=True),
        "gist:python": statement.environment["python"],
    }


def _local(name: str) -> str:
    """A local part of a qualified name: letters, digits, `-`, `_`, `.`; everything else percent-encoded."""
    return quote(name, safe="").replace("~", "%7E")
