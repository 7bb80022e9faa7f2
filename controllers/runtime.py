"""The runtime: feeds events to core, one after the other, and has its effects carried out in their order.

    children.py ─┐                       ┌─ children.py   orders, goals, releases over the tree's link
    parent.py   ─┤   post(event)         ├─ launch/       programs to start
    service.py  ─┼──────────► Controller ├─ store.py      records, run numbers (farm)
    timers      ─┘            .step      └─ service.py    answers to whoever waits
                                   │
                                   └─► event_log.py, and whoever looks (changed)

Everything happens on one event loop and `post` never waits, so core sees facts in the order in which they arrived. What
an effect leads to comes back as a later event. Reports of agents that arrive in one turn of the loop are one fact
(`gather`), so that the end of a step, when most of them arrive, is not planned for after each. After a burst of events
those who look (the parent, watchers, commands' progress) are told once: the first change at once, then at most ten
times a second.
"""

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from grange.core.controller import Controller
from grange.core.effects import (
    Accept,
    AllotRunNumber,
    Answer,
    Effect,
    Launch,
    Persist,
    Refuse,
    Release,
    Say,
    SendDocument,
    SendGoal,
    SendOrders,
    WakeAt,
)
from grange.core.events import AgentsReported, Event, ProcessesReported, Ticked
from grange.core.names import Severity

from .event_log import EventLog

log = logging.getLogger(__name__)

CHANGES_PER_S = 10.0  # how often those who look are told, after the first change
TIMER_ROUNDS_S = 0.0006  # uvloop rounds to whole milliseconds, down as well: no alarm may come before its moment
_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.ERROR: logging.ERROR}


class Links(Protocol):
    """What carries the effects that go to children (`children.py`)."""

    def send_orders(self, effect: SendOrders) -> None: ...
    def send_goal(self, effect: SendGoal) -> None: ...
    def send_document(self, effect: SendDocument) -> None: ...
    def release(self, effect: Release) -> None: ...


class Ports(Protocol):
    """What a controller program provides, for the other effects that leave the runtime."""

    def launch(self, effect: Launch) -> None: ...
    def persist(self, effect: Persist) -> None: ...
    def allot_run_number(self, effect: AllotRunNumber) -> None: ...
    def answer(self, effect: Accept | Refuse | Answer) -> None: ...


class Runtime:
    """One controller core, alive on the running event loop."""

    def __init__(self, controller: Controller, links: Links, ports: Ports, event_log: EventLog | None = None) -> None:
        self.controller = controller
        self._links = links
        self._ports = ports
        self._log = event_log
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Event] = deque()
        self._gathered: list[ProcessesReported] = []  # in this turn of the loop
        self._working = False
        self._timer: asyncio.TimerHandle | None = None
        self._lookers: list[Callable[[], None]] = []
        self._telling: asyncio.Handle | None = None
        self._last_told_s = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()
        self.sequence = 0  # counts changes that those who look may see
        self.after_event: Callable[[], None] | None = None  # called after each burst, before those who look

    # ---- time -------------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The monotonic clock that core's times are of."""
        return self._loop.time()

    @staticmethod
    def wall() -> float:
        """Seconds since 1970, for people and records only."""
        return time.time()

    # ---- events in, effects out -------------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Takes one fact in. Effects are carried out before this returns, unless it was called from one of them."""
        if self._gathered:  # they came before
            self._queue.append(self._together())
        self._queue.append(event)
        if self._working:
            return
        self._working = True
        try:
            while self._queue:
                self._step(self._queue.popleft())
        finally:
            self._working = False
        self._changed()

    def gather(self, event: ProcessesReported) -> None:
        """Takes a report of an agent in, with the others that arrive in this turn of the loop, at the end of it."""
        if not self._gathered:
            self._loop.call_soon(self._post_gathered)
        self._gathered.append(event)

    def _post_gathered(self) -> None:
        if self._gathered:  # nothing else was posted meanwhile, and took them along
            self.post(self._together())

    def _together(self) -> Event:
        gathered, self._gathered = tuple(self._gathered), []
        return AgentsReported(gathered) if len(gathered) > 1 else gathered[0]

    def _step(self, event: Event) -> None:
        now = self.now()
        effects = self.controller.step(now, event)
        if self._log is not None:
            self._log.note(now, event, effects, self.controller.memory)
        for effect, following in itertools.zip_longest(effects, effects[1:]):
            if isinstance(effect, Persist) and isinstance(following, Persist) and following.sync:
                effect = replace(effect, sync=False)  # records are kept in order: the last one's flush is for all
            try:
                self._carry_out(effect)
            except Exception:  # a bug in one must not keep the others, a timer among them, from being carried out
                log.exception("%s could not be carried out", type(effect).__name__)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendOrders():
                self._links.send_orders(effect)
            case SendGoal():
                self._links.send_goal(effect)
            case SendDocument():
                self._links.send_document(effect)
            case Release():
                self._links.release(effect)
            case Launch():
                self._ports.launch(effect)
            case Persist():
                self._ports.persist(effect)
            case AllotRunNumber():
                self._ports.allot_run_number(effect)
            case Accept() | Refuse() | Answer():
                self._ports.answer(effect)
            case Say(severity, member, text, what_to_do):
                hint = f" — {what_to_do}" if what_to_do else ""
                log.log(_LEVELS[severity], "%s: %s%s", member or self.controller.memory.name, text, hint)
            case WakeAt(at_s):
                self._wake_at(at_s)

    def _wake_at(self, at_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at_s is not None:
            self._timer = self._loop.call_at(at_s + TIMER_ROUNDS_S, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.post(Ticked())

    # ---- those who look ---------------------------------------------------------------------------------------------

    def look(self, looker: Callable[[], None]) -> Callable[[], None]:
        """Calls `looker` after changes, never more than `CHANGES_PER_S` often; returns what ends that."""
        self._lookers.append(looker)
        return lambda: self._lookers.remove(looker)

    def _changed(self) -> None:
        self.sequence += 1
        if self.after_event is not None:
            self.after_event()
        if self._telling is not None or not self._lookers:
            return
        due_s = self._last_told_s + 1 / CHANGES_PER_S
        if due_s <= self.now():
            self._telling = self._loop.call_soon(self._tell)
        else:
            self._telling = self._loop.call_at(due_s, self._tell)

    def _tell(self) -> None:
        self._telling = None
        self._last_told_s = self.now()
        for looker in tuple(self._lookers):
            looker()

    # ---- tasks ------------------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs `work` as a task that `close` ends; what it raises is logged."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task failed", exc_info=error)

    async def close(self, limit_s: float = 2.0) -> None:
        """Ends timers and tasks; nothing is posted afterwards."""
        self._wake_at(None)
        if self._telling is not None:
            self._telling.cancel()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=limit_s)
        if self._log is not None:
            self._log.close()
