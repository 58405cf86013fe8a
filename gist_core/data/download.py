"""Downloads one file at a pinned commit: resumes where it stopped, proves the file by its git blob id, and renames it
into place."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gist_core.data.upstream import digests_of_file

if TYPE_CHECKING:
    import requests

ATTEMPTS = 5
FIRST_WAIT_S = 1.0
TIMEOUT_S = 30.0
BLOCK_BYTES = 1 << 16
RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class _TryAgain(Exception):
    """This attempt failed, but another may succeed. wait_s: seconds to wait, if the server asked for that, else None."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def download(
    url: str,
    target: Path,
    *,
    blob_id: str,
    size: int | None = None,
    attempts: int = ATTEMPTS,
    timeout_s: float = TIMEOUT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Makes `target` the file whose git blob id is `blob_id`.

    Bytes are kept in `target` + ".part", even if this fails or is killed; the next call goes on from there. A broken
    connection, a time-out and a status of RETRY_STATUS are tried again, after a wait that starts at
    FIRST_WAIT_S and doubles, or that Retry-After gives (at most 60 s in either case).

    size: bytes, where known. timeout_s: seconds without a byte.

    Raises:
        ValueError: the server refuses, sends a web page or another file, or the disk is full. Says what to do.
        ConnectionError: the server does not answer in `attempts` attempts.
    """
    import requests

    if target.is_file() and digests_of_file(target)[0] == blob_id:
        return
    part = target.with_name(target.name + ".part")
    problem = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(attempts):
            was_resumed = part.exists() and part.stat().st_size > 0
            try:
                with requests.Session() as session:
                    _fetch(session, url, part, size, timeout_s)
                found = digests_of_file(part)[0]
                if found == blob_id:
                    os.replace(part, target)
                    return
                part.unlink()
                problem = f"sent a file with git blob id {found}, not {blob_id}"
                if not was_resumed:
                    raise ValueError(f"{url} {problem}; a proxy or mirror may have changed it. {_REMEDY}")
                # What was kept from an earlier attempt may have been wrong: once more from the beginning.
            except _TryAgain as error:
                problem = str(error)
                if attempt + 1 < attempts:
                    sleep(min(60.0, error.wait_s if error.wait_s is not None else FIRST_WAIT_S * 2**attempt))
    except OSError as error:
        raise ValueError(f"{error.filename or part} cannot be written: {error.strerror or error}") from None
    kept = part.stat().st_size if part.exists() else 0
    raise ConnectionError(
        f"{url} {problem} ({attempts} attempts; {kept:,} bytes are kept, the next run goes on from there). {_REMEDY}"
    )


_REMEDY = "Try again later, or put the three files into a folder and use data=local data.folder=FOLDER"


def _fetch(session: "requests.Session", url: str, part: Path, size: int | None, timeout_s: float) -> None:
    """One request; appends to `part` what is missing. Raises _TryAgain, or ValueError where trying again is no use."""
    import requests
    from tqdm import tqdm

    start = part.stat().st_size if part.exists() else 0
    if size is not None and start == size:
        return
    if size is not None and start > size:
        part.unlink()
        start = 0
    # Ranges count the bytes on the wire, so the file must not be compressed there.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        with session.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
            if response.status_code == 416:
                # Nothing after `start`: the part is whole (the blob id decides) or too long.
                if response.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
                    return
                part.unlink()
                raise _TryAgain(f"has no bytes after {start:,}")
            _check_status(url, response)
            if response.status_code == 206:
                if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                    part.unlink()
                    raise _TryAgain(f"answered with another range ({response.headers.get('Content-Range')})")
            else:
                start = 0
            length = response.headers.get("Content-Length")
            expected = start + int(length) if length and length.isdigit() else size
            with (
                part.open("ab" if start else "wb") as file,
                tqdm(total=expected, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
            ):
                for block in response.iter_content(BLOCK_BYTES):
                    if start == 0 and file.tell() == 0:
                        _refuse_web_page(url, block)
                    file.write(block)
                    bar.update(len(block))
                received = file.tell()
            if expected is not None and received < expected:
                raise _TryAgain(f"stopped after {received:,} of {expected:,} bytes")
    except requests.Timeout:
        raise _TryAgain(f"did not answer within {timeout_s:g} s") from None
    except requests.ConnectionError as error:
        raise _TryAgain(f"broke the connection or could not be reached: {error}") from None
    except requests.RequestException as error:
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            raise _TryAgain(f"stopped half way: {error}") from None
        raise ValueError(f"{url} cannot be fetched: {error}") from None


def _check_status(url: str, response: "requests.Response") -> None:
    status = response.status_code
    if status in RETRY_STATUS:
        wait = response.headers.get("Retry-After", "")
        raise _TryAgain(f"answered {status} {response.reason}", float(wait) if wait.isdigit() else None)
    if status not in (200, 206):
        raise ValueError(f"{url} answered {status} {response.reason}. {_REMEDY}")
    if "text/html" in response.headers.get("Content-Type", ""):
        raise ValueError(f"{url} answered with a web page instead of the file; a login or proxy page? {_REMEDY}")


def _refuse_web_page(url: str, first_block: bytes) -> None:
    if first_block.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise ValueError(f"{url} answered with a web page instead of the file; a login or proxy page? {_REMEDY}")
