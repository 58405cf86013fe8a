"""torchrun, but with the exit code of the worker that failed first; a signal is coded as in a shell (137 for SIGKILL).

    python -m gist_core.training.launch TORCHRUN'S ARGUMENTS

torchrun itself exits with 1 whatever happened, and its other workers fail only because the first one is gone.
"""

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

if __name__ == "__main__":
    try:
        run(parse_args(sys.argv[1:]))
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from None
    except ChildFailedError as error:
        print(error, file=sys.stderr)
        _, first = error.get_first_failure()
        raise SystemExit(128 - first.exitcode if first.exitcode < 0 else first.exitcode) from None
