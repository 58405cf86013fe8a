"""Mends the files that DVC writes in place, after DVC was killed.

If DVC is killed while it writes one (SIGKILL, out of memory, power), it leaves half a file and refuses every later command.
What dead processes left in whole files, it clears up itself, unless another process has the number of a dead one by now, as
can be after a reboot, or the dead one is still a zombie, as for ever in a container whose first process collects none.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import psutil
import yaml

from tasks.parent import is_dvc

logger = logging.getLogger(__name__)

CLOCK_TOLERANCE_S = 5.0  # between the clock of files and that of processes


def mend(root: Path) -> None:
    """Mends both files of the DVC project at `root`, if they need it."""
    mend_rwlock(root)
    mend_lock(root)


def mend_rwlock(root: Path) -> bool:
    """Mends `.dvc/tmp/rwlock` of the DVC project at `root`, the list of who reads and writes what, if it is not JSON or names
    processes that have ended. Returns whether it did.

    It checks again under the lock that DVC holds while it writes, so a file that is just being written is left alone.
    """
    path = root / ".dvc/tmp/rwlock"
    if _mended(path) is None:
        return False
    from dvc.lock import make_lock

    with make_lock(str(path) + ".lock", tmp_dir=str(path.parent), wait=True):
        mended = _mended(path)
        if mended is None:
            return False
        temporary = path.with_suffix(".mended")
        temporary.write_text(json.dumps(mended), encoding="utf-8")
        os.replace(temporary, path)
    logger.warning("%s was broken, or named a dead DVC whose number is not free: mended", path)
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


def _mended(path: Path) -> dict[str, Any] | None:
    """What an rwlock file should hold; None if it need not change, or is of a form that DVC itself will complain of."""
    try:
        content = json.loads(path.read_bytes())
        written = path.stat().st_mtime
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    try:
        kept = {
            "read": {
                file: [reader for reader in readers if not _has_ended(reader["pid"], written)]
                for file, readers in content.get("read", {}).items()
            },
            "write": {
                file: writer
                for file, writer in content.get("write", {}).items()
                if not _has_ended(writer["pid"], written)
            },
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return kept if kept != {"read": {}, "write": {}} | content else None


def _has_ended(pid: int, written: float) -> bool:
    """Whether the process that had this number when the file was written has ended, although DVC finds one: a zombie, or one
    that started later and is no DVC (for which the clock may have been set)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return process.create_time() > written + CLOCK_TOLERANCE_S and not is_dvc(process.cmdline())
    except psutil.Error:
        return False


def _is_lock(path: Path) -> bool:
    try:
        text = path.read_bytes()
        content = yaml.safe_load(text)
    except FileNotFoundError:
        return True
    except (yaml.YAMLError, UnicodeDecodeError):
        return text.startswith(b"<<<<<<<") or b"\n<<<<<<<" in text
    return isinstance(content, dict) and "schema" in content
