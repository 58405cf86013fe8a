"""The statement of a stage: what it read, what it made, and how.

An in-toto Statement v1 (https://in-toto.io/Statement/v1) with the SLSA provenance predicate v1
(https://slsa.dev/provenance/v1). `subject` lists every file made, `resolvedDependencies` every file read and the
commit; `internalParameters.declared` repeats both at the level of dvc.yaml, with the MD5s under which DVC knows
them. The same inputs, parameters, commit and environment give the same bytes: whatever else varies
(`runDetails.metadata` in SLSA) is in the run log."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gist_core.lineage.hashing import Artifact
from gist_core.lineage.rowids import row_annotations

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:x-gist-pipeline:dvc-stage:1"
BUILDER_ID = "urn:x-gist-pipeline:tasks.stage"
FOLDER = Path("data/statements")


def write_statement(
    path: Path,
    *,
    root: Path,
    stage: str,
    command: list[str],
    inputs: Mapping[str, Artifact],
    outputs: Mapping[str, Artifact],
    parameters: Mapping[str, Any],
    written: Mapping[str, Any],
    facts: Mapping[str, Any],
    source: Mapping[str, Any],
    environment: Mapping[str, Any],
    not_reproducible: str | None,
) -> None:
    """Writes the statement of one finished stage.

    inputs, outputs: by path relative to `root`, as dvc.yaml declares them.
    parameters: by dotted key, as the stage uses them. written: the same as params.yaml has them, without defaults;
    dvc.lock must have these. facts: what only the stage knows.
    source: see source.py. environment: see environment.py. not_reproducible: why another run may give other bytes;
    None if it may not.
    """
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": digest, "annotations": {"size": size, **row_annotations(root / name)}}
            for name, digest, size in _files(outputs)
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"stage": stage, "command": command, "parameters": dict(parameters)},
                "internalParameters": {
                    "facts": dict(facts),
                    "source": dict(source),
                    "environment": dict(environment),
                    "reproducibility": {"same_bytes_expected": not_reproducible is None, "reason": not_reproducible},
                    "declared": {
                        "deps": {name: artifact.as_json() for name, artifact in inputs.items()},
                        "outs": {name: artifact.as_json() for name, artifact in outputs.items()},
                        "params": dict(written),
                    },
                },
                "resolvedDependencies": [
                    *(
                        {"name": name, "digest": digest, "annotations": {"size": size}}
                        for name, digest, size in _files(inputs)
                    ),
                    *([{"name": "git", "digest": {"gitCommit": source["commit"]}}] if source["commit"] else []),
                ],
            },
            "runDetails": {"builder": {"id": BUILDER_ID}},
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(statement, indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _files(artifacts: Mapping[str, Artifact]) -> list[tuple[str, dict[str, str], int]]:
    """(path, digests, size) of every single file, sorted by path, each once."""
    found = {
        f"{declared}/{name}" if name else declared: digest
        for declared, artifact in artifacts.items()
        for name, digest in artifact.files.items()
    }
    return [(name, {"sha256": found[name].sha256, "md5": found[name].md5}, found[name].size) for name in sorted(found)]
