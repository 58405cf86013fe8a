"""`gist flow` says in one line what is wrong."""

import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.flows.conftest import Server


def at(address: str, *command: str) -> "subprocess.CompletedProcess[str]":
    """`python -m flows COMMAND` with the address of a server."""
    return subprocess.run(
        [sys.executable, "-m", "flows", *command],
        env=os.environ | {"PREFECT_API_URL": address},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", [["status"], ["cancel", "abc"], ["run", "sources"]])
def test_no_server_is_a_message(command: list[str]) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
        done = at(address, *command)
    assert done.returncode == 2
    assert f"no Prefect server answers at {address}" in done.stderr
    assert "Traceback" not in done.stderr


NO_API = "what answers at {base} is no Prefect API (404); its address ends in /api"
REFUSED = "the Prefect server at {base}/api refuses us (401): set PREFECT_API_AUTH_STRING"


@pytest.mark.parametrize(
    ("command", "path", "message"),
    [
        *((command, "", NO_API) for command in ("status", "run sources", "worker cpu")),
        *((command, "/api", REFUSED) for command in ("cancel abc", "run sources", "deploy")),
    ],
)
def test_an_address_that_is_no_api_and_a_server_that_wants_a_password_are_messages(
    command: str, path: str, message: str
) -> None:
    class Locked(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            known = self.path == "/api/flows/filter"
            self.send_response(401 if known else 404)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        done = at(f"{base}{path}", *command.split())
        server.shutdown()
    assert done.returncode == 2
    assert message.format(base=base) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_more_runs_than_prefect_hands_out_at_once_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows", "status", "--limit", "300"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "200" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_outside_of_a_clone_is_refused_before_it_takes_a_stage(tmp_path: Path) -> None:
    done = at("http://127.0.0.1:1/api", "worker", "cpu", "--root", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path} is no clone of the project; start this in one, or name it with --root" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_worker_for_a_pool_that_does_not_exist_is_refused_with_the_nearest_that_do(server: Server) -> None:
    make = [sys.executable, "-m", "prefect", "work-pool", "create", "shelf", "--type", "process"]
    subprocess.run(make, env=server.env(), check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-m", "flows", "worker", "shelf", "shelff"],
        env=server.env(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no work pool 'shelff' (did you mean shelf?)" in done.stderr
    assert "Traceback" not in done.stderr
