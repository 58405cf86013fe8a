"""A real HTTP server on loopback that speaks OpenAI's chat and batch protocol and misbehaves as its script says.

`python -m tests.scoring.scripted_server [SECONDS]` starts it by hand; each answer then takes so long. It sees, for each
call, the texts that were to be compared, and counts how often each was asked and how often answered."""

import email.parser
import email.policy
import json
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

USAGE = {"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220}


@dataclass(frozen=True)
class Say:
    """The content of the judge's message."""

    content: str | None
    refusal: str | None = None
    finish_reason: str = "stop"


@dataclass(frozen=True)
class Fail:
    """An HTTP error."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    message: str = "scripted"


@dataclass(frozen=True)
class Page:
    """HTTP 200 with a body that is no chat completion."""

    body: str


@dataclass(frozen=True)
class Hang:
    """No answer until the client has gone."""


@dataclass(frozen=True)
class Reset:
    """The connection breaks without an answer."""


@dataclass(frozen=True)
class Drip:
    """HTTP 200 and a body that never ends, one byte at a time; no single read takes long."""


Action = Say | Fail | Page | Hang | Reset | Drip
Script = Callable[[dict[str, Any], int], Action]


def choose(letter: str, reason: str = "because") -> Say:
    return Say(json.dumps({"reason": reason, "choice": letter}))


def prefers_longer(material: dict[str, Any], attempt: int) -> Action:
    """A well-behaved judge whose choice depends on the texts alone."""
    first, second = len(material["answer_a"]), len(material["answer_b"])
    return choose("A" if first > second else "B" if second > first else "tie")


class ScriptedServer:
    """Context manager. `asked`, `answered`: Counter by (answer_a, answer_b, instruction)."""

    def __init__(self, script: Script = prefers_longer, *, delay_s: float = 0.0) -> None:
        self.script, self.delay_s = script, delay_s
        self.asked: Counter[tuple[str, str, str]] = Counter()
        self.answered: Counter[tuple[str, str, str]] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.under_way = self.most_under_way = 0
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.polls_until_done = 2
        self.page_size = 100
        self.broken: tuple[int, dict[str, Any] | str] = (503, {"error": {"message": "scripted"}})
        self.breaks: Callable[[str, str], bool] = lambda method, path: False  # `broken` in place of its answer
        self.lock = threading.Lock()
        self.closing = threading.Event()
        server = self

        class Handler(_Handler):
            owner = server

        self._http = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> "ScriptedServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def close_port(self) -> None:
        """From now on nobody listens at the address."""
        self._http.shutdown()
        self._http.server_close()

    def act(self, body: dict[str, Any]) -> tuple[tuple[str, str, str], Action]:
        material = json.loads(body["messages"][-1]["content"])
        identity = (material["answer_a"], material["answer_b"], material["instruction"])
        with self.lock:
            self.asked[identity] += 1
            self.bodies.append(body)
            self.times.append(time.monotonic())
            attempt = self.asked[identity]
        return identity, self.script(material, attempt)

    def run_batch(self, batch: dict[str, Any]) -> None:
        good, bad = [], []
        for line in self.files[batch["input_file_id"]].splitlines():
            request = json.loads(line)
            identity, action = self.act(request["body"])
            if isinstance(action, Say):
                self.answered[identity] += 1
                response = {"status_code": 200, "request_id": "r", "body": completion(request["body"], action)}
                good.append({"id": "x", "custom_id": request["custom_id"], "response": response, "error": None})
            else:
                response = {"status_code": 500, "request_id": "r", "body": {"error": {"message": "broken"}}}
                bad.append({"id": "x", "custom_id": request["custom_id"], "response": response, "error": None})
        for name, records in (("output_file_id", good), ("error_file_id", bad)):
            if records:
                batch[name] = f"{batch['id']}-{name}"
                self.files[batch[name]] = "".join(json.dumps(record) + "\n" for record in records)
        batch["status"] = "completed"


def completion(body: dict[str, Any], say: Say) -> dict[str, Any]:
    message = {"role": "assistant", "content": say.content, "refusal": say.refusal}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"] + "-as-answered",
        "choices": [{"index": 0, "finish_reason": say.finish_reason, "message": message, "logprobs": None}],
        "usage": USAGE,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    owner: ScriptedServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body would wait 40 ms for the acknowledgement of the head

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/chat/completions":
            self._chat(json.loads(data))
        elif self.path == "/v1/files":
            identity = f"file-{len(self.owner.files)}"
            self.owner.files[identity] = self._uploaded(data)
            self._json(
                200,
                {"id": identity, "object": "file", "bytes": 1, "created_at": 1, "filename": "f", "purpose": "batch"},
            )
        elif self.path == "/v1/batches":
            identity = f"batch-{len(self.owner.batches)}"
            self.owner.batches[identity] = json.loads(data) | {
                "id": identity,
                "object": "batch",
                "created_at": 1,
                "status": "validating",
                "polls": 0,
            }
            self._json(200, self.owner.batches[identity])

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/v1/").split("/")
        if path == ["batches"]:
            self._list()
        elif path[0] == "batches":
            batch = self.owner.batches[path[1]]
            batch["polls"] += 1
            if batch["polls"] == self.owner.polls_until_done:
                self.owner.run_batch(batch)
            self._json(200, batch)
        else:
            self._send(200, self.owner.files[path[1]].encode(), "application/octet-stream")

    def _list(self) -> None:
        """The newest batches first, `page_size` of them at a time, after the one that the query names."""
        query = parse_qs(self.path.partition("?")[2])
        batches = list(self.owner.batches.values())[::-1]
        if "after" in query:
            batches = batches[[batch["id"] for batch in batches].index(query["after"][0]) + 1 :]
        more = len(batches) > self.owner.page_size
        self._json(200, {"object": "list", "data": batches[: self.owner.page_size], "has_more": more})

    def _chat(self, body: dict[str, Any]) -> None:
        owner = self.owner
        with owner.lock:
            owner.under_way += 1
            owner.most_under_way = max(owner.most_under_way, owner.under_way)
        try:
            identity, action = owner.act(body)
            time.sleep(owner.delay_s)
            if isinstance(action, Say):
                self._json(200, completion(body, action))
                with owner.lock:
                    owner.answered[identity] += 1
            elif isinstance(action, Fail):
                self._json(action.status, {"error": {"message": action.message, "code": action.code}}, action.headers)
            elif isinstance(action, Page):
                self._send(200, action.body.encode(), "text/html")
            elif isinstance(action, Hang):
                owner.closing.wait(5)
                self.close_connection = True
            elif isinstance(action, Drip):
                self._drip()
            else:
                # SO_LINGER with a time of zero: close() sends a reset instead of an orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
        finally:
            with owner.lock:
                owner.under_way -= 1

    def _drip(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "100000")
        self.end_headers()
        with suppress(ConnectionError):
            while not self.owner.closing.wait(0.1):
                self.wfile.write(b" ")

    def _uploaded(self, data: bytes) -> str:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + data)
        for part in message.iter_parts():  # type: ignore[attr-defined]
            if part.get_param("name", header="Content-Disposition") == "file":
                return part.get_payload(decode=True).decode()
        raise ValueError("no file in the upload")

    def _json(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), "application/json", headers)

    def _send(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        if self.owner.breaks(self.command, self.path):
            status, body = self.owner.broken
            kind = "text/html" if isinstance(body, str) else "application/json"
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    with ScriptedServer(delay_s=float(sys.argv[1]) if len(sys.argv) > 1 else 0.0) as running:
        print(running.base_url, flush=True)
        threading.Event().wait()
