"""prefect.yaml put on a real server again and again: what is not in it any more does not go on unseen."""

import json
import subprocess
import sys
from pathlib import Path

from tests.flows.conftest import Server

ROOT = Path(__file__).resolve().parents[2]


def on_server(server: Server) -> dict[str, list[str]]:
    """The schedules of each deployment."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "deployment", "ls", "--output", "json"],
        env=server.env(),
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        found["name"]: [each["schedule"]["cron"] for each in found["schedules"]] for found in json.loads(done.stdout)
    }


def test_a_schedule_that_was_taken_out_ends_and_a_renamed_deployment_is_named(tmp_path: Path, server: Server) -> None:
    def deploy(text: str) -> list[str]:
        (tmp_path / "prefect.yaml").write_text(text)
        command = [sys.executable, "-m", "flows", "deploy", "--root", str(tmp_path)]
        done = subprocess.run(command, env=server.env(), capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    (tmp_path / "flows").symlink_to(ROOT / "flows")
    whole = (ROOT / "prefect.yaml").read_text()
    schedule = '    schedules:\n      - {cron: "0 2 * * *", timezone: UTC, active: true}\n'
    assert whole.count(schedule) == whole.count("- name: nightly\n") == 1
    assert "deployed nightly on pipelines at 0 2 * * *" in deploy(whole)
    assert on_server(server)["nightly"] == ["0 2 * * *"]

    said = deploy(whole.replace("- name: nightly\n", "- name: night\n"))
    told = "not in prefect.yaml; prefect deployment delete nightly/nightly"
    assert [line for line in said if told in line] == [f"still on the server at 0 2 * * *: nightly/nightly, {told}"]
    assert on_server(server)["nightly"] == on_server(server)["night"] == ["0 2 * * *"]

    said = deploy(whole.replace(schedule, ""))
    assert "removed  the schedule of nightly/nightly" in said
    assert any(line.startswith("still on the server at 0 2 * * *: nightly/night,") for line in said)
    assert on_server(server)["nightly"] == []
    assert not any("removed" in line for line in deploy(whole.replace(schedule, "    schedules:\n")))

    both = whole.replace("- name: net\n", "- name: nightly\n")  # of another flow, without a schedule
    assert not any("removed" in line for line in deploy(both))
    assert (
        "0 2 * * *"
        in subprocess.run(
            [sys.executable, "-m", "prefect", "deployment", "inspect", "nightly/nightly"],
            env=server.env(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
