"""One controller program of a simulated farm: the real core, its own clock, and what it has sent."""

from dataclasses import replace

from grange.core.controller import Controller, new_memory
from grange.core.events import ControllerReported, ProcessesReported
from grange.core.names import Kind
from grange.core.plan import FarmSpec, SubFarmSpec
from grange.core.reports import ControllerReport

from .network import Stream
from .virtual_time import TRUE_CLOCK, Clock


class SimController:
    """A program; another one at the same place in the tree is another `SimController`."""

    def __init__(self, path: str, name: str, incarnation: int = 0, clock: Clock = TRUE_CLOCK) -> None:
        root = path == ""
        kind = Kind.FARM if root else Kind.SUB_FARM
        self.path = path
        self.name = name
        self.core = Controller(new_memory(path, name, kind, root, (incarnation,) if root else ()))
        self.clock = clock
        self.alive = True
        self.cut = False  # the network between it and its parent
        self.incarnation = incarnation
        self._allotted: dict[str, int] = {}  # to each child
        self.parent: SimController | None = None
        self.launcher: SimController | None = None  # whose child process it is
        self.stream = Stream()
        self.told: ControllerReport | None = None
        self.telling = False
        self.gathered: list[ProcessesReported] = []
        self.wake_token = 0
        self.events = 0  # that it was told
        self.dies_after: int | None = None  # so many more of its effects

    def allot(self, child: str) -> int:
        """The number of one more stream of a child: the next farm controller begins again with 1, as in reality."""
        self._allotted[child] = self._allotted.get(child, 0) + 1
        return self._allotted[child]

    def spec_below(self, name: str) -> SubFarmSpec:
        """The part of its configuration that a controller below is sent."""
        memory = self.core.memory
        above: FarmSpec | SubFarmSpec | None = memory.farm if memory.farm is not None else memory.spec
        return next(spec for spec in (above.sub_farms if above is not None else ()) if spec.name == name)

    def is_outdated(self, seen: tuple[int, ...]) -> bool:
        """Whether somebody who has seen these incarnations obeys a newer controller than this one."""
        mine = self.core.memory.fence
        return bool(mine) and seen[: len(mine)] > mine

    def reported(self, report: ControllerReport, now: float, to: "SimController") -> ControllerReported:
        """The report as its parent gets it: moments on the parent's clock, as the edges translate them."""
        return ControllerReported(self.name, translated(report, self.clock, to.clock, now))


def translated(report: ControllerReport, clock: Clock, to: Clock, now: float) -> ControllerReport:
    """The report with its moments on another program's clock."""
    if clock == to or not report.changes:
        return report
    return replace(
        report,
        changes=tuple(
            replace(change, at_s=to.shows(now) - (clock.shows(now) - change.at_s)) for change in report.changes
        ),
    )
