"""The statement of a stage: what it read, what it made, and by what."""

import json
from pathlib import Path
from typing import Any


def write_statement(
    path: Path,
    *,
    root: Path,
    stage: str,
    command: list[str],
    inputs: dict[str, str],
    outputs: dict[str, str],
    parameters: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Writes an in-toto Statement (v1) for one finished stage.

    inputs, outputs: SHA-256 by path relative to `root`. parameters: by dotted key. facts: what only the stage knows.
    """
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(outputs.items())],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "externalParameters": {"stage": stage, "command": command, "parameters": parameters},
                "internalParameters": facts,
                "resolvedDependencies": [{"uri": name, "digest": {"sha256": digest}} for name, digest in sorted(inputs.items())],
            },
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(statement, indent=1, sort_keys=True) + "\n", encoding="utf-8")
