"""Whether a process that died is started again, and when: so often within a period, with a back-off that doubles.

After Erlang's supervisors: a child that dies too often is not helped by one more start, so it is given up, and what
then follows is decided above. The first restart is at once, for most deaths are not repeated. The node of a process
remembers its restarts, so a new controller allows no more than the one before; a person who starts it allows all again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_DELAY_S = 30.0


@dataclass(frozen=True, slots=True)
class RestartSpec:
    """How a role's processes are restarted under the policy `restart`."""

    most: int = 3  # restarts of one process within the period; one more death, and it is given up
    period_s: float = 60.0
    delay_s: float = 0.5  # before the second restart within the period; doubles with each further one

    def again_in_s(self, restarts: Sequence[float], now: float) -> float | None:
        """In how many seconds a process is started again that was at the moments `restarts`; None: it is given up."""
        recent = len(self.recent(restarts, now))
        if recent >= self.most:
            return None
        return 0.0 if recent == 0 else min(LONGEST_DELAY_S, self.delay_s * 2 ** (recent - 1))

    def recent(self, restarts: Sequence[float], now: float) -> tuple[float, ...]:
        """Those of the moments that are not older than the period."""
        return tuple(at_s for at_s in restarts if at_s > now - self.period_s)
