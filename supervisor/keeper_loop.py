"""The keeper's one loop: what it watches, its timers, what follows at the end of a turn, what is owed to the disk.

Part of the keeper's program: loaded by it, by path, so it imports the standard library and the keeper's other parts
alone.

A *turn* is: wait until something has come, serve all of it, serve the timers that are due, then what was asked for
with `soon`. So what came together can be done together, such as one flush of the disk for all spawns of a turn.
"""

import errno
import heapq
import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import keeper_kernel as kernel
else:
    import keeper_kernel as kernel

FAULT_PAUSE_S = 0.05  # after an operation of the loop that failed: what made it fail comes again at once
DO_AGAIN = (0.2, 5.0)  # first and longest wait before what could not be written is tried again, in seconds


class Complaints:
    """Says a problem once, not each time that it is met, and when it is over."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()

    def met(self, what: str, error: OSError) -> None:
        kind = (what, errno.errorcode.get(error.errno or 0, "?"))
        if kind not in self._said:
            self._said.add(kind)
            kernel.say(f"{what}: {error} (said once)")

    def over(self, what: str) -> None:
        kinds = {kind for kind in self._said if kind[0] == what}
        if kinds:
            self._said -= kinds
            kernel.say(f"{what}: over")


class Loop:
    """Calls back, each time from the top, so that no call waits for another."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.complaints = Complaints()
        self.owed = Owed(self)
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._soon: list[Callable[[], None]] = []

    def path(self, *parts: str) -> str:
        """A path in the node's directory."""
        return os.path.join(self.directory, *parts)

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (time.monotonic() + delay_s, self._timer_count, call))

    def soon(self, call: Callable[[], None]) -> None:
        """At the end of this turn; asked for there, at the end of the next, which comes at once."""
        self._soon.append(call)

    def watch(self, source: Any, call: Callable[[], None]) -> None:
        """Whenever there is something to be read."""
        self._selector.register(source, selectors.EVENT_READ, lambda _: call())

    def watch_both(self, source: Any, call: Callable[[int], None]) -> None:
        """As `watch`, with the selector's mask; `want_room` says whether room to write is an event as well."""
        self._selector.register(source, selectors.EVENT_READ, call)

    def want_room(self, source: Any, wanted: bool) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
        key = self._selector.get_key(source)
        if key.events != events:
            self._selector.modify(source, events, key.data)

    def unwatch(self, source: Any) -> None:
        self._selector.unregister(source)

    def turn(self) -> None:
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        for key, mask in self._selector.select(0 if self._soon else timeout):
            # Not when an earlier one of this turn has closed it, and perhaps opened something else of the same number.
            if self._selector.get_map().get(key.fd) is key:
                self._attempt(key.data, mask)
        while self._timers and self._timers[0][0] <= time.monotonic():
            self._attempt(heapq.heappop(self._timers)[2])
        calls, self._soon = self._soon, []
        for call in calls:
            self._attempt(call)

    def _attempt(self, call: Callable[..., None], *arguments: Any) -> None:
        """Whatever the machine has run out of, the keeper goes on: what it watches over is worth more."""
        try:
            call(*arguments)
        except OSError as error:
            self.complaints.met("an operation failed", error)
            time.sleep(FAULT_PAUSE_S)


class Owed:
    """What could not be written when it should have been: a full disk, mostly. It is written later.

    What the keeper knows stays true in its memory meanwhile. What has to be on disk before something is done is not for
    this class: it is written at once, or the thing is not done.
    """

    WHAT = "files cannot be written, what they should say is kept in memory and written later"

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._actions: dict[str, Callable[[], None]] = {}  # by what they write, which is what is true then
        self._wait_s = 0.0  # before the next attempt; 0: none is planned

    def do(self, what: str, action: Callable[[], None]) -> None:
        """Now, or later when it raises `OSError`."""
        try:
            action()
        except OSError as error:
            self._loop.complaints.met(self.WHAT, error)
            self._actions[what] = action
            if not self._wait_s:
                self._wait_s = DO_AGAIN[0]
                self._loop.after(self._wait_s, self._again)
        else:
            self._actions.pop(what, None)

    def cancel(self, what: str) -> None:
        """It is written otherwise, or not wanted any more."""
        self._actions.pop(what, None)

    def _again(self) -> None:
        for what, action in list(self._actions.items()):
            with suppress(OSError):
                action()
                del self._actions[what]
        if self._actions:
            self._wait_s = min(2 * self._wait_s, DO_AGAIN[1])
            self._loop.after(self._wait_s, self._again)
        else:
            self._wait_s = 0.0
            self._loop.complaints.over(self.WHAT)
