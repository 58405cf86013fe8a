"""The three files that Alpaca+ is made of, and the four that the paper released, each identified by its git blob id.

A git blob id is the SHA-1 of `blob SIZE\\0` and the content: what `git hash-object` prints and what GitHub shows for a
file at a commit. So a file, or our build, is proved equal to the released one without holding a copy of it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Role = Literal["self_instruct", "alpaca", "user_oriented"]
DEFAULT_BASE_URL = "https://raw.githubusercontent.com"


@dataclass(frozen=True, slots=True)
class UpstreamFile:
    """One upstream file at its pinned commit.

    name: what the file is called in `data/sources/`. size: bytes, where known.
    """

    name: str
    repository: str
    commit: str
    path: str
    blob_id: str
    licence: str
    size: int | None = None

    def url(self, base_url: str = DEFAULT_BASE_URL) -> str:
        """Where the raw file is, under GitHub's raw host or a mirror with the same paths."""
        return f"{base_url.rstrip('/')}/{self.repository}/{self.commit}/{self.path}"


UPSTREAM: dict[str, UpstreamFile] = {
    "self_instruct": UpstreamFile(
        name="all_instances_82K.jsonl",
        repository="yizhongw/self-instruct",
        commit="a40887b",
        path="data/gpt3_generations/batch_221203/all_instances_82K.jsonl",
        blob_id="ccceb2677cbafcac4c996be47520b5581dd10295",
        licence="Apache-2.0",
    ),
    "alpaca": UpstreamFile(
        name="alpaca_data.json",
        repository="tatsu-lab/stanford_alpaca",
        commit="f134962",
        path="alpaca_data.json",
        blob_id="3779ddbc040543ab1834ef216c983d6fcc06cc9a",
        licence="CC-BY-NC-4.0",
        size=22_773_992,
    ),
    "user_oriented": UpstreamFile(
        name="user_oriented_instructions.jsonl",
        repository="yizhongw/self-instruct",
        commit="0b26cca",
        path="human_eval/user_oriented_instructions.jsonl",
        blob_id="ed6d5d986e3f4c65ff64d70328a2e1dab146f914",
        licence="Apache-2.0",
        size=170_193,
    ),
}

# Blob ids of alpaca_plus_{train,validation_*}.json in jayelm/gisting at 3be0d06.
RELEASED: dict[str, str] = {
    "train": "9ab4567f3f915de291eb26909aa61d190a9a8df7",
    "seen": "99b23a88c46daaf9f64a13535af69b7fec89e72f",
    "unseen": "18fd1ebbc2b2dd49731755ec38775229cda48612",
    "human": "9186d4927b7082e1ddfa79e18d9cba7929c845c3",
}


def blob_id(content: bytes) -> str:
    """The git blob id of these bytes: 40 hex digits."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def digests_of_file(path: Path) -> tuple[str, str, int]:
    """Git blob id, SHA-256 and size in bytes of a file, which is read only once."""
    size = path.stat().st_size
    sha1 = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha1.update(block)
            sha256.update(block)
    return sha1.hexdigest(), sha256.hexdigest(), size
