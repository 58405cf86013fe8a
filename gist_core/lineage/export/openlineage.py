"""OpenLineage run events (https://openlineage.io/spec), one JSON object per line: START and COMPLETE of each stage.

Run ids are derived from the statement, so the same statement is the same run. Times come from the run log; if a stage ran
elsewhere, so that this clone has no record of it, the time of its commit is used instead, and a facet says so."""

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gist_core.lineage.hashing import sha256_of_path
from gist_core.lineage.intact import whole_ledger
from gist_core.lineage.ledger import Statement
from gist_core.lineage.runlog import run_times
from gist_core.lineage.source import commit_time
from gist_core.lineage.statement import FOLDER

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
PRODUCER = "urn:x-gist-pipeline:lineage"
NAMESPACE = "gist-pipeline"
EPOCH = "1970-01-01T00:00:00+00:00"


def events(root: Path) -> str:
    """All events, in the order of the graph. Raises as `whole_ledger` does."""
    ledger = whole_ledger(root)
    lines = [event for name in ledger.in_order() for event in _of_stage(root, ledger.statements[name])]
    return "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)


def _of_stage(root: Path, statement: Statement) -> list[dict[str, Any]]:
    sha256 = sha256_of_path(root / FOLDER / f"{statement.stage}.json")
    times = run_times(root, sha256)
    started, finished = times or _times_of_commit(root, statement)
    facets = {
        "gist_statement": _facet({"sha256": sha256, "timesAreOfCommit": times is None}),
        "gist_provenance": _facet(
            {
                "parameters": statement.parameters,
                "commit": statement.source["commit"],
                "dirty": statement.source["dirty"],
                "python": statement.environment["python"],
                "hardware": statement.environment["hardware"],
                "notReproducible": statement.not_reproducible,
            }
        ),
    }
    common = {
        "run": {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PRODUCER}:{sha256}")), "facets": facets},
        "job": {
            "namespace": NAMESPACE,
            "name": statement.stage,
            "facets": {"gist_command": _facet({"command": statement.command})},
        },
        "inputs": [_dataset(path, digest) for path, digest in statement.inputs.items()],
        "producer": PRODUCER,
        "schemaURL": f"{SPEC}#/$defs/RunEvent",
    }
    made = [_dataset(path, digest, statement.annotations[path]) for path, digest in statement.outputs.items()]
    return [
        {"eventType": "START", "eventTime": started, "outputs": [], **common},
        {"eventType": "COMPLETE", "eventTime": finished, "outputs": made, **common},
    ]


def _times_of_commit(root: Path, statement: Statement) -> tuple[str, str]:
    made = commit_time(root, str(statement.source["commit"]))
    time = EPOCH if made is None else datetime.fromtimestamp(made, UTC).isoformat()
    return time, time


def _dataset(path: str, digest: dict[str, str], notes: dict[str, Any] | None = None) -> dict[str, Any]:
    dataset: dict[str, Any] = {"namespace": NAMESPACE, "name": path, "facets": {"gist_digest": _facet(dict(digest))}}
    if notes is not None:
        statistics: dict[str, Any] = {"size": notes["size"]}
        if "rows" in notes:
            statistics["rowCount"] = notes["rows"]
            dataset["facets"]["gist_rows"] = _facet({"rowIdsSha256": notes["row_ids_sha256"]})
        url = "https://openlineage.io/spec/facets/1-0-2/OutputStatisticsOutputDatasetFacet.json"
        schema = f"{url}#/$defs/OutputStatisticsOutputDatasetFacet"
        facet = {"_producer": PRODUCER, "_schemaURL": schema, **statistics}
        dataset["outputFacets"] = {"outputStatistics": facet}
    return dataset


def _facet(content: dict[str, Any]) -> dict[str, Any]:
    """A facet of our own. OpenLineage asks for its producer and its schema; the only schema that it fits is the base
    facet's."""
    return {"_producer": PRODUCER, "_schemaURL": f"{SPEC}#/$defs/BaseFacet", **content}
