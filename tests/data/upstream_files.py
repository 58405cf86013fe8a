"""The folder with upstream files beside the project, for tests marked `upstream`."""

from pathlib import Path

import pytest

UPSTREAM_FOLDER = Path(__file__).parents[2] / ".." / "shared" / "data" / "upstream"
STAND_IN = "multi_input_instances.jsonl"

needs_upstream = [
    pytest.mark.upstream,
    pytest.mark.skipif(not UPSTREAM_FOLDER.is_dir(), reason="needs ../shared/data/upstream"),
]
