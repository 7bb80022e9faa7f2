"""A picture: one subtree as the watchers see it who look at the same path equally deep, made once for all of them.

It is made afresh after changes, at once after the first and at most ten times a second, and once a second anyway, for
what changes with time alone. Rows that this controller does not have come from the controllers below it, one stream
each, however many watch; the streams live as long as somebody looks.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from grange.core import reporting, view
from grange.core.changes import Changes
from grange.core.errors import GrangeError
from grange.core.memory import LeaseMemory
from grange.core.paths import covers
from grange.proto import common_pb2, control_pb2
from grange.proto.rows import causes_to_wire, counters_to_wire, row_to_wire
from grange.proto.stub import Stubs

from .leasing import lease_message
from .runtime import Runtime

log = logging.getLogger(__name__)

PAUSE_S = 0.1  # between two makings: at most ten updates a second
BEAT_S = 1.0  # between two makings without a change: what members say may hold an age
REDIAL_S = 1.0  # between streams to a controller below that does not answer
STREAM_S = 7 * 86_400.0  # the longest stream to a controller below; it is opened again

Dial = Callable[[str], Awaitable[Stubs]]


class Picture:
    """The rows at and below `path`, `depth` levels deep, and when each of them changed."""

    def __init__(self, runtime: Runtime, dial: Dial, path: str, depth: int) -> None:
        self._runtime, self._dial, self._path, self._depth = runtime, dial, path, depth
        self.changes = Changes[common_pb2.MemberRow]()
        self.exceptions: list[common_pb2.MemberRow] = []
        self.causes: list[common_pb2.Cause] = []
        self.counters: list[common_pb2.RoleCounters] = []
        self.lease: common_pb2.Lease | None = None
        self._leased: LeaseMemory | None = None
        self.readers = 0
        self._keys: dict[str, bytes] = {}  # what was told of each row, to tell whether it is another one
        self._own: set[str] = set()  # rows that this controller has itself; they go before those from below
        self._below: dict[str, dict[str, common_pb2.MemberRow]] = {}
        self._stale: dict[str, set[str]] = {}  # during a snapshot from below: what it has not named yet
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._awaited: set[str] = set()
        self._source = ""  # the child in which what is looked at lies: its counters are told; empty: our own
        self._midway = False  # that child's update before had no room for all
        self._news = asyncio.Event()
        self._whole = asyncio.Event()
        self._free_at_s = float("-inf")  # when it may be made again because something was touched
        self._made_of = -1  # the runtime's number of changes then
        self._beat_at_s = float("-inf")  # when it is made although nothing was touched
        self._due_s = float("inf")  # when it is made next, by the timer
        self._timer: asyncio.TimerHandle | None = None
        self._unlook = runtime.look(self._touched)
        self._make()

    def close(self) -> None:
        """Nobody looks any more."""
        self._unlook()
        if self._timer is not None:
            self._timer.cancel()
        for follower in self._followers.values():
            follower.cancel()

    # ---- for readers ------------------------------------------------------------------------------------------------

    async def whole(self) -> None:
        """Returns when every controller below that is to be asked has told what it has."""
        await self._whole.wait()

    def refresh(self) -> None:
        """For who comes now: what this controller knows itself is as it is at this moment."""
        if self._made_of != self._runtime.sequence:
            self._make()

    async def news(self, read: int) -> None:
        """Returns when something has changed after the change number `read`."""
        while self.changes.head <= read:
            await self._news.wait()

    @property
    def incarnation(self) -> int:
        fence = self._runtime.controller.memory.fence
        return fence[-1] if fence else 0

    @property
    def sequence(self) -> int:
        return self._runtime.sequence

    # ---- making it --------------------------------------------------------------------------------------------------

    def _touched(self) -> None:
        """Something may look different: it is made afresh as soon as it may be."""
        due_s = max(asyncio.get_running_loop().time(), self._free_at_s)
        if due_s < self._due_s:
            self._make_at(due_s)

    def _make_at(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_s = at_s  # the timer itself cannot always say it: uvloop's has no `when` if the moment has come
        self._timer = asyncio.get_running_loop().call_at(at_s, self._make)

    def _make(self) -> None:
        now, wall_s = self._runtime.now(), self._runtime.wall()
        memory, before, beat = self._runtime.controller.memory, self.changes.head, now >= self._beat_at_s
        self._made_of, self._beat_at_s = self._runtime.sequence, now + BEAT_S
        self._make_at(self._beat_at_s)
        own = {row.path: row for row in self._runtime.controller.rows(now, self._path, self._depth)}
        for row in own.values():
            self._put(row_to_wire(row, wall_s))
        gone, self._own = self._own - own.keys(), set(own)
        for path in gone:
            self._uncover(path)
        self._follow_children()
        if not self._source and (counters := counters_to_wire(view.counters(memory, self._path))) != self.counters:
            self.counters = counters
            self.changes.touch()
        if memory.lease is not self._leased:
            self._leased, self.lease = memory.lease, lease_message(self._runtime)
            self.changes.touch()
        if self.changes.head != before or not beat:  # a beat that has nothing to tell keeps no change waiting
            self._free_at_s = now + PAUSE_S
        if self.changes.head != before:
            self.exceptions = [row_to_wire(row, wall_s) for row in view.exceptions(memory, now)]
            self.causes = causes_to_wire(reporting.causes(memory, now))
        self._tell()

    def _tell(self) -> None:
        if not self._awaited:
            self._whole.set()
        self._news.set()
        self._news.clear()

    def _put(self, row: common_pb2.MemberRow) -> None:
        key = _key(row)
        if self._keys.get(row.path) != key:
            self._keys[row.path] = key
            self.changes.put(row.path, row)

    def _uncover(self, path: str) -> None:
        """This controller has no such row any more: perhaps one below has."""
        found = next((rows[path] for rows in self._below.values() if path in rows), None)
        if found is not None:
            self._put(found)
        elif self._keys.pop(path, None) is not None:
            self.changes.remove(path)

    # ---- rows from controllers below --------------------------------------------------------------------------------

    def _follow_children(self) -> None:
        """One stream to each child controller that has what this one does not, as long as it is a child."""
        memory = self._runtime.controller.memory
        wanted = {
            child.name: ask
            for child in memory.children.values()
            if (ask := _to_ask(child.path, self._path, self._depth)) is not None
        }
        lies_below = (name for name in wanted if memory.children[name].path != self._path == wanted[name][0])
        self._source = next(lies_below, "")
        for name in self._followers.keys() - wanted.keys():
            self._followers.pop(name).cancel()
            self._awaited.discard(name)
            for path in self._below.pop(name, {}).keys() - self._own:
                self._uncover(path)
        for name in wanted.keys() - self._followers.keys():
            if memory.links[name].enrolled:
                self._awaited.add(name)
            self._followers[name] = self._runtime.spawn(self._follow(name, *wanted[name]))

    async def _follow(self, child: str, path: str, depth: int) -> None:
        """For as long as somebody looks; the controller below may come and go."""
        while True:
            try:
                stubs = await self._dial(child)
                request = control_pb2.WatchRequest(path=path, depth=depth)
                async with contextlib.aclosing(stubs.control.watch(request, STREAM_S)) as updates:
                    async for update in updates:
                        self._merge(child, update)
            except GrangeError:  # it does not answer
                pass
            except Exception:  # whatever is wrong with one update: nobody would be told of the child any more
                log.exception("the rows of %s cannot be followed; once more", child)
            self._forget(child)
            await asyncio.sleep(REDIAL_S)

    def _merge(self, child: str, update: control_pb2.WatchUpdate) -> None:
        rows = self._below.setdefault(child, {})
        if update.snapshot:
            self._stale[child] = set(rows)
        stale = self._stale.get(child, set())
        for row in update.rows:
            stale.discard(row.path)
            if row.removed:
                self._drop(child, row.path)
            else:
                rows[row.path] = row
                if row.path not in self._own:
                    self._put(row)
        if child == self._source:
            if not self._midway and list(update.counters) != self.counters:
                self.counters = list(update.counters)
                self.changes.touch()
            self._midway = update.more
        if not update.more:
            for path in self._stale.pop(child, ()):
                self._drop(child, path)
            self._awaited.discard(child)
        self._touched()

    def _drop(self, child: str, path: str) -> None:
        self._below[child].pop(path, None)
        if path not in self._own:
            self._uncover(path)

    def _forget(self, child: str) -> None:
        """The controller below does not answer: what it said last is not claimed any more."""
        for path, row in self._below.get(child, {}).items():
            row = common_pb2.MemberRow.FromString(row.SerializeToString())  # readers may hold the one that was told
            row.state = common_pb2.STATE_UNKNOWN
            row.status = f"sub-farm {child} does not answer"
            self._below[child][path] = row
            if path not in self._own:
                self._put(row)
        self._awaited.discard(child)
        self._touched()


def _to_ask(child: str, path: str, depth: int) -> tuple[str, int] | None:
    """What to ask the child controller at `child` for, when somebody looks at `path` so deep; None for nothing."""
    if covers(child, path):
        return (path, depth) if path != child or depth > 0 else None
    above = child.count("/") + 1 - (path.count("/") + 1 if path else 0)
    return (child, depth - above) if covers(path, child) and depth > above else None


def _key(row: common_pb2.MemberRow) -> bytes:
    """What of a row is worth telling: ages change all the time and are not."""
    kept = common_pb2.MemberRow()
    kept.CopyFrom(row)
    kept.heard_unix_s = 0.0
    if kept.HasField("busy"):
        kept.busy.since_unix_s = round(kept.busy.since_unix_s)
        kept.busy.remaining_s = 0.0
    return kept.SerializeToString(deterministic=True)
