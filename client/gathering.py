"""What a watch has heard and its reader has not taken yet: the newest of each member, never a backlog.

The stream is read as fast as it comes, in a task of its own; so a reader that is busy for an hour finds one view, the
present one, and the controller never has to wait for it.
"""

import asyncio
from collections.abc import Mapping

from grange.proto import control_pb2

from . import reading
from .values import Cause, Lease, MemberStatus, View


class Gathering:
    """One watch between its stream and its reader."""

    def __init__(self) -> None:
        self._members: dict[str, MemberStatus] = {}
        self._exceptions: tuple[MemberStatus, ...] = ()
        self._causes: tuple[Cause, ...] = ()
        self._counters: Mapping[str, Mapping[str, int]] = {}
        self._lease: Lease | None = None
        self._changed: dict[str, None] = {}
        self._removed: dict[str, None] = {}
        self._missing: set[str] = set()  # during a snapshot: members of before that it has not named yet
        self._midway = False  # of an update in chunks
        self._error: Exception | None = None
        self._ready = asyncio.Event()

    def add(self, update: control_pb2.WatchUpdate) -> None:
        """Takes an update over; a snapshot in chunks is there for the reader when its last has come."""
        if update.snapshot:
            self._missing = set(self._members)
        for row in update.rows:
            self._missing.discard(row.path)
            if row.removed:
                self._remove(row.path)
            else:
                self._members[row.path] = reading.read_member(row)
                self._changed[row.path] = None
                self._removed.pop(row.path, None)
        if not self._midway:  # they come with the first chunk
            self._exceptions = reading.read_members(update.exceptions)
            self._causes = reading.read_causes(update.causes)
            self._counters = reading.read_counters(update.counters)
            self._lease = reading.read_lease(update.lease) if update.HasField("lease") else None
        self._midway = update.more
        if self._midway:
            self._ready.clear()
            return
        for path in self._missing:
            self._remove(path)
        self._missing = set()
        self._ready.set()

    def _remove(self, path: str) -> None:
        if self._members.pop(path, None) is not None:
            self._removed[path] = None
        self._changed.pop(path, None)

    def end(self, error: Exception) -> None:
        """The stream is over; what was heard before can still be taken, unless it is half of something."""
        self._error = error
        if self._midway:
            self._changed, self._removed = {}, {}
        self._ready.set()

    async def take(self) -> View:
        """The present, as soon as there is something new in it. Raises what the stream ended with."""
        await self._ready.wait()
        if self._error is not None and not (self._changed or self._removed):
            raise self._error
        view = View(
            members=dict(self._members),
            exceptions=self._exceptions,
            causes=self._causes,
            changed=tuple(self._changed),
            removed=tuple(self._removed),
            counters=self._counters,
            lease=self._lease,
        )
        self._changed, self._removed = {}, {}
        if self._error is None:
            self._ready.clear()
        return view
