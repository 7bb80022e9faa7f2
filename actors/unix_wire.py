"""What goes over a data socket: messages of a fixed head and a body, and one non-blocking end of such a socket.

The head, 32 bytes, little-endian: uint32 body length, uint32 kind, uint32 origin, uint32 frames, uint64 run number,
uint64 number. The kinds:

    HELLO    writer → reader  first; the body is the writer's path in UTF-8
    WELCOME  reader → writer  `number` is the window: so many blocks may be unconfirmed
    BLOCK    writer → reader  the body is the block
    CONFIRM  reader → writer  the block `origin`, `number` is taken care of
    END      writer → reader  the end-of-run marker: nothing follows

The two ends run on one machine under one uid; a message that cannot be breaks the connection.
"""

import hashlib
import socket
import struct
from collections import deque
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from .exchange import MAX_BLOCK_BYTES, ExchangeError

MAX_SOCKET_PATH_BYTES = 107
_HEAD = struct.Struct("<IIIIQQ")
_HASH_CHARACTERS = 16


class Kind(IntEnum):
    """What a message says."""

    HELLO = 1
    WELCOME = 2
    BLOCK = 3
    CONFIRM = 4
    END = 5


class Message(NamedTuple):
    """One message; `body` is empty unless the kind says what is in it."""

    kind: Kind
    run_number: int
    number: int = 0
    origin: int = 0
    frames: int = 0
    body: bytes | memoryview = b""


def socket_path(directory: Path, member: str) -> str:
    """Where the reader `member` listens; a hash stands for a name that would be too long for a Unix socket."""
    name = f"{member.replace('/', '.')}.in"
    if len(bytes(directory / name)) > MAX_SOCKET_PATH_BYTES:
        name = f"{hashlib.sha256(member.encode()).hexdigest()[:_HASH_CHARACTERS]}.in"
    path = directory / name
    if len(bytes(path)) > MAX_SOCKET_PATH_BYTES:
        raise ExchangeError(
            f"{path} is {len(bytes(path))} bytes long, and a Unix socket's path has at most {MAX_SOCKET_PATH_BYTES}. "
            "Choose a shorter exchange directory"
        )
    return str(path)


class Connection:
    """One end of a data socket. `lost` once the other end is gone; what came before that is still given out."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._out: deque[memoryview] = deque()
        self._head = bytearray(_HEAD.size)
        self._head_bytes = 0
        self._fields: tuple[int, ...] = ()
        self._body = bytearray()
        self._body_bytes = 0
        self.lost = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def flushed(self) -> bool:
        """True if everything that was pushed is with the kernel."""
        return not self._out

    def push(self, message: Message) -> None:
        """Send a message as soon as the socket takes it; the body must not change until then."""
        body = memoryview(message.body)
        if len(body) > MAX_BLOCK_BYTES:
            raise ExchangeError(f"a block of {len(body)} bytes; the limit is {MAX_BLOCK_BYTES}. Send smaller blocks")
        head = _HEAD.pack(len(body), message.kind, message.origin, message.frames, message.run_number, message.number)
        self._out.append(memoryview(head))
        if body:
            self._out.append(body)
        self.flush()

    def flush(self) -> None:
        """Hand the kernel what it takes."""
        while self._out and not self.lost:
            try:
                sent = self._socket.send(self._out[0])
            except BlockingIOError:
                return
            except OSError:
                self._out.clear()  # the other end is gone; its last words are still to be read
                return
            if sent < len(self._out[0]):
                self._out[0] = self._out[0][sent:]
            else:
                self._out.popleft()

    def messages(self) -> list[Message]:
        """Every message that is whole by now; after the last one `lost` tells whether the other end is gone."""
        found: list[Message] = []
        try:
            while self._read_some():
                message = self._whole()
                if message is not None:
                    found.append(message)
        except BlockingIOError:
            pass
        except (OSError, ValueError):
            self.lost = True
        return found

    def _read_some(self) -> bool:
        """Read into the head or the body, whichever is not full; False at the end."""
        if self._head_bytes < _HEAD.size:
            count = self._socket.recv_into(memoryview(self._head)[self._head_bytes :])
            self._head_bytes += count
            if self._head_bytes == _HEAD.size:
                self._begin_body()
        else:
            count = self._socket.recv_into(memoryview(self._body)[self._body_bytes :])
            self._body_bytes += count
        self.lost = count == 0
        return not self.lost

    def _begin_body(self) -> None:
        self._fields = _HEAD.unpack(self._head)
        if self._fields[0] > MAX_BLOCK_BYTES:
            raise ValueError(f"a body of {self._fields[0]} bytes")
        self._body = bytearray(self._fields[0])
        self._body_bytes = 0

    def _whole(self) -> Message | None:
        if self._head_bytes < _HEAD.size or self._body_bytes < len(self._body):
            return None
        _, kind, origin, frames, run_number, number = self._fields
        body = memoryview(self._body).toreadonly()
        self._head_bytes = 0
        self._body = bytearray()
        return Message(Kind(kind), run_number, number, origin, frames, body)

    def close(self) -> None:
        self._socket.close()
