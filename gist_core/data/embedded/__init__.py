"""The embedded sample: three source files that the project wrote itself, under the upstream names and in the upstream
shapes, so that the code that builds Alpaca+ builds a small set without a network.

`write_sources(folder)` writes them, byte for byte the same on every machine."""

from gist_core.data.embedded.sources import (
    ALPACA_FILE,
    SELF_INSTRUCT_FILE,
    USER_ORIENTED_FILE,
    alpaca_records,
    self_instruct_records,
    user_oriented_records,
    write_sources,
)

__all__ = [
    "ALPACA_FILE",
    "SELF_INSTRUCT_FILE",
    "USER_ORIENTED_FILE",
    "alpaca_records",
    "self_instruct_records",
    "user_oriented_records",
    "write_sources",
]
