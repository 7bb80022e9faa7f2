"""A probe command that is run again and again: when it is due, when it takes too long, how often in a row it failed.

There is never more than one at a time: the next one is due an interval after the last one's *start*, but never before
its end. All times are monotonic seconds given by the caller, who starts and ends the commands.
"""

from dataclasses import dataclass

from .durations import duration_words


@dataclass(slots=True)
class Prober:
    """One probe of one process; idle until `begin`."""

    interval_s: float = 1.0
    timeout_s: float = 5.0
    misses: int = 0  # in a row
    said: str = ""  # why the last one failed; empty after a success
    due_s: float | None = None  # when the next one is to start; None while one runs, and when idle
    deadline_s: float | None = None  # of the one that runs
    _next_s: float = 0.0
    _overdue: bool = False

    @property
    def alarm_s(self) -> float | None:
        """When `is_due` or `is_overdue` will come true; None: not by itself."""
        return self.due_s if self.due_s is not None else self.deadline_s

    def begin(self, first_s: float, interval_s: float, timeout_s: float) -> None:
        """From now on a probe is wanted every `interval_s`, the first at `first_s`."""
        self.interval_s, self.timeout_s = interval_s, timeout_s
        self.misses, self.said, self._overdue = 0, "", False
        self.due_s, self.deadline_s = first_s, None

    def cease(self) -> bool:
        """No more are wanted; whether one was running."""
        was_running = self.deadline_s is not None or self._overdue
        self.due_s = self.deadline_s = None
        self._overdue = False
        return was_running

    def start_due(self, now: float) -> bool:
        """Whether one has to be started now; it counts as running then."""
        if self.due_s is None or now < self.due_s:
            return False
        self.due_s, self.deadline_s = None, now + self.timeout_s
        self._next_s = now + self.interval_s
        return True

    def end_due(self, now: float) -> bool:
        """Whether the one that runs has to be ended now; its end is still to be told by `ended`."""
        if self.deadline_s is None or now < self.deadline_s:
            return False
        self.deadline_s, self._overdue = None, True
        return True

    def ended(self, now: float, problem: str) -> bool:
        """The one that ran has ended; an empty `problem` is success. False: it was not wanted any more."""
        if self.deadline_s is None and not self._overdue:
            return False
        if self._overdue:
            problem = f"took longer than {duration_words(self.timeout_s)}"
        self.misses = self.misses + 1 if problem else 0
        self.said = problem
        self.deadline_s, self._overdue = None, False
        self.due_s = max(now, self._next_s)
        return True
