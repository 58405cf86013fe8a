"""Which stage may start when, on random graphs."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from flows.graph import RESOURCES, Graph, StageNode
from flows.parameters import Limits
from flows.scheduler import Scheduler


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    size = draw(st.integers(1, 12))
    stages = {}
    for number in range(size):
        upstream = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        resource = draw(st.sampled_from(RESOURCES))
        needed = tuple(f"s{up}" for up in sorted(upstream))
        stages[f"s{number}"] = StageNode(f"s{number}", resource, needed, alone=draw(st.booleans()))
    return Graph(stages)


@given(graphs(), st.integers(0, 2**32), st.sets(st.integers(0, 11), max_size=3), st.integers(1, 3))
def test_limits_and_order_hold_and_only_what_needs_a_failed_stage_is_given_up(
    graph: Graph, seed: int, failing: set[int], gpu: int
) -> None:
    chance = random.Random(seed)
    limits = Limits(gpu=gpu)
    scheduler = Scheduler(graph, limits)
    running: list[str] = []
    while not scheduler.done:
        for name in scheduler.startable():
            assert set(graph.stages[name].upstream) <= scheduler.finished
            running.append(name)
        busy = Counter(graph.stages[name].resource for name in running)
        assert all(busy[resource] <= limits.of(resource) for resource in RESOURCES)
        assert len(running) == 1 or not any(graph.stages[name].alone for name in running)
        assert running, "nothing runs, nothing may start, and yet it is not done"
        name = running.pop(chance.randrange(len(running)))
        scheduler.ended(name, well=int(name[1:]) not in failing)
    assert scheduler.finished | scheduler.failed | set(scheduler.given_up) == set(graph.stages)
    for name, cause in scheduler.given_up.items():
        assert cause in scheduler.failed
        assert name not in scheduler.finished
    for name, stage in graph.stages.items():
        doomed = any(up in scheduler.failed or up in scheduler.given_up for up in stage.upstream)
        assert (name in scheduler.given_up) == doomed
