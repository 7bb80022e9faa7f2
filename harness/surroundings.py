"""What a simulated program needs of its world, and how long things take there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .virtual_time import Clock


@dataclass
class Times:
    """How long things take in the simulated world, in seconds; each is varied by up to `spread` of itself."""

    link_s: float = 0.0005
    launch_s: float = 0.3
    step_s: float = 0.01
    boot_s: float = 0.15
    exit_s: float = 0.02  # from SIGTERM to the end
    heartbeat_s: float = 1.0
    report_s: float = 0.002  # a controller gathers changes for so long before it tells its parent
    gather_s: float = 0.0  # and a controller reports of its agents, before it plans
    spread: float = 0.3


class Surroundings(Protocol):
    """The world, as a program in it may use it."""

    now: float
    times: Times
    violations: list[str]

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Does something later."""

    def vary(self, mean_s: float) -> float:
        """A duration of about `mean_s`."""

    def note(self, who: str, text: str) -> None:
        """Adds a line to the world's log."""

    def clock(self) -> Clock:
        """The clock of a machine."""
