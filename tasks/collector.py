"""Python's garbage collector, kept out of the start and the end of a process."""

import atexit
import gc

YOUNG_OBJECTS = 10_000  # Python's own threshold is 700 to 2,000


def collect_rarely() -> None:
    """Makes the collector, which finds objects that are held only by each other, run less often, and not before the end.

    Importing torch and transformers makes more than a million objects that stay until the end. By default the collector goes
    through them again and again while they are made, and once more before the process ends: a third of the time that a stage
    takes around its work. Neither a training step nor decoding leaves it a tensor, so no memory to speak of waits for it."""
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)  # the last collection then has nothing to go through
