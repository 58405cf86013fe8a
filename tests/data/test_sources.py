"""Gathering sources: found by role, proved or named, whole or not at all."""

import json
from pathlib import Path

import pytest

from gist_core.data import sources as sources_module
from gist_core.data.sources import Manifest, gather_download, gather_folder, read_manifest
from gist_core.data.upstream import DEFAULT_BASE_URL, UPSTREAM, Role, UpstreamFile, blob_id
from tasks.sections import DataParams
from tasks.sources import gather
from tests.data.random_sources import SMALL_ALPACA, SMALL_SELF_INSTRUCT, SMALL_TASKS, write_upstream_shapes
from tests.data.test_download import Server, half, server, whole  # noqa: F401

NAMES: dict[Role, str] = {role: file.name for role, file in UPSTREAM.items()}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_upstream_shapes(tmp_path / "files", SMALL_SELF_INSTRUCT, SMALL_ALPACA, SMALL_TASKS)
    return tmp_path / "files"


def test_the_manifest_says_what_each_file_is_and_is_read_back(tmp_path: Path, files: Path) -> None:
    (files / "alpaca_data.json").rename(files / "mine.json")
    manifest = gather_folder(tmp_path / "out", files, {**NAMES, "alpaca": "mine.json"})
    assert read_manifest(tmp_path / "out") == manifest
    alpaca = manifest.by_role("alpaca")
    assert alpaca is not None
    assert (alpaca.name, alpaca.is_upstream, alpaca.licence) == ("mine.json", False, None)
    assert alpaca.git_blob_id == blob_id((files / "mine.json").read_bytes())
    assert alpaca.origin == "stand-in mine.json in data.folder"
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()
    assert manifest.exact == frozenset()


def test_every_problem_of_a_folder_is_told_at_once_and_nothing_is_copied(tmp_path: Path, files: Path) -> None:
    (files / "user_oriented_instructions.jsonl").unlink()
    with pytest.raises(ValueError, match="cannot be used") as error:
        gather_folder(tmp_path / "out", files, {})
    message = str(error.value)
    assert f"git blob id {blob_id((files / 'alpaca_data.json').read_bytes())}" in message
    assert UPSTREAM["alpaca"].blob_id in message
    assert "data.stand_ins.self_instruct=all_instances_82K.jsonl" in message
    assert "user_oriented_instructions.jsonl (role user_oriented) does not exist" in message
    assert not (tmp_path / "out").exists()


def test_a_stand_in_that_is_missing_is_not_to_be_had_upstream(tmp_path: Path, files: Path) -> None:
    with pytest.raises(
        ValueError, match=r"mine\.json \(role alpaca\) does not exist; put it there, or.*'~data\.stand_ins"
    ) as e:
        gather_folder(tmp_path / "out", files, {"alpaca": "mine.json"})
    assert UPSTREAM["alpaca"].url() not in str(e.value)


def test_a_folder_of_a_user_there_is_not_is_one_message(tmp_path: Path) -> None:
    data = DataParams(kind="folder", folder="~nobody-of-this-name/x", num_seen=1, num_unseen=1)
    with pytest.raises(ValueError, match=r"data\.folder is '~nobody-of-this-name/x'"):
        gather(tmp_path / "out", data, tmp_path, tmp_path / "downloads")


def test_a_truncated_upstream_file_is_not_the_upstream_file(tmp_path: Path, files: Path) -> None:
    names: dict[Role, str] = {role: name for role, name in NAMES.items() if role != "alpaca"}
    content = (files / "alpaca_data.json").read_bytes()
    (files / "alpaca_data.json").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ValueError, match=rf"\({len(content) // 2:,} bytes\), the upstream file has {UPSTREAM['alpaca'].blob_id}"
    ):
        gather_folder(tmp_path / "out", files, names)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/hostname", "sub/file.json"])
def test_a_stand_in_is_a_plain_file_name(tmp_path: Path, files: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"data\.stand_ins\.alpaca is .*give the plain name"):
        gather_folder(tmp_path / "out", files, {**NAMES, "alpaca": name})


def test_one_file_cannot_play_two_roles(tmp_path: Path, files: Path) -> None:
    with pytest.raises(ValueError, match="two roles"):
        gather_folder(tmp_path / "out", files, {**NAMES, "alpaca": NAMES["self_instruct"]})


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.folder is .*not a folder"):
        gather_folder(tmp_path / "out", tmp_path / "none", {})


@pytest.mark.parametrize(
    "content", [None, "{", '{"kind": "folder"}', '{"kind": "folder", "files": [{"role": "x"}]}', "[]"]
)
def test_a_broken_manifest_is_told_with_the_remedy(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=r"manifest\.json .*dvc repro"):
        read_manifest(tmp_path)


def test_upstream_urls_are_pinned_to_commits() -> None:
    assert [file.url(DEFAULT_BASE_URL) for file in UPSTREAM.values()] == [
        "https://raw.githubusercontent.com/yizhongw/self-instruct/a40887b/data/gpt3_generations/batch_221203/"
        "all_instances_82K.jsonl",
        "https://raw.githubusercontent.com/tatsu-lab/stanford_alpaca/f134962/alpaca_data.json",
        "https://raw.githubusercontent.com/yizhongw/self-instruct/0b26cca/human_eval/user_oriented_instructions.jsonl",
    ]


def serve_as_upstream(server: Server, files: Path, monkeypatch: pytest.MonkeyPatch) -> str:  # noqa: F811
    """Lets the server give the three files, which take the place of the upstream ones. Returns the base URL."""
    contents = {f"/o/r/c/{role}": (files / name).read_bytes() for role, name in NAMES.items()}
    small = {
        role: UpstreamFile(name, "o/r", "c", role, blob_id(contents[f"/o/r/c/{role}"]), "Apache-2.0")
        for role, name in NAMES.items()
    }
    monkeypatch.setattr(sources_module, "UPSTREAM", small)
    server.answers = [lambda handler, start: whole(handler, start, content=contents[handler.path])]
    return server.url.removesuffix("/file.json")


def test_three_files_are_downloaded_proved_and_not_fetched_again(
    tmp_path: Path,
    files: Path,
    server: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base_url = serve_as_upstream(server, files, monkeypatch)
    manifest = gather_download(tmp_path / "out", tmp_path / "work", base_url=base_url)
    assert manifest.exact == frozenset(NAMES)
    assert [file.origin for file in manifest.files] == [f"o/r at c: {role}" for role in NAMES]
    for name in NAMES.values():
        assert (tmp_path / "out" / name).read_bytes() == (files / name).read_bytes()
    again = gather_download(tmp_path / "again", tmp_path / "work", base_url=base_url)
    assert again == manifest
    assert len(server.ranges) == 3


def test_a_manifest_is_plain_json(tmp_path: Path, files: Path) -> None:
    gather_folder(tmp_path / "out", files, NAMES)
    raw = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert raw["kind"] == "folder"
    assert {file["role"] for file in raw["files"]} == set(NAMES)
    assert isinstance(read_manifest(tmp_path / "out"), Manifest)
