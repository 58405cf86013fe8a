"""Which stages may start now: those whose upstream stages have all ended well, while their resource has room."""

from collections import Counter
from collections.abc import Iterator

from flows.graph import Graph, StageNode
from flows.parameters import Limits


class Scheduler:
    """Hands out stages in the graph's order, never more than the limit of a resource at a time.

    A stage that must run alone starts when nothing else runs, and nothing starts beside it.
    A stage whose upstream failed is given up, with all that depends on it; the others go on.
    """

    def __init__(self, graph: Graph, limits: Limits) -> None:
        self._graph = graph
        self._limits = limits
        self._waiting = list(graph.stages)
        self._busy: Counter[str] = Counter()
        self._alone = False  # whether the stage that was started last must run alone
        self.finished: set[str] = set()
        self.failed: set[str] = set()
        self.given_up: dict[str, str] = {}  # stage -> the failed stage it depends on

    def startable(self) -> Iterator[str]:
        """The stages to start now; each counts as running until `ended` is called for it."""
        for name in list(self._waiting):
            stage = self._graph.stages[name]
            ready = all(up in self.finished for up in stage.upstream)
            if ready and self._has_room(stage):
                self._waiting.remove(name)
                self._busy[stage.resource] += 1
                self._alone = stage.alone
                yield name

    def _has_room(self, stage: StageNode) -> bool:
        if self._busy.total() and (self._alone or stage.alone):
            return False
        return self._busy[stage.resource] < self._limits.of(stage.resource)

    def ended(self, name: str, *, well: bool) -> None:
        """Records that a started stage has ended."""
        self._busy[self._graph.stages[name].resource] -= 1
        if well:
            self.finished.add(name)
            return
        self.failed.add(name)
        for waiting in list(self._waiting):
            cause = next(
                (up for up in self._graph.stages[waiting].upstream if up in self.failed or up in self.given_up), None
            )
            if cause is not None:
                self._waiting.remove(waiting)
                self.given_up[waiting] = self.given_up.get(cause, cause)

    @property
    def done(self) -> bool:
        return not self._waiting and not +self._busy
