"""The files that DVC writes in place, after a kill.

Killed in that instant (SIGKILL, out of memory, power), DVC leaves half a file, and refuses every later command. What stands in
whole files of dead processes it clears itself.
"""

import json
import logging
from pathlib import Path

import yaml

logger = logging.getLogger(__name__)


def mend(root: Path) -> None:
    """Mends both files of the DVC project at `root`, where they need it."""
    mend_rwlock(root)
    mend_lock(root)


def mend_rwlock(root: Path) -> bool:
    """Removes the list of who reads and writes what in the DVC project at `root`, `.dvc/tmp/rwlock`, if it is broken.
    Says whether it was.

    It looks again under the lock that DVC holds while it writes, so a file that is just being written is left alone.
    """
    path = root / ".dvc/tmp/rwlock"
    if _is_json(path):
        return False
    from dvc.lock import make_lock

    with make_lock(str(path) + ".lock", tmp_dir=str(path.parent), wait=True):
        if _is_json(path):
            return False
        path.unlink()
    logger.warning("%s was broken by a DVC that was killed while it wrote it: removed", path)
    return True


def mend_lock(root: Path) -> bool:
    """Moves `dvc.lock` out of the way, into `.dvc/tmp`, if DVC cannot read it. Says whether it did.

    DVC then finds what it had recorded in its run cache, and computes none of it again. As above it looks under DVC's lock;
    a file with the marks of a merge is left to who merges.
    """
    path, tmp = root / "dvc.lock", root / ".dvc/tmp"
    if _is_lock(path):
        return False
    from dvc.lock import make_lock

    tmp.mkdir(exist_ok=True)
    with make_lock(str(tmp / "lock"), tmp_dir=str(tmp), wait=True):
        if _is_lock(path):
            return False
        path.replace(tmp / "dvc.lock.broken")
    logger.warning("%s was broken, as by a kill while it was written: moved to %s", path, tmp / "dvc.lock.broken")
    return True


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


def _is_lock(path: Path) -> bool:
    try:
        text = path.read_bytes()
        content = yaml.safe_load(text)
    except FileNotFoundError:
        return True
    except (yaml.YAMLError, UnicodeDecodeError):
        return text.startswith(b"<<<<<<<") or b"\n<<<<<<<" in text
    return isinstance(content, dict) and "schema" in content
