"""The garbage collector seldom runs in a stage, but it runs."""

import subprocess
import sys

from tests.running import environment

SCRIPT = """
import atexit, gc
atexit.register(lambda: print("left alone at the end:", gc.get_freeze_count() > 0))  # runs after what is registered later
from tasks.collector import YOUNG_OBJECTS, collect_rarely

class Circle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        global ended
        ended += 1

def drop(number):
    global ended
    gc.collect()
    ended = 0
    for _ in range(number):
        Circle()
    return ended

collect_rarely()
print("soon:", drop(YOUNG_OBJECTS // 4))
print("in the end:", drop(YOUNG_OBJECTS * 2) > YOUNG_OBJECTS // 2)
"""


def test_objects_that_refer_to_each_other_wait_for_more_of_them_and_for_nothing_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["soon: 0", "in the end: True", "left alone at the end: True"]
