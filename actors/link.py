"""The process side of the actor link: one thread that talks to the agent, so that user code never has to.

The thread owns the socket. It connects to the agent's Unix socket, says hello, hands each order on, beats every second
and sends notes; an answer is sent by whoever gives it, because the agent waits for it. When the agent goes away the
thread connects again for ever, with a back-off, while the actor goes on as it was. Answers and notes are numbered and
kept until the agent acknowledges them; after each hello all that is kept is sent again, oldest first, so nothing said
is lost while the agent is away. A beat is sent only if the owner gives one (the owner's main thread may be stuck, and
then silence is the truth), and never queued behind a full socket.

While the main thread has nothing to do it reads the socket itself (`wait`), so that an order wakes one thread and not
two, one after the other. The thread gets the reading back before the order is carried out: whatever that does, the
agent is listened to. `_reading` is the lock of whoever reads.
"""

import errno
import logging
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from grange.proto import actor_pb2
from grange.proto.framing import FramingError, Unframer, frame

from .waiting import HasFileno, wait_readable

FIRST_RETRY_S = 0.05
LAST_RETRY_S = 2.0
SETTLED_S = 1.0
"""A connection that lived so long was a good one: the next retry starts at `FIRST_RETRY_S` again."""
NOTES_KEPT = 1000
"""Notes kept for an agent that is away; beyond it the oldest note goes. Answers are always kept."""
_READ_BYTES = 1 << 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer or note that the agent has not acknowledged."""

    sequence: int
    data: bytes
    is_note: bool


class Link:
    """The thread and the socket; every method may be called from any thread.

    `hello` and `heartbeat` are asked for on the link's thread whenever one is due (`heartbeat` may give None: no beat
    now); `on_order` is called with each order, there or in `wait`, and must return at once.
    """

    def __init__(
        self,
        socket_path: str,
        *,
        hello: Callable[[], actor_pb2.ActorHello],
        heartbeat: Callable[[], actor_pb2.ActorHeartbeat | None],
        on_order: Callable[[actor_pb2.ActorOrder], None],
        heartbeat_interval_s: float,
    ) -> None:
        self._path = socket_path
        self._hello = hello
        self._heartbeat = heartbeat
        self._on_order = on_order
        self._interval_s = heartbeat_interval_s
        self._reading = threading.Lock()  # taken before the other one
        # with it
        self._unframer = Unframer()
        self._broken = False  # what was read makes no sense, or is the end: the thread opens the link anew
        self._lock = threading.Lock()
        # with it
        self._kept: deque[_Kept] = deque()
        self._sequence = 0
        self._socket: socket.socket | None = None  # set by the thread alone
        self._out = bytearray()
        self._sent_up_to = 0
        self._lent = False  # the main thread reads
        self._waits_for_room = False
        # everybody's
        self._close_by: float | None = None
        self._beat_wanted = False
        self._bell, self._bell_push = socket.socketpair()
        self._bell.setblocking(False)
        self._bell_push.setblocking(False)
        # what follows belongs to the thread alone
        self._epoll = select.epoll()
        self._epoll.register(self._bell, select.EPOLLIN)
        self._connected_at = 0.0
        self._retry_s = FIRST_RETRY_S
        self._retry_at = 0.0
        self._next_beat = 0.0
        self._thread = threading.Thread(target=self._run, name="actor-link", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def answer(self, answer: actor_pb2.ActorAnswer) -> None:
        """Send an answer, and keep it until acknowledged.

        Somebody waits for it, so it goes out here and now, unless the link is down or full: then the thread has it.
        Not to be called where a signal handler may raise: half a message would be lost.
        """
        with self._lock:
            self._keep(actor_pb2.FromActor(answer=answer), is_note=False)
            sent = self._socket is not None and not self._out and self._push()
        if not sent:
            self._ring()

    def note(self, note: actor_pb2.ActorNote) -> None:
        """Send a note, and keep it until acknowledged or crowded out."""
        with self._lock:
            self._keep(actor_pb2.FromActor(note=note), is_note=True)
        self._ring()

    def beat(self) -> None:
        """Send a heartbeat now: something changed that the agent should not wait a second for."""
        self._beat_wanted = True
        self._ring()

    def wait(self, sources: Iterable[HasFileno], timeout_s: float) -> None:
        """Sleep until one of `sources` is readable, the agent has said something, or the time is over.

        For the main thread: what the agent says meanwhile is taken in here.
        """
        with self._reading:
            if self._lend():
                try:
                    connection = self._socket
                    assert connection is not None  # the thread closes none that it has lent
                    wait_readable((*sources, connection), timeout_s)
                    self._broken = not self._receive(connection)
                finally:
                    self._give_back()
                return
        wait_readable(sources, timeout_s)

    def _lend(self) -> bool:
        """With the lock for reading: the main thread reads from now on, if there is something to read from."""
        with self._lock:
            if self._socket is None or self._broken:
                return False
            self._lent = True
            self._watch(self._socket)
            return True

    def _give_back(self) -> None:
        with self._lock:
            self._lent = False
            if self._socket is not None:
                self._watch(self._socket)
        if self._broken:
            self._ring()

    def _watch(self, connection: socket.socket) -> None:
        """With the lock: what the thread is woken for."""
        wanted = (0 if self._lent else select.EPOLLIN) | (select.EPOLLOUT if self._waits_for_room else 0)
        self._epoll.modify(connection, wanted)

    def close(self, timeout_s: float) -> None:
        """Send what is still unsent if the agent takes it within `timeout_s`, then end the thread."""
        self._close_by = time.monotonic() + timeout_s
        self._ring()
        if self._thread.is_alive():
            self._thread.join(timeout_s + SETTLED_S)
        self._epoll.close()
        self._bell.close()
        self._bell_push.close()

    def _keep(self, message: actor_pb2.FromActor, *, is_note: bool) -> None:
        """With the lock."""
        self._sequence += 1
        message.sequence = self._sequence
        self._kept.append(_Kept(self._sequence, frame(message), is_note))
        if is_note and sum(kept.is_note for kept in self._kept) > NOTES_KEPT:
            oldest = next(kept for kept in self._kept if kept.is_note)
            self._kept.remove(oldest)

    def _ring(self) -> None:
        """Wake the thread; a bell that is ringing already (full) or gone needs no push."""
        try:
            self._bell_push.send(b"\0")
        except OSError:
            pass

    def _run(self) -> None:
        try:
            while not self._finished():
                now = time.monotonic()
                if self._socket is None and now >= self._retry_at:
                    self._connect(now)
                self._compose(now)
                self._wait()
        finally:
            self._drop()

    def _finished(self) -> bool:
        if self._close_by is None:
            return False
        with self._lock:
            unsent = self._socket is not None and (self._out or self._unsent())
        return not unsent or time.monotonic() >= self._close_by

    def _unsent(self) -> list[_Kept]:
        """With the lock."""
        return [kept for kept in self._kept if kept.sequence > self._sent_up_to]

    def _connect(self, now: float) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            if error.errno not in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN):
                _log.warning("cannot reach the agent at %s: %s", self._path, error)
            self._back_off(now)
            return
        self._epoll.register(connection, select.EPOLLIN)
        self._connected_at = now
        self._next_beat = now
        hello = frame(actor_pb2.FromActor(hello=self._hello()))
        with self._reading:
            self._unframer, self._broken = Unframer(), False
        with self._lock:
            self._waits_for_room = False
            self._socket, self._sent_up_to, self._out = connection, 0, bytearray(hello)

    def _compose(self, now: float) -> None:
        """Send what is to be said now, as far as the agent takes it."""
        if self._socket is None:
            return
        with self._lock:
            clear = self._push()
        if now >= self._next_beat or self._beat_wanted:
            self._beat_wanted = False
            self._next_beat = now + self._interval_s
            beat = self._heartbeat() if clear else None
            if beat is not None:
                with self._lock:
                    self._out += frame(actor_pb2.FromActor(heartbeat=beat))
                    clear = self._push()
        if self._waits_for_room is clear:
            with self._lock:
                self._waits_for_room = not clear
                self._watch(self._socket)

    def _push(self) -> bool:
        """With the lock, while there is a socket: send what is unsent; whether nothing is left."""
        assert self._socket is not None
        for kept in self._unsent():
            self._out += kept.data
            self._sent_up_to = kept.sequence
        if not self._out:
            return True
        try:
            sent = self._socket.send(self._out)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(self._out)  # the agent is gone; its last words are still to be read, and end in an end of file
        del self._out[:sent]
        return not self._out

    def _wait(self) -> None:
        """Sleep until the socket, the bell or the clock has something to say, and take it in."""
        wake_at = self._retry_at if self._socket is None else self._next_beat
        if self._close_by is not None:
            wake_at = min(wake_at, self._close_by)
        for descriptor, events in self._epoll.poll(max(0.0, wake_at - time.monotonic())):
            if descriptor == self._bell.fileno():
                self._bell.recv(_READ_BYTES)
            elif events & ~select.EPOLLOUT:
                self._read()
        if self._broken:
            self._lost()

    def _read(self) -> None:
        """On the thread; while the main thread reads (the end of the link wakes both) it comes after it."""
        with self._reading:
            if self._socket is not None and not self._receive(self._socket):
                self._broken = True

    def _receive(self, connection: socket.socket) -> bool:
        """With the lock for reading: take in what has come; False when nothing good can come any more."""
        try:
            data = connection.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        try:
            for body in self._unframer.feed(data):
                self._take(actor_pb2.ToActor.FromString(body))
        except (FramingError, DecodeError) as error:
            _log.error("the agent's bytes make no sense, so the link is opened anew: %s", error)
            return False
        return bool(data)

    def _take(self, message: actor_pb2.ToActor) -> None:
        match message.WhichOneof("body"):
            case "order":
                self._on_order(message.order)
            case "acknowledge":
                with self._lock:
                    while self._kept and self._kept[0].sequence <= message.acknowledge.sequence:
                        self._kept.popleft()
            case "refusal":
                _log.error("the agent refused this actor: %s", message.refusal.reason)
                self._retry_s = LAST_RETRY_S
                self._connected_at = time.monotonic()
            case _:
                _log.warning("the agent said something that this version of the contract does not know")

    def _lost(self) -> None:
        now = time.monotonic()
        if now - self._connected_at >= SETTLED_S:
            self._retry_s = FIRST_RETRY_S
        self._drop()
        self._back_off(now)

    def _drop(self) -> None:
        with self._reading:
            with self._lock:
                connection, self._socket = self._socket, None
                self._out.clear()
            self._broken = False
            if connection is not None:
                self._epoll.unregister(connection)
                connection.close()

    def _back_off(self, now: float) -> None:
        self._retry_at = now + self._retry_s
        self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
