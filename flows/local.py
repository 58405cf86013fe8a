"""A run of the pipeline from the command line, in this process. Without a Prefect server, a temporary one starts."""

import signal
import sys
from pathlib import Path

from flows.flow import pipeline
from flows.parameters import PipelineParameters
from flows.processes import exit_terminated, guard_children


def run_here(root: Path, parameters: PipelineParameters) -> int:
    """Runs the flow and returns the exit code: 0, 1 for a failed or cancelled run, 130 after Ctrl-C."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    signal.signal(signal.SIGTERM, exit_terminated)  # so that the temporary server is stopped after TERM, too
    with get_client(sync_client=True) as client:  # starts the temporary server where there is none
        client.api_healthcheck()
    guard_children("prefect.server.api.server:create_app")
    values = parameters.model_dump()
    try:
        state = pipeline(**values, root=str(root), return_state=True)
    except ObjectNotFound:
        raise ValueError(
            "the Prefect server has no record of this run any more (was its database replaced?); what was finished stays: "
            "start again, and `gist flow deploy` puts deployments back"
        ) from None
    except KeyboardInterrupt:
        print("flows: interrupted; the stages that ran were stopped, what was finished stays", file=sys.stderr)
        return 130
    if state.is_completed():
        print(f"flows: {state.message}")
        return 0
    print(f"flows: {state.message}", file=sys.stderr)
    return 1
