"""Prefect's settings for a run on one machine: no server set up by hand, nothing sent anywhere.

Called by the commands before Prefect is imported. What the user has set (environment, profile) always wins."""

import base64
import os
import time
from pathlib import Path

from tasks import paths

SERVER_START_SECONDS = 90
DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


def configure_prefect(root: Path) -> None:
    """Environment defaults for Prefect. Unless the user has set a server, runs are recorded under `.work/prefect`."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # The temporary server's first start creates its database, which on a busy machine takes more than the default 20 s.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "8")
    home = root / paths.WORK / "prefect"
    if "PREFECT_HOME" not in os.environ and not _writable(Path.home()):
        os.environ["PREFECT_HOME"] = str(home)
    if DATABASE not in os.environ:
        # The project has its own database: one in the home folder, made by another version of Prefect, would not open.
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{home} cannot be made: {error.strerror}") from None
        os.environ[DATABASE] = own_database(root)


def own_database(root: Path) -> str:
    """The address of the database of the clone at `root`."""
    return f"sqlite+aiosqlite:///{root / paths.WORK / 'prefect' / 'prefect.db'}"


def require_server(what: str, wait_s: float = SERVER_START_SECONDS) -> None:
    """Waits for the Prefect server to answer: a server started in the background takes a moment.

    Raises:
        ValueError: no server is set (a temporary one will not do for what others must see), none answers, or what answers
            is not a Prefect API or refuses us.
    """
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    how = (
        "start one with `prefect server start`, and name it with "
        "`prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api`; one that runs on another machine is named by that "
        "machine's address"
    )
    if url is None:
        raise ValueError(f"{what} needs a Prefect server: {how}")
    deadline = time.monotonic() + wait_s
    while (status := _status(url)) is None or status >= 500:
        if time.monotonic() > deadline:
            raise ValueError(f"{what} needs a Prefect server, and no Prefect server answers at {url}: {how}")
        time.sleep(0.5)
    if status in (401, 403):
        raise ValueError(
            f"the Prefect server at {url} refuses us ({status}): set PREFECT_API_AUTH_STRING, or PREFECT_API_KEY, to what it "
            "wants"
        )
    if status != 200:
        raise ValueError(f"what answers at {url} is no Prefect API ({status}); its address ends in /api")


def require_server_if_set(what: str) -> None:
    """`require_server` without waiting, if an address is set; if none is, a temporary server will do."""
    from prefect.settings import get_current_settings

    if get_current_settings().api.url is not None:
        require_server(what, wait_s=0)


def _status(url: str) -> int | None:
    """HTTP status of a request that only a Prefect API answers, and only to those it lets in; None without an answer."""
    import httpx
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    headers = {}
    if api.key is not None:
        headers["Authorization"] = f"Bearer {api.key.get_secret_value()}"
    elif api.auth_string is not None:
        token = base64.b64encode(api.auth_string.get_secret_value().encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    try:
        return httpx.post(f"{url}/flows/filter", json={"limit": 1}, headers=headers, timeout=5.0).status_code
    except httpx.TransportError:
        return None


def _writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK)
