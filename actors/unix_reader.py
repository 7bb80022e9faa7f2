"""The receiving end of the exchange over Unix sockets: one listening socket, one connection from each writer."""

import logging
import os
import selectors
import socket
from collections import deque
from collections.abc import Sequence

from .exchange import Block, ExchangeError, Received, name_some
from .unix_wire import Connection, Kind, Message

_BACKLOG = 1024

_log = logging.getLogger(__name__)


class _Input:
    """One connection: whose it is, once it has said hello, and whether its marker has come."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.writer = ""
        self.ended = False


class UnixReader:
    """See `exchange.Reader`."""

    def __init__(self, path: str, writers: Sequence[str], run_number: int, window_blocks: int) -> None:
        self._path = path
        self._expected = frozenset(writers)
        self._run_number = run_number
        self._window = window_blocks
        self._inputs: set[_Input] = set()
        self._queue: deque[tuple[Received, _Input]] = deque()
        self._given: dict[int, _Input] = {}  # whose each block is that was given out, by the identity of the Received
        self._dead: set[str] = set()
        self._socket = _listen(path)
        self._inode = os.stat(path).st_ino
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)

    def poll(self) -> None:
        for key, events in self._selector.select(0):
            if key.data is None:
                self._accept()
                continue
            if events & selectors.EVENT_WRITE:
                key.data.connection.flush()
            self._attend(key.data)

    def receive(self) -> Received | None:
        if not self._queue:
            return None
        received, source = self._queue.popleft()
        self._given[id(received)] = source
        return received

    def done(self, received: Received) -> None:
        source = self._given.pop(id(received))
        if source in self._inputs:
            block = received.block
            source.connection.push(Message(Kind.CONFIRM, self._run_number, block.number, block.origin))
            self._watch(source)

    @property
    def drained(self) -> bool:
        return not self._queue and all(source.ended for source in self._inputs)

    @property
    def dead(self) -> tuple[str, ...]:
        return tuple(sorted(self._dead))

    def waiting_for(self) -> str:
        return name_some(sorted(source.writer or "a newcomer" for source in self._inputs if not source.ended))

    def fileno(self) -> int:
        return self._selector.fileno()

    def close(self) -> None:
        self._selector.close()
        for source in self._inputs:
            source.connection.close()
        self._inputs.clear()
        self._socket.close()
        try:
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        except FileNotFoundError:
            pass

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self._socket.accept()
            except BlockingIOError:
                return
            source = _Input(Connection(end))
            self._inputs.add(source)
            self._selector.register(source.connection, selectors.EVENT_READ, source)
            self._attend(source)

    def _attend(self, source: _Input) -> None:
        """Take in what has come over a connection, and notice its end."""
        for message in source.connection.messages():
            if not self._take(source, message):
                source.connection.lost = True
                break
        if source.connection.lost:
            self._forget(source)
        else:
            self._watch(source)

    def _take(self, source: _Input, message: Message) -> bool:
        """False if the message is not to be had from this connection."""
        if message.run_number != self._run_number:
            _log.warning("%s sends data of run %d to run %d", source.writer, message.run_number, self._run_number)
            return False
        match message.kind:
            case Kind.HELLO if not source.writer:
                return self._greet(source, bytes(message.body).decode(errors="replace"))
            case Kind.BLOCK if source.writer and not source.ended:
                block = Block(message.origin, message.number, message.frames, message.body)
                self._queue.append((Received(block, source.writer), source))
            case Kind.END if source.writer:
                source.ended = True
            case _:
                _log.warning("%s sends a %s out of place", source.writer or "a newcomer", message.kind.name)
                return False
        return True

    def _greet(self, source: _Input, writer: str) -> bool:
        if writer not in self._expected:
            _log.warning("%s is not an input of this process", writer)
            return False
        source.writer = writer
        self._dead.discard(writer)
        source.connection.push(Message(Kind.WELCOME, self._run_number, self._window))
        return True

    def _forget(self, source: _Input) -> None:
        self._selector.unregister(source.connection)
        source.connection.close()
        self._inputs.discard(source)
        if source.writer and not source.ended and all(other.writer != source.writer for other in self._inputs):
            self._dead.add(source.writer)

    def _watch(self, source: _Input) -> None:
        write = 0 if source.connection.flushed else selectors.EVENT_WRITE
        self._selector.modify(source.connection, selectors.EVENT_READ | write, source)


def _listen(path: str) -> socket.socket:
    """A listening socket at `path`, in place of one that a dead process left there."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        _remove_stale(path)
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ExchangeError(f"cannot listen at {path}: {error.strerror}. Does the exchange directory exist?") from error
    except ExchangeError:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Unlink a socket that nobody listens at; `ExchangeError` if somebody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise ExchangeError(f"another process listens at {path} already. Terminate it first")
