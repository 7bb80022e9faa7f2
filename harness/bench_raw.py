"""The least that asking so many processes can cost: a message and an answer over a socket pair for each of them.

The processes are forked from this one and do nothing but answer. Make a `RawRing` before anything that has threads.
"""

import os
import socket
import time
from types import TracebackType
from typing import Self

MESSAGE = b"configure".ljust(64, b".")  # about as long as an order


class RawRing:
    """So many forked processes, each at the other end of a socket pair; a context manager that ends them."""

    def __init__(self, processes: int) -> None:
        self._ends: list[socket.socket] = []
        self._pids: list[int] = []
        for _ in range(processes):
            here, there = socket.socketpair()
            pid = os.fork()
            if not pid:
                for end in (*self._ends, here):
                    end.close()
                _answer(there)
            there.close()
            self._ends.append(here)
            self._pids.append(pid)

    def round(self) -> float:
        """Seconds from the first message to the last answer."""
        began_s = time.perf_counter()
        for end in self._ends:
            end.sendall(MESSAGE)
        for end in self._ends:
            end.recv(len(MESSAGE), socket.MSG_WAITALL)
        return time.perf_counter() - began_s

    def close(self) -> None:
        """The processes end when their socket does."""
        for end in self._ends:
            end.close()
        for pid in self._pids:
            os.waitpid(pid, 0)
        self._ends, self._pids = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _answer(end: socket.socket) -> None:
    """The life of a forked process; it never returns."""
    try:
        while message := end.recv(len(MESSAGE), socket.MSG_WAITALL):
            end.sendall(message)
    finally:
        os._exit(0)
