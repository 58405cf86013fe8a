"""The whole pipeline on this machine, as a Prefect flow (flows/flow.py) over DVC's graph.

    python -m flows.pipeline            all stages; no server needed, a temporary one starts and stops with the run
    python -m flows.pipeline --help     targets, runs, overrides, limits, ...

The same as `gist flow run`. Prefect is imported only after its settings are made.
"""

from flows.app import main

if __name__ == "__main__":
    main(["run"])
