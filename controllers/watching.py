"""Watchers: each gets the present first, then whole rows that changed, newest only.

There is no queue. Who looks at the same path equally deep looks at the same picture (`picture.py`), and all that is
remembered of a watcher is the number of the last change that it was told. A watcher whose client does not read waits in
its own write, costs nothing meanwhile, skips what is overtaken, and is ended by the server shell after a while.

Changes are told to one watcher after the other, at most `UPDATES_PER_S` of all together, so that however many watch
most of the controller's time is left for commands; a few are always told at once, and the present whoever asks for it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from grange.proto import common_pb2, control_pb2

from .picture import Dial, Picture
from .runtime import Runtime

CHUNK_BYTES = 256_000
ROW_FRAME_BYTES = 8  # around each row on the wire, at most
FIRST_WAIT_S = 1.0  # for controllers below, so that the present is the whole of it; later ones come as changes
DEPTH_MAX = 8  # levels; no tree is deeper, and watchers who ask for more look at the same picture
UPDATES_PER_S = 500.0  # to all watchers together: each costs about 0.2 ms of the controller's processor
UPDATES_AT_ONCE = 20  # of these, before the others have to wait their turn


class Watching:
    """Who watches what of one controller."""

    def __init__(self, runtime: Callable[[], Runtime], dial: Dial) -> None:
        self._runtime, self._dial = runtime, dial
        self._pictures: dict[tuple[str, int], Picture] = {}
        self._free_at_s = float("-inf")  # when every update that was granted a turn has had it

    async def updates(self, path: str, depth: int) -> AsyncGenerator[control_pb2.WatchUpdate, None]:
        """The present, then what changes, for ever."""
        key = path, min(depth, DEPTH_MAX)
        if key not in self._pictures:
            self._pictures[key] = Picture(self._runtime(), self._dial, *key)
        picture = self._pictures[key]
        picture.readers += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_WAIT_S):
                    await picture.whole()
            picture.refresh()
            reader = Reader(picture)
            yield reader.next_update()
            while True:
                while reader.behind:
                    await self._turn()
                    yield reader.next_update()
                await picture.news(reader.read)
        finally:
            picture.readers -= 1
            if not picture.readers:
                del self._pictures[key]
                picture.close()

    async def _turn(self) -> None:
        """Returns when one more update may be written."""
        now = asyncio.get_running_loop().time()
        cost_s = 1 / UPDATES_PER_S
        self._free_at_s = max(self._free_at_s, now - UPDATES_AT_ONCE * cost_s) + cost_s
        if self._free_at_s > now:
            await asyncio.sleep(self._free_at_s - now)


class Reader:
    """How far one watcher has come in its picture."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._snapshot = True  # the next update begins with the whole
        self._midway = False  # the update before had no room for all
        self._incarnation = 0
        self._began = 0  # the picture's last change when the present was begun
        self.read = 0

    @property
    def behind(self) -> bool:
        return self._snapshot or self.read < self._picture.changes.head

    def next_update(self) -> control_pb2.WatchUpdate:
        """What the watcher has not been told, as it is now; a chunk of it when it is much."""
        picture = self._picture
        missed = max(self.read, self._began) < picture.changes.floor
        if self._snapshot or missed or self._incarnation != picture.incarnation:
            self._snapshot, self.read, self._began = True, 0, picture.changes.head
            self._incarnation = picture.incarnation
        update = control_pb2.WatchUpdate(
            incarnation=picture.incarnation, sequence=picture.sequence, snapshot=self._snapshot, lease=picture.lease
        )
        if self._snapshot or not self._midway:
            update.exceptions.extend(picture.exceptions)
            update.causes.extend(picture.causes)
            update.counters.extend(picture.counters)
        size, rows = update.ByteSize(), list[common_pb2.MemberRow]()
        for number, path, row in picture.changes.since(self.read):
            told = row if row is not None else common_pb2.MemberRow(path=path, removed=True)
            size += told.ByteSize() + ROW_FRAME_BYTES
            if size > CHUNK_BYTES and rows:
                update.more = True
                break
            rows.append(told)
            self.read = number
        else:
            self.read = picture.changes.head
        update.rows.extend(sorted(rows, key=lambda told: told.path.split("/")))  # parents before children
        self._snapshot = False
        self._midway = update.more
        return update
