"""Downloads against a real HTTP server on loopback that misbehaves in every way we could think of."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gist_core.data.download import BLOCK_BYTES, download
from gist_core.data.upstream import blob_id

CONTENT = bytes(range(256)) * 2000
BLOB_ID = blob_id(CONTENT)
Answer = Callable[[BaseHTTPRequestHandler, int], None]


class Server:
    """Answers the n-th request with the n-th behaviour (the last one repeats). ranges: each request's Range header."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.ranges: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.ranges.append(self.headers.get("Range"))
                answer = outer.answers[min(len(outer.ranges), len(outer.answers)) - 1]
                header = self.headers.get("Range")
                answer(self, int(header.removeprefix("bytes=").rstrip("-")) if header else 0)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/file.json"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def whole(
    handler: BaseHTTPRequestHandler, start: int, *, stop_after: int | None = None, content: bytes = CONTENT
) -> None:
    """Supports ranges; closes the connection early if told to."""
    if start >= len(content):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(content)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    handler.wfile.write(content[start:] if stop_after is None else content[start : start + stop_after])


def half(handler: BaseHTTPRequestHandler, start: int) -> None:
    whole(handler, start, stop_after=3 * BLOCK_BYTES)


def no_ranges(handler: BaseHTTPRequestHandler, start: int) -> None:
    whole(handler, 0)


def no_length(handler: BaseHTTPRequestHandler, start: int) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(CONTENT)


def status(code: int, body: bytes = b"", content_type: str = "text/plain", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler, start: int) -> None:
        handler.send_response(code)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def fetch(server: Server, target: Path, *answers: Answer, size: int | None = None) -> list[float]:
    """Downloads with waits recorded instead of slept."""
    server.answers = list(answers)
    waits: list[float] = []
    download(server.url, target, blob_id=BLOB_ID, size=size, timeout_s=5, sleep=waits.append)
    return waits


def test_a_file_is_fetched_and_proved(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path / "new" / "file.json", whole) == []
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.json"]
    assert (tmp_path / "new" / "file.json").read_bytes() == CONTENT


def test_a_proved_file_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(CONTENT)
    fetch(server, tmp_path / "file.json", status(500))
    assert server.ranges == []


def test_a_server_that_stops_half_way_is_asked_for_the_rest_only(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path / "file.json", half, half, whole)
    assert server.ranges == [None, "bytes=196608-", "bytes=393216-"]
    assert (tmp_path / "file.json").read_bytes() == CONTENT


def test_what_was_fetched_survives_a_failed_run(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"answered 500.*196,608 bytes are kept, the next run goes on from there"):
        fetch(server, tmp_path / "file.json", half, status(500))
    assert not (tmp_path / "file.json").exists()
    fetch(server, tmp_path / "file.json", whole)
    assert server.ranges[-1] == "bytes=196608-"
    assert (tmp_path / "file.json").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_of_it_again(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path / "file.json", half, no_ranges)
    assert (tmp_path / "file.json").read_bytes() == CONTENT


def test_an_answer_without_a_length_is_proved_like_any_other(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path / "file.json", no_length)
    assert (tmp_path / "file.json").read_bytes() == CONTENT


def test_a_kept_part_that_is_already_whole_is_put_in_place(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.json.part").write_bytes(CONTENT)
    fetch(server, tmp_path / "file.json", whole)
    assert (tmp_path / "file.json").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"], "nothing of it is fetched again"


@pytest.mark.parametrize("size", [None, len(CONTENT)])
@pytest.mark.parametrize("part", [b"rubbish", b"x" * (len(CONTENT) + 5), b"x" * len(CONTENT)])
def test_a_kept_part_that_is_wrong_is_fetched_again(
    server: Server, tmp_path: Path, part: bytes, size: int | None
) -> None:
    (tmp_path / "file.json.part").write_bytes(part)
    fetch(server, tmp_path / "file.json", whole, size=size)
    assert (tmp_path / "file.json").read_bytes() == CONTENT


def test_server_errors_are_tried_again_with_growing_waits(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path / "file.json", status(500), status(503), status(429, Retry_After="7"), whole) == [
        1,
        2,
        7,
    ]


def test_a_server_that_stays_broken_is_given_up_on(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"answered 500 Internal Server Error \(5 attempts; .*data=local"):
        fetch(server, tmp_path / "file.json", status(500))
    assert len(server.ranges) == 5


@pytest.mark.parametrize("code", [404, 403, 410])
def test_a_refusal_is_told_at_once(server: Server, tmp_path: Path, code: int) -> None:
    with pytest.raises(ValueError, match=rf"file\.json answered {code} .*data=local"):
        fetch(server, tmp_path / "file.json", status(code))
    assert len(server.ranges) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "answer",
    [
        status(200, b"<p>Please log in</p>", "text/html; charset=utf-8"),
        status(200, b"\n<!DOCTYPE HTML><html>Please log in</html>"),
        status(200, b"<html>Please log in</html>"),
    ],
)
def test_a_web_page_is_never_taken_for_the_file(server: Server, tmp_path: Path, answer: Answer) -> None:
    with pytest.raises(ValueError, match="a web page instead of the file"):
        fetch(server, tmp_path / "file.json", answer)
    assert not (tmp_path / "file.json").exists()


def test_another_content_is_refused_with_both_blob_ids(server: Server, tmp_path: Path) -> None:
    other = CONTENT[:-1] + b"!"
    with pytest.raises(ValueError, match=rf"git blob id {blob_id(other)}, not {BLOB_ID}"):
        fetch(server, tmp_path / "file.json", lambda handler, start: whole(handler, start, content=other))
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_cannot_be_reached_is_told(server: Server, tmp_path: Path) -> None:
    free = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = free.server_port
    free.server_close()
    with pytest.raises(ConnectionError, match=r"could not be reached.*\(2 attempts"):
        download(f"http://127.0.0.1:{port}/x", tmp_path / "x", blob_id=BLOB_ID, attempts=2, sleep=lambda s: None)


def test_a_target_that_cannot_be_written_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="cannot be written"):
        fetch(server, tmp_path / "file" / "x.json", whole)
