"""What torch raises when memory runs out, as one message that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, CUDA or the system reports it; on a CPU that is an ordinary RuntimeError or OSError."""
    return any(sign in str(error).lower() for sign in SIGNS)


@contextmanager
def enough_memory(remedy: str) -> Iterator[None]:
    """Turns an out-of-memory error into a ValueError that ends with `remedy`."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(f"out of memory ({str(error).strip().splitlines()[0]:.200}); {remedy}") from error
