"""The orders of one process: one is in flight at a time, and each has one outcome.

An order is known by its id: a repeated one is answered by reporting again, never carried out twice. One that comes
while another is in flight waits, the newest alone, and its limit counts from its receipt all the same. A shutdown waits
for nothing: what is in flight, and what waits, is superseded by it.

What becomes of the process with an order is decided in `process.py`; here is only which one counts.
"""

from collections import deque
from dataclasses import dataclass

from .effects import Order
from .names import Command
from .process_events import Ordered
from .reports import Failure

ORDER_IDS_KEPT = 64  # answered orders remembered for each process
ASK_LIMIT_S = 5.0  # for an actor to repeat what became of its last order


@dataclass(frozen=True, slots=True)
class Received:
    """An order as it came, and when its limit is over."""

    event: Ordered
    deadline_s: float


class Orders:
    """The order in flight, the one that waits for its end, and those that have been answered."""

    def __init__(self) -> None:
        self.in_flight: Order | None = None
        self.deadline_s = 0.0  # of the one in flight
        self.waiting: Received | None = None
        self.last_id = ""  # of the order accepted last
        self.ok = True  # … until it has failed
        self.failure: Failure | None = None  # … and why
        self.asking = False  # the one in flight stands for the last one before, whose command nobody knows
        self._answered: deque[str] = deque(maxlen=ORDER_IDS_KEPT)

    @property
    def command(self) -> Command | None:
        """What is being carried out, as far as it is known."""
        return None if self.in_flight is None or self.asking else self.in_flight.command

    @property
    def booting(self) -> bool:
        return self.in_flight is not None and self.in_flight.command is Command.BOOT and not self.asking

    @property
    def shutting_down(self) -> bool:
        return self.in_flight is not None and self.in_flight.command is Command.SHUTDOWN

    @property
    def alarm_s(self) -> float | None:
        """When a deadline will have come."""
        if self.in_flight is not None:
            return self.deadline_s
        return self.waiting.deadline_s if self.waiting is not None else None

    def is_repeated(self, order: Order) -> bool:
        return order.order_id == self.last_id or order.order_id in self._answered

    def begin(self, received: Received) -> None:
        self._accept(received.event.order)
        self.deadline_s = received.deadline_s

    def _accept(self, order: Order) -> None:
        self.in_flight, self.last_id, self.ok, self.failure = order, order.order_id, True, None

    def renew(self, order: Order) -> None:
        """The command in flight goes on, under a newer order for the same: its times are not begun anew."""
        self._answered.append(self.last_id)
        self.in_flight, self.last_id = order, order.order_id

    def supersede(self) -> None:
        """Neither the one in flight nor the one that waits has an outcome any more."""
        for superseded in (self.in_flight, self.waiting.event.order if self.waiting else None):
            if superseded is not None:
                self._answered.append(superseded.order_id)
        self.in_flight, self.waiting, self.asking = None, None, False

    def finish(self, problem: Failure | None) -> None:
        """The one in flight has its outcome."""
        self._answered.append(self.last_id)
        self.in_flight, self.ok, self.failure, self.asking = None, problem is None, problem, False

    def take_waiting(self) -> Received | None:
        """The one that waited, now that its turn has come; None when it came only to ask for the last one again."""
        received, self.waiting = self.waiting, None
        return None if received is None or received.event.order.order_id == self.last_id else received

    def ask(self, now: float, order_id: str, path: str) -> None:
        """A question takes the place of an order whose outcome only the actor knows."""
        self._accept(Order(order_id, path, Command.BOOT, ASK_LIMIT_S))
        self.asking, self.deadline_s = True, now + ASK_LIMIT_S

    def recover(self, last_id: str, ok: bool) -> None:
        """What a former agent has noted of the last one."""
        self.last_id, self.ok = last_id, ok

    def resume(self, order: Order, deadline_s: float) -> None:
        """The last one was in flight under a former agent, and is so again."""
        self.in_flight, self.deadline_s = order, deadline_s

    def forget_last(self) -> None:
        """The last one never reached the process, so it may come again."""
        self.last_id = ""
