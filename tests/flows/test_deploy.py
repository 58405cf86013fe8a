"""prefect.yaml put on a real server again and again: what is not in it any more does not go on unseen."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flows.deploy import _read
from tests.flows.conftest import Server

ROOT = Path(__file__).resolve().parents[2]


def on_server(server: Server) -> dict[tuple[str, str], list[str]]:
    """The schedules of each deployment, by the names of its flow and itself."""

    def found(kind: str) -> list[dict[str, Any]]:
        body = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server.url}/{kind}/filter", b"{}", body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return list(json.load(answer))

    flows = {flow["id"]: flow["name"] for flow in found("flows")}
    return {
        (flows[each["flow_id"]], each["name"]): [schedule["schedule"]["cron"] for schedule in each["schedules"]]
        for each in found("deployments")
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deployments: [", "cannot be read as YAML: while parsing"),
        ("", "has no list of deployments"),
        (
            "deployments: []\ndefinitions: {pools: {cpu: {tpye: process}}}",
            r"definitions\.pools\.cpu\.type: Field required",
        ),
        (
            "deployments: []\ndefinitions: {pools: {gpu: {type: kubernetes, base_job_template: no.json}}}",
            r"the job template .*no\.json cannot be read",
        ),
        ("deployments: []\ndefinitions: {lost_after_s: 10 min}", r"definitions\.lost_after_s: .*'10 min'"),
    ],
)
def test_a_mistake_in_the_file_is_a_message_when_it_is_read(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "prefect.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        _read(tmp_path / "prefect.yaml")


def test_a_schedule_that_was_taken_out_ends_and_a_renamed_deployment_is_named(tmp_path: Path, server: Server) -> None:
    def deployed(text: str) -> list[str]:
        (tmp_path / "prefect.yaml").write_text(text)
        command = [sys.executable, "-m", "flows", "deploy", "--root", str(tmp_path)]
        done = subprocess.run(command, env=server.env(), capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    (tmp_path / "flows").symlink_to(ROOT / "flows")
    whole = (ROOT / "prefect.yaml").read_text()
    schedule = '    schedules:\n      - {cron: "0 2 * * *", timezone: UTC, active: true}\n'
    assert whole.count(schedule) == whole.count("- name: nightly\n") == 1
    assert "deployed nightly on pipelines at 0 2 * * *" in deployed(whole)
    assert on_server(server)["nightly", "nightly"] == ["0 2 * * *"]

    said = deployed(whole.replace("- name: nightly\n", "- name: night\n"))
    told = "not in prefect.yaml; prefect deployment delete nightly/nightly"
    assert [line for line in said if told in line] == [f"still on the server at 0 2 * * *: nightly/nightly, {told}"]
    assert on_server(server)["nightly", "nightly"] == on_server(server)["nightly", "night"] == ["0 2 * * *"]

    said = deployed(whole.replace(schedule, "    schedules:\n"))
    assert "removed  the schedule of nightly/nightly" in said
    assert any(line.startswith("still on the server at 0 2 * * *: nightly/night,") for line in said)
    assert on_server(server)["nightly", "nightly"] == []

    both = whole.replace("- name: net\n", "- name: nightly\n")  # of another flow, without a schedule
    assert not any("removed" in line for line in deployed(both))
    assert on_server(server)["nightly", "nightly"] == ["0 2 * * *"]
