"""DVC's list of who reads and writes what, `.dvc/tmp/rwlock`, after a kill.

DVC writes that file in place. Killed in that instant (SIGKILL, out of memory, power), it leaves half a file, and refuses
every later command with "JSON structure is corrupted"; what stands in whole files of dead processes it clears itself.
"""

import json
import logging
from pathlib import Path

logger = logging.getLogger(__name__)


def mend_rwlock(root: Path) -> bool:
    """Removes the rwlock file of the DVC project at `root` if it is broken. Says whether it was.

    It looks again under the lock that DVC holds while it writes, so a file that is just being written is left alone.
    """
    path = root / ".dvc/tmp/rwlock"
    if _whole(path):
        return False
    from dvc.lock import make_lock

    with make_lock(str(path) + ".lock", tmp_dir=str(path.parent), wait=True):
        if _whole(path):
            return False
        path.unlink()
    logger.warning("%s was broken by a DVC that was killed while it wrote it: removed", path)
    return True


def _whole(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True
