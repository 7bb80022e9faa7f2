"""The links of a simulated farm: messages are delayed, and on demand stalled or lost in one direction.

A link is a stream, as gRPC gives it: what arrives comes in the order in which it was sent, and an interrupted stream is
opened anew by the child. So a message can be lost (the stream turns out to be broken some time later), late by any time
(it stalls, and a new stream may have been opened meanwhile), and can overtake messages of any other stream. What comes
out of a stream that is no longer the child's present one is left out; that is the receiver's duty (`Stream.is_open`).
"""

import random
from collections.abc import Callable

from .virtual_time import Timeline

Direction = tuple[str, str]  # from, to: the paths of both ends


class Network:
    """All links. `holes` are the directions in which everything is lost, whatever the ends believe."""

    def __init__(self, time: Timeline, generator: random.Random, link_s: float, spread: float) -> None:
        self._time = time
        self._random = generator
        self._link_s = link_s
        self._spread = spread
        self._last_arrival: dict[tuple[Direction, int], float] = {}
        self._stalled_until: dict[Direction, float] = {}
        self.holes: set[Direction] = set()

    def send(self, direction: Direction, stream: int, action: Callable[[], None]) -> None:
        """`action` is the arrival: delayed, and never before that of what was sent earlier in the same stream."""
        delay_s = self._link_s * (1 + self._spread * (2 * self._random.random() - 1))
        if direction in self.holes:
            return
        key, now = (direction, stream), self._time.now
        arrives_s = max(now + delay_s, self._last_arrival.get(key, 0.0), self._stalled_until.get(direction, 0.0))
        self._last_arrival[key] = arrives_s
        self._time.after(arrives_s - now, action)

    def stall(self, direction: Direction, seconds: float) -> None:
        """What is sent in this direction within the next `seconds` arrives at their end."""
        self._stalled_until[direction] = self._time.now + seconds

    def is_stalled(self) -> bool:
        """Whether anything is late."""
        return any(until_s > self._time.now for until_s in self._stalled_until.values())

    def is_prompt(self, direction: Direction) -> bool:
        """Whether nothing is lost or late in this direction just now."""
        return direction not in self.holes and self._stalled_until.get(direction, 0.0) <= self._time.now

    def is_whole(self, one: str, other: str) -> bool:
        """Whether a stream can be opened between two ends."""
        return (one, other) not in self.holes and (other, one) not in self.holes

    def mend(self, one: str, other: str) -> None:
        """Both directions work again."""
        self.holes -= {(one, other), (other, one)}


class Stream:
    """The child's end of its link: which stream is the present one. Zero: none."""

    def __init__(self) -> None:
        self.number = 0
        self.opened = 0

    def open(self) -> int:
        """Opens the next stream; the one before is history."""
        self.opened += 1
        self.number = self.opened
        return self.number

    def close(self) -> None:
        self.number = 0

    def is_open(self, number: int) -> bool:
        """Whether a message of the stream with that number still counts."""
        return self.number == number != 0
