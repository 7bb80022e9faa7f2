"""How fast core is alone: events per second of a simulated farm that goes through all its steps.

    python -P -m grange.harness.bench_core [SUB_FARMS NODES PROCESSES]

The figure is events taken in by all controllers of the farm in one thread, with everything that the simulated world
does around them (agents' decisions, links, reports): what one core of this machine could decide, were there no I/O.
"""

import gc
import sys
import time
from dataclasses import dataclass

from grange.core.effects import Answer

from .aims import CYCLE
from .farms import uniform
from .world import World


@dataclass(frozen=True, slots=True)
class CoreFigures:
    """What one farm took to go through all its steps."""

    processes: int
    events: int
    seconds: float

    @property
    def events_per_second(self) -> float:
        return self.events / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.processes} processes, {len(CYCLE)} transitions: {self.events} events in {self.seconds:.2f} s, "
            f"{self.events_per_second:,.0f} events per second"
        )


def measure(sub_farms: int = 10, nodes: int = 20, processes: int = 4, seed: int = 0) -> CoreFigures:
    """Takes a farm of that shape through the whole cycle. Raises `RuntimeError` when a step fails."""
    world = World(uniform(sub_farms, nodes, processes), seed)
    gc.collect()
    began_s = time.process_time()
    for step in CYCLE:
        outcome = world.carry_out(step.value)
        if not isinstance(outcome, Answer) or outcome.kind != "done":
            raise RuntimeError(f"{step} of the simulated farm did not succeed: {outcome}")
    return CoreFigures(sub_farms * nodes * processes, world.events, time.process_time() - began_s)


def events_per_second(sub_farms: int = 10, nodes: int = 20, processes: int = 4) -> float:
    """Events per second of processor time, for `make bench`."""
    return measure(sub_farms, nodes, processes).events_per_second


if __name__ == "__main__":
    print(measure(*map(int, sys.argv[1:])))
