"""Mends the files that DVC writes in place, after DVC was killed.

If DVC is killed while it writes one (SIGKILL, out of memory, power), it leaves half a file and refuses every later command.
What dead processes left in whole files, it clears up itself.
"""

import json
import logging
from pathlib import Path

import yaml

logger = logging.getLogger(__name__)


def mend(root: Path) -> None:
    """Mends both files of the DVC project at `root`, if they need it."""
    mend_rwlock(root)
    mend_lock(root)


def mend_rwlock(root: Path) -> bool:
    """Removes `.dvc/tmp/rwlock` of the DVC project at `root`, the list of who reads and writes what, if it is broken.
    Returns whether it was.

    It checks again under the lock that DVC holds while it writes, so a file that is just being written is left alone.
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
    """Moves `dvc.lock` out of the way, into `.dvc/tmp`, if DVC cannot read it. Returns whether it did.

    DVC then finds what it had recorded in its run cache, and computes none of it again. As above, the file is checked
    again under DVC's lock. A file with merge conflict markers is left to whoever merges.
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
