"""How a language model is asked to judge."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from gist_core.scoring.judge.prices import Prices

_LEAST_KEY = 12  # a key with fewer characters is not taken as a secret
DEFAULT_BASE_URL = "https://api.openai.com/v1"


@dataclass(frozen=True)
class OpenAISettings:
    """How to ask. Only the first five change a request, and so the key of its answer. Times are in seconds.

    lost_calls: what becomes of calls whose answers were lost, e.g. because an earlier process was killed: a failed
    verdict, so that nothing is ever paid for twice, or another call.

    Raises:
        ValueError: base_url is not the address of a server, or may hold a secret.
    """

    model: str
    base_url: str | None = None
    temperature: float | None = 0.0
    max_output_tokens: int = 400
    output_limit_field: str = "max_tokens"
    mode: Literal["live", "batch"] = "live"
    concurrency: int = 8
    timeout_s: float = 60.0
    max_attempts: int = 6
    max_wait_s: float = 600.0
    lost_calls: Literal["fail", "ask_again"] = "fail"
    poll_s: float = 30.0
    requests_per_batch: int = 50_000
    budget_usd: float | None = None
    budget_calls: int | None = None
    prices: Prices | None = None

    def __post_init__(self) -> None:
        if self.base_url is not None:
            check_address(self.base_url)

    @property
    def endpoint(self) -> str:
        """Where calls go. It is always given to the client, which would otherwise take OPENAI_BASE_URL from the
        environment: the verdicts would then name a judge that was never asked."""
        return self.base_url or DEFAULT_BASE_URL


def check_address(base_url: str) -> None:
    """Raises ValueError if `judge.base_url` is not the address of a server, or may hold a secret."""
    if not _is_http_address(base_url):
        raise ValueError(
            f"judge.base_url = {base_url!r} is no address of a server; it begins with http:// or https://, as "
            "http://127.0.0.1:8000/v1 does, and null is OpenAI's"
        )
    address = urlsplit(base_url)
    if "@" in address.netloc or address.query or address.fragment:
        raise ValueError(
            f"judge.base_url (of the server {address.hostname}) holds a name, a password or what follows a `?` or `#`; it is "
            "written beside every verdict, so that a secret in it would be published: the key goes into OPENAI_API_KEY"
        )


def usable_key(api_key: str) -> str:
    """The key in a form that can be sent, without the line break that a file or a shell leaves at its end.

    Raises:
        ValueError: it cannot be put into an HTTP header. The message does not show it.
    """
    key = api_key.rstrip("\r\n")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(
            "the key in OPENAI_API_KEY holds white space or characters outside ASCII, so it is no key; was it copied "
            "whole, and alone?"
        )
    return key


def without_key(text: str, api_key: str) -> str:
    """A server's error message without the key, so that it can be kept and shown: some servers repeat the headers that
    they were sent. A key of a few letters is left in: it is a dummy for a server that needs none, and may be any word."""
    return text.replace(api_key, "[the key]") if len(api_key) >= _LEAST_KEY else text


def _is_http_address(text: str) -> bool:
    if not text.isprintable() or " " in text:
        return False
    try:
        address = urlsplit(text)
        _ = address.port  # raises if it is no port
    except ValueError:
        return False
    return address.scheme in ("http", "https") and bool(address.hostname)
