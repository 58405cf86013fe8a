"""The `data` section of params.yaml: each kind with its keys, all errors together."""

import pytest
from pydantic import ValidationError

from tasks.sections import DataParams

SIZES = {"num_seen": 1, "num_unseen": 1}


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "embedded"},
        {"kind": "download", "base_url": "http://127.0.0.1:8000/mirror"},
        {"kind": "folder", "folder": "x", "stand_ins": {"alpaca": "y.json"}},
        {"kind": "rows", "rows": {"file": "x.csv", "columns": {"instruction": "q", "input": None}}},
        {"kind": "rows", "rows": {"dataset": "o/n", "revision": "a" * 40}},
    ],
)
def test_every_kind_can_be_written(data: dict[str, object]) -> None:
    assert DataParams.model_validate({**data, **SIZES}).kind == data["kind"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "folder"}, "folder is needed by kind: folder"),
        ({"kind": "embedded", "folder": "x", "stand_ins": {"alpaca": "y"}}, "(?s)folder is needed.*stand_ins needs"),
        ({"kind": "rows"}, "rows is needed by kind: rows"),
        ({"kind": "rows", "rows": {}}, "either file"),
        ({"kind": "rows", "rows": {"file": "x", "dataset": "o/n", "revision": "a" * 40}}, "not both"),
        ({"kind": "rows", "rows": {"dataset": "o/n"}}, "o/n needs a revision"),
        ({"kind": "rows", "rows": {"dataset": "o/n", "revision": "main"}}, "revision"),
        ({"kind": "folder", "folder": "x", "stand_ins": {"alpca": "y"}}, "stand_ins"),
        ({"kind": "download", "base_url": "ftp://x"}, "base_url"),
        ({"kind": "embedded", "num_dev": -1}, "num_dev"),
        ({"kind": "embedded", "num_sen": 3}, "num_sen"),
    ],
)
def test_wrong_keys_are_told(data: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataParams.model_validate({**SIZES, **data})
