"""The calls of OpenAI's batch endpoint. Nothing that comes back is taken for granted: a gateway in between may answer HTTP 200
with a page, an error, or another server's JSON, and what a batch has cost depends on reading its state right."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import openai

from gist_core.lineage.hashing import sha256_of_json
from gist_core.scoring.judge.answer import REDIRECTS, is_passing, redirected, refused_account
from gist_core.scoring.judge.settings import OpenAISettings, without_key

PLANNED = "planned "  # our own names begin so: the id in the store of a batch that is not known to have been made
_NAME_KEY = "gist_submission"  # of a batch's metadata
UNDER_WAY = ("validating", "in_progress", "finalizing", "cancelling")
_ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class BatchState:
    """status: as the server names it. done: requests that it counts as completed or failed. files: ids of its answers and
    errors. errors: what it says of a batch that failed as a whole."""

    status: str
    total: int | None
    done: int | None
    files: tuple[str, ...]
    errors: str

    @property
    def has_ended(self) -> bool:
        """A status that this module does not know is of a batch that may still be billed."""
        return self.status in _ENDED


class Gone(Exception):
    """The server does not have (any more) what has been stored there."""


class BatchEndpoint:
    """A context manager. Its methods raise:

    ConnectionError: the server does not answer now, or with something else than it was asked for.
    ValueError: it refuses. The message says what to do.
    """

    def __init__(self, settings: OpenAISettings, api_key: str) -> None:
        self._where = settings.base_url or "OpenAI"
        self._api_key = api_key
        self._client = openai.OpenAI(
            api_key=api_key,
            base_url=settings.endpoint,
            timeout=settings.timeout_s,
            max_retries=settings.max_attempts - 1,
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )

    def __enter__(self) -> "BatchEndpoint":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def new_name(self) -> str:
        """A name for a batch that is about to be made. It says for which key, organisation and project, but does not show
        them."""
        salt = uuid.uuid4().hex
        return f"{PLANNED}{salt} {self._mark(salt)}"

    def may_have_made(self, name: str) -> bool:
        """Whether a batch of this name was made for this key, organisation and project, so that `ids_by_name` would show it.
        Names without a mark are of an older version."""
        salt, _, mark = name.removeprefix(PLANNED).partition(" ")
        return not mark or mark == self._mark(salt)

    def _mark(self, salt: str) -> str:
        account = [salt, self._api_key, self._client.organization, self._client.project]
        return sha256_of_json(account)[:8]

    def upload(self, requests: bytes) -> str:
        """Stores a file of requests. Returns its id."""
        files = self._client.files.with_raw_response
        return self._asked("file", lambda: files.create(file=("judge.jsonl", requests), purpose="batch"))["id"]

    def create(self, file_id: str, name: str) -> str:
        """Makes a batch of an uploaded file and returns its id. It is tried once: the batch could be made, and billed, twice.

        After a ValueError, none has been made; after a ConnectionError one may have been.
        """
        batches = self._client.with_options(max_retries=0).batches.with_raw_response
        return self._asked(
            "batch",
            lambda: batches.create(
                input_file_id=file_id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={_NAME_KEY: name},
            ),
        )["id"]

    def ids_by_name(self) -> dict[str, str]:
        """The ids of this account's batches, by the names that `create` gave them."""
        batches, found, after = self._client.batches.with_raw_response, {}, openai.omit
        while True:
            page = self._asked("list", lambda after=after: batches.list(after=after, limit=100))  # type: ignore[misc]
            listed = page["data"]
            whole = all(isinstance(batch, dict) and isinstance(batch.get("id"), str) for batch in listed)
            if not whole or (page.get("has_more") and (not listed or listed[-1]["id"] == after)):
                raise ConnectionError(f"{self._where} answered with a list of batches that cannot be read to its end")
            for batch in listed:
                name = batch["metadata"].get(_NAME_KEY) if isinstance(batch.get("metadata"), dict) else None
                if isinstance(name, str):
                    found[name] = batch["id"]
            if not page.get("has_more"):
                return found
            after = listed[-1]["id"]

    def state(self, batch_id: str) -> BatchState:
        """Raises Gone."""
        batch = self._asked("batch", lambda: self._client.batches.with_raw_response.retrieve(batch_id), stored=True)
        counts = batch.get("request_counts")
        total, completed, failed = (_count(counts, name) for name in ("total", "completed", "failed"))
        listed = batch["errors"].get("data") if isinstance(batch.get("errors"), dict) else None
        said = [str(error.get("message") or "") for error in listed or [] if isinstance(error, dict)]
        files = (batch.get("output_file_id"), batch.get("error_file_id"))
        return BatchState(
            status=batch["status"],
            total=total,
            done=None if completed is None or failed is None else completed + failed,
            files=tuple(file for file in files if isinstance(file, str) and file),
            errors="; ".join(said),
        )

    def text(self, file_id: str) -> str:
        """A stored file. Raises Gone."""
        content = self._call(lambda: self._client.files.content(file_id), stored=True).content
        return content.decode("utf-8-sig", errors="replace")  # JSON is UTF-8, perhaps with a byte order mark

    def _asked(self, kind: str, call: Callable[[], Any], *, stored: bool = False) -> dict[str, Any]:
        """What the server answered, if it is a file, a batch or a list."""
        text = self._call(call, stored=stored).content.decode(errors="replace")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or not all(
            isinstance(value.get(name), of) for name, of in _FIELDS[kind].items()
        ):
            shown = without_key(text, self._api_key)[:100]
            raise ConnectionError(
                f"{self._where} answered with something that is no {kind}: {shown!r}; if it stays so, look at judge.base_url"
            )
        return value

    def _call(self, call: Callable[[], Any], *, stored: bool) -> Any:
        where = self._where
        try:
            return call()
        except openai.APIStatusError as error:
            said = f"HTTP {error.status_code}: {without_key(error.message, self._api_key):.300}"
            if error.status_code in REDIRECTS:
                raise ValueError(f"{where} {redirected(error)}") from None
            if is_passing(error):
                raise ConnectionError(f"{where} does not answer now ({said})") from None
            if refusal := refused_account(error, where, said):
                raise ValueError(refusal) from None
            if stored and error.status_code == 404:
                raise Gone(said) from None
            remedy = ". A server without batches needs judge.mode=live" if error.status_code in (404, 405) else ""
            raise ValueError(f"{where} refuses the batch ({said}){remedy}") from None
        except openai.APIConnectionError as error:
            raise ConnectionError(f"{where} cannot be reached ({error})") from None


_FIELDS: dict[str, dict[str, type]] = {"file": {"id": str}, "batch": {"id": str, "status": str}, "list": {"data": list}}


def _count(counts: object, name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
