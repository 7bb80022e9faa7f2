"""Virtual time: actions wait in one heap, ordered by their moment and then by the order in which they were asked for.

Time jumps from one action to the next, so a simulated minute costs what happens in it. Programs have clocks of their
own, which began at another moment and go at another rate; core only ever sees those.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

LATE_S = 1e-6  # an alarm rings so much later by the world's time: a clock converted there and back must have passed it


class Timeline:
    """The world's own time, in seconds, which nobody in it can see."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Does something later."""
        heapq.heappush(self._heap, (self.now + delay_s, next(self._counter), action))

    def run_until(self, done: Callable[[], bool], limit_s: float = 600.0) -> bool:
        """Lets time pass until `done`, or for `limit_s`; says whether it was done."""
        end = self.now + limit_s
        while not done():
            if not self._heap or self._heap[0][0] > end:
                self.now = end
                return done()
            self.now, _, action = heapq.heappop(self._heap)
            action()
        return True

    def run_for(self, seconds: float) -> None:
        """Lets time pass."""
        end, heap = self.now + seconds, self._heap
        while heap and heap[0][0] <= end:
            self.now, _, action = heapq.heappop(heap)
            action()
        self.now = end


@dataclass(frozen=True, slots=True)
class Clock:
    """A program's monotonic clock: what it shows at time zero, and its seconds for one of the world."""

    offset_s: float = 0.0
    rate: float = 1.0

    def shows(self, now: float) -> float:
        """What it shows at the world's time `now`."""
        return self.offset_s + self.rate * now

    def lasts(self, until_s: float, now: float) -> float:
        """In how many of the world's seconds it will have passed `until_s`."""
        if self == TRUE_CLOCK:
            return max(0.0, until_s - now)
        return max(0.0, (until_s - self.shows(now)) / self.rate) + LATE_S


TRUE_CLOCK = Clock()
