"""The agent's line to its parent: dialled for ever, begun with the whole, then what changes.

What is to be told about processes is a set of dirty paths, never a queue: each row is whole, so a slow or absent parent
costs nothing, and several changes within one turn of the loop go as one message. Notes wait in a bounded queue for the
next stream. Everything else belongs to one stream and ends with it: `on_lost` is called then.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from grange.core.liveness import Backoff
from grange.proto import tree_pb2
from grange.proto.link import ChildLink, LinkError

BEAT_INTERVAL_S = 1.0
WELCOME_LIMIT_S = 5.0
REDIAL = (0.1, 5.0)  # first and longest wait between attempts, in seconds
REDIAL_HERE = (0.05, 0.1)  # the same for a parent on this machine, where an attempt costs 0.03 ms
REPORTS_PER_MESSAGE = 256
NOTES_MAX = 1000  # kept while there is no parent; the oldest go first
STREAM_QUEUE_MAX = 64  # answers that belong to one stream, such as pieces of a log

_log = logging.getLogger(__name__)


class ParentLink:
    """`run()` keeps the line up until it is cancelled."""

    def __init__(
        self,
        address: str,
        hello: Callable[[], tree_pb2.Hello],
        report: Callable[[str], tree_pb2.ProcessReport],
        paths: Callable[[], list[str]],
        node: Callable[[], tree_pb2.NodeReport],
        on_welcome: Callable[[tree_pb2.Welcome], Awaitable[tree_pb2.Fenced | None]],
        on_message: Callable[[tree_pb2.ToChild], Awaitable[None]],
        on_lost: Callable[[], None],
    ) -> None:
        self._address = address
        self._hello = hello
        self._report = report
        self._paths = paths
        self._node = node
        self._node_due = False
        self._on_welcome = on_welcome
        self._on_message = on_message
        self._on_lost = on_lost
        self._dirty: set[str] = set()
        self._notes: deque[tree_pb2.Note] = deque(maxlen=NOTES_MAX)
        self._stream: asyncio.Queue[tree_pb2.FromChild] = asyncio.Queue(STREAM_QUEUE_MAX)
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None  # for what may wait a little …
        self._due_s = 0.0  # … until then
        self._beats = 0
        self._beat_due = False
        self.alone_since_s: float | None = time.monotonic()  # None while there is a parent

    def changed(self, path: str, within_s: float = 0.0) -> None:
        """The report of this process is another now; the parent hears of it in this time, with all else until then."""
        self._dirty.add(path)
        if not within_s:
            self._wake.set()
            return
        due_s = time.monotonic() + within_s
        if self._timer is not None:
            if self._due_s <= due_s:
                return
            self._timer.cancel()
        self._due_s = due_s
        self._timer = asyncio.get_running_loop().call_later(within_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._wake.set()

    def node_changed(self) -> None:
        """The report of the node itself is another now."""
        self._node_due = True
        self._wake.set()

    def note(self, note: tree_pb2.Note) -> None:
        """A message for people."""
        self._notes.append(note)
        self._wake.set()

    async def send(self, message: tree_pb2.FromChild) -> None:
        """Something that belongs to the present stream; waits while that is slow."""
        await self._stream.put(message)
        self._wake.set()

    async def run(self) -> None:
        """Dial, talk, and dial again."""
        backoff = Backoff(*(REDIAL_HERE if self._address.startswith("unix:") else REDIAL))
        said = ""
        while True:
            try:
                link, welcome = await ChildLink.connect(self._address, self._hello(), WELCOME_LIMIT_S)
            except LinkError as error:
                if error.reason != said:  # once, not at every attempt
                    _log.warning("no sub-farm controller at %s: %s; dialling on", self._address, error.reason)
                said = error.reason
                await asyncio.sleep(backoff.failed())
                continue
            said = ""
            try:
                fenced = await self._on_welcome(welcome)
                if fenced is not None:
                    await link.send(tree_pb2.FromChild(fenced=fenced))
                    raise LinkError("the parent was replaced by a newer one", refused=True)
                _log.info("attached to %s", self._address)
                backoff.succeeded()
                await self._talk(link)
            except LinkError as error:
                _log.warning("the link to the sub-farm controller was lost: %s; dialling again", error.reason)
            finally:
                await link.close()
                self._on_lost()
            await asyncio.sleep(backoff.failed())

    async def _talk(self, link: ChildLink) -> None:
        while not self._stream.empty():
            self._stream.get_nowait()
        self._dirty.clear()
        self.alone_since_s = None
        await self._send_reports(link, self._paths(), snapshot=True)
        self._node_due = True
        writer = asyncio.create_task(self._write(link))
        try:
            while (message := await link.read()) is not None:
                await self._on_message(message)
        finally:
            self.alone_since_s = time.monotonic()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self, link: ChildLink) -> None:
        beating = asyncio.create_task(self._beat())
        try:
            await self._write_on(link)
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        """A beat is due now, and every second from then on: a timer beside the writer, which so waits for one thing."""
        while True:
            self._beat_due = True
            self._wake.set()
            await asyncio.sleep(BEAT_INTERVAL_S)

    async def _write_on(self, link: ChildLink) -> None:
        while True:
            if self._beat_due:
                self._beat_due = False
                self._beats += 1
                await link.send(tree_pb2.FromChild(beat=tree_pb2.Beat(sequence=self._beats)))
            while self._dirty:
                paths = sorted(self._dirty)
                self._dirty.clear()
                if self._timer is not None:  # what it was set for goes now
                    self._timer.cancel()
                    self._timer = None
                await self._send_reports(link, paths, snapshot=False)
            if self._node_due:
                self._node_due = False
                await link.send(tree_pb2.FromChild(node=self._node()))
            if self._notes:
                notes = list(self._notes)
                self._notes.clear()
                await link.send(tree_pb2.FromChild(notes=tree_pb2.Notes(notes=notes)))
            while not self._stream.empty():
                await link.send(self._stream.get_nowait())
            if not self._dirty and not self._notes and not self._beat_due and not self._node_due:
                self._wake.clear()
                await self._wake.wait()
                await asyncio.sleep(0)  # the rest of this turn changes its rows too, and asks the keeper for its notes

    async def _send_reports(self, link: ChildLink, paths: list[str], *, snapshot: bool) -> None:
        """A snapshot is one message, however large; what changes is sent in pieces."""
        span = len(paths) or 1 if snapshot else REPORTS_PER_MESSAGE
        for first in range(0, len(paths) or 1, span):
            reports = [self._report(path) for path in paths[first : first + span]]
            message = tree_pb2.ProcessReports(snapshot=snapshot, reports=reports)
            await link.send(tree_pb2.FromChild(processes=message))
