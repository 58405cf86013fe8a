"""The environment of a stage: interpreter, locked and installed packages, hardware and drivers.

It holds only what can change a result: no host name, process, time or path. What varies is in the run log."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil

from gist_core.lineage.hashing import sha256_of_path

LOCK_FILE = "requirements.lock"
VECTOR_EXTENSIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "asimd", "sve")


def environment(root: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """What this process runs in.

    variables: the environment variables that can change a result (threads, devices), chosen and read by the caller.
    """
    lock = root / LOCK_FILE
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": " ".join([platform.system(), platform.machine(), *platform.libc_ver()]),
        "lock_file": {"name": LOCK_FILE, "digest": {"sha256": sha256_of_path(lock)}} if lock.exists() else None,
        "packages": installed_packages(),
        "hardware": hardware(),
        "variables": dict(sorted(variables.items())),
    }


def installed_packages() -> dict[str, str]:
    """The version of every installed package, by normalised name (PEP 503)."""
    found: dict[str, str] = {}
    for distribution in distributions():
        metadata = distribution.metadata  # each access reads the file
        if name := metadata["Name"]:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), metadata["Version"])
    return dict(sorted(found.items()))


def hardware() -> dict[str, Any]:
    """Processor, memory (GiB, rounded) and GPUs with their drivers."""
    name, flags = _processor()
    return {
        "cpu": name,
        "vector_extensions": [extension for extension in VECTOR_EXTENSIONS if extension in flags],
        "logical_cpus": _usable_cpus(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpus": _gpus(),
    }


def _usable_cpus() -> int | None:
    """The number of CPUs that this process may run on, which is how many threads torch takes."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor() -> tuple[str, set[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), set()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return name.group(1).strip() if name else platform.machine(), set(flags.group(1).split()) if flags else set()


def _gpus() -> list[dict[str, str]]:
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return []
    rows = [line.split(", ") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return [dict(zip(("name", "memory", "driver"), row, strict=True)) for row in rows if len(row) == 3]
