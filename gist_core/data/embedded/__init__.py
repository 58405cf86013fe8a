"""The embedded sample: three source files that the project wrote itself, under the upstream names and in the upstream
shapes, so that the code that builds Alpaca+ builds a small set without a network.

`write_sources(folder)` writes them, byte for byte the same on every machine.

    task.py                      what a task is, and how its inputs are drawn
    tasks_*.py                   the computed tasks: to add one, add an entry to a table
    pools.py, events.py, ...     the inputs they draw from, and tables of facts
    no_input.jsonl               Self-Instruct instructions without input, written by hand
    alpaca.jsonl                 instructions that occur once, written by hand
    user_oriented.jsonl          longer instructions as people would write them, by hand
"""

from gist_core.data.embedded.sources import write_sources

__all__ = ["write_sources"]
