"""Who is silent for too long, and when to try again: two clocks without a clock.

All times are monotonic seconds given by the caller.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Liveness:
    """One peer that should be heard again and again; silent for `timeout_s` it counts as hung. 0 switches it off.

    It is watched from its first word on: how long something may take to start is another limit.
    """

    timeout_s: float
    heard_s: float | None = None

    def heard(self, now: float) -> None:
        self.heard_s = now

    def forget(self) -> None:
        """No longer watched: until its next word."""
        self.heard_s = None

    def silent_for(self, now: float) -> float:
        """Seconds since the last word; 0 when it is not watched."""
        return 0.0 if self.heard_s is None else now - self.heard_s

    def is_silent(self, now: float) -> bool:
        due_s = self.due_s
        return due_s is not None and now >= due_s

    @property
    def due_s(self) -> float | None:
        """When it will count as hung unless it is heard before; None when it is not watched."""
        return self.heard_s + self.timeout_s if self.heard_s is not None and self.timeout_s > 0 else None


@dataclass(slots=True)
class Backoff:
    """The waits between attempts: doubled from `first_s` up to `longest_s`, anew after a success."""

    first_s: float
    longest_s: float
    next_s: float = 0.0

    def failed(self) -> float:
        """The seconds to wait after one more failure."""
        delay_s = self.next_s or self.first_s
        self.next_s = min(2 * delay_s, self.longest_s)
        return delay_s

    def succeeded(self) -> None:
        self.next_s = 0.0
