"""Watchers: each gets the present first, then whole rows that changed, newest only.

There is no queue. A watcher remembers what it has sent; when it is its turn it compares with the present and sends the
difference, so a slow reader skips what is overtaken and never falls behind. A snapshot is cut into chunks of at most
`CHUNK_BYTES`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

from grange.core import view
from grange.proto import common_pb2, control_pb2
from grange.proto.conversions import row_to_wire

from .runtime import Runtime

CHUNK_BYTES = 256_000
PAUSE_S = 0.1  # between updates: at most ten a second
FIRST_WAIT_S = 1.0  # for controllers below, so that the present is the whole of it; later ones come as changes
BEAT_S = 1.0  # times and ages are refreshed so often, even when nothing else changes


class Watcher:
    """One reader of `Watch`."""

    def __init__(self, runtime: Runtime, path: str, depth: int) -> None:
        self._runtime, self._path, self._depth = runtime, path, depth
        self._changed = asyncio.Event()
        self._changed.set()
        self._unlook = runtime.look(self._changed.set)
        self._below: dict[str, dict[str, common_pb2.MemberRow]] = {}
        self._awaited: set[str] = set()
        self._sent: dict[str, bytes] = {}

    def close(self) -> None:
        self._unlook()

    # ---- rows from controllers below --------------------------------------------------------------------------------

    def expect(self, child: str) -> None:
        """The first update waits, a little, for what this controller below has to say."""
        self._awaited.add(child)

    def merge(self, child: str, update: control_pb2.WatchUpdate) -> None:
        rows = self._below.setdefault(child, {})
        if update.snapshot:
            rows.clear()
        for row in update.rows:
            if row.removed:
                rows.pop(row.path, None)
            else:
                rows[row.path] = row
        if not update.more:
            self._awaited.discard(child)
        self._changed.set()

    def forget(self, child: str) -> None:
        """The controller below does not answer: what it said last is not claimed any more."""
        for row in self._below.get(child, {}).values():
            row.state = common_pb2.STATE_UNKNOWN
            row.status = f"sub-farm {child} does not answer"
        self._awaited.discard(child)
        self._changed.set()

    # ---- updates ----------------------------------------------------------------------------------------------------

    async def updates(self) -> AsyncIterator[control_pb2.WatchUpdate]:
        """The present, then what changes, for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_WAIT_S):
                while self._awaited:
                    self._changed.clear()
                    await self._changed.wait()
        first = True
        while True:
            rows = self._rows()
            for update in self._difference(rows, first):
                yield update
            first = False
            self._changed.clear()
            await asyncio.sleep(PAUSE_S)
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _rows(self) -> list[common_pb2.MemberRow]:
        wall_s = self._runtime.wall()
        own = self._runtime.controller.rows(self._runtime.now(), self._path, self._depth)
        rows = {row.path: row_to_wire(row, wall_s) for row in own}
        for below in self._below.values():
            for path, row in below.items():
                rows.setdefault(path, row)
        return list(rows.values())

    def _difference(self, rows: Iterable[common_pb2.MemberRow], first: bool) -> Iterable[control_pb2.WatchUpdate]:
        memory = self._runtime.controller.memory
        present: dict[str, bytes] = {}
        changed = []
        for row in rows:
            present[row.path] = key = _key(row)
            if self._sent.get(row.path) != key:
                changed.append(row)
        changed += [common_pb2.MemberRow(path=path, removed=True) for path in self._sent if path not in present]
        self._sent = present
        if not changed and not first:
            return
        chunks = _chunks(changed)
        for index, chunk in enumerate(chunks):
            update = control_pb2.WatchUpdate(
                incarnation=memory.fence[-1] if memory.fence else 0,
                sequence=self._runtime.sequence,
                snapshot=first and index == 0,
                more=index + 1 < len(chunks),
                rows=chunk,
            )
            if index == 0:
                now, wall_s = self._runtime.now(), self._runtime.wall()
                update.exceptions.extend(row_to_wire(row, wall_s) for row in view.exceptions(memory, now))
                for reason, members, example in view.causes(memory, now):
                    update.causes.add(reason=reason, members=members, example=example)
            yield update


def _key(row: common_pb2.MemberRow) -> bytes:
    """What of a row is worth telling: ages change all the time and are not."""
    kept = common_pb2.MemberRow()
    kept.CopyFrom(row)
    kept.heard_unix_s = 0.0
    if kept.HasField("busy"):
        kept.busy.since_unix_s = round(kept.busy.since_unix_s)
        kept.busy.remaining_s = 0.0
    return kept.SerializeToString(deterministic=True)


def _chunks(rows: list[common_pb2.MemberRow]) -> list[list[common_pb2.MemberRow]]:
    chunks: list[list[common_pb2.MemberRow]] = [[]]
    size = 0
    for row in rows:
        size += row.ByteSize()
        if size > CHUNK_BYTES and chunks[-1]:
            chunks.append([])
            size = row.ByteSize()
        chunks[-1].append(row)
    return chunks
