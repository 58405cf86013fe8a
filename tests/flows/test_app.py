"""`gist flow` says in one line what is wrong."""

import os
import socket
import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", [["status"], ["cancel", "abc"]])
def test_no_server_is_a_message(command: list[str]) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
        done = subprocess.run(
            [sys.executable, "-m", "flows", *command],
            env=os.environ | {"PREFECT_API_URL": address},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert f"no Prefect server answers at {address}" in done.stderr
    assert "Traceback" not in done.stderr
