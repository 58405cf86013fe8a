"""`gist flow` says in one line what is wrong."""

import os
import socket
import subprocess
import sys

import pytest

from tests.flows.conftest import Server


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


def test_more_runs_than_prefect_hands_out_at_once_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows", "status", "--limit", "300"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "200" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_for_a_pool_that_does_not_exist_is_refused_with_the_nearest_that_do(server: Server) -> None:
    make = [sys.executable, "-m", "prefect", "work-pool", "create", "gpu", "--type", "process"]
    subprocess.run(make, env=server.env(), check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-m", "flows", "worker", "gpu", "gpuu"],
        env=server.env(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no work pool 'gpuu' (did you mean gpu?)" in done.stderr
    assert "Traceback" not in done.stderr
