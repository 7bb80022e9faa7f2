"""Unix sockets of servers: who holds one, and how to take it.

gRPC binds a path that is in use without a word, so a server first takes a lock on `<path>.lock` and serves for as long
as it holds it. The lock is a flock: it goes with its holder, however that ends, and a left-over file means nothing. The
file holds the pid of the holder, for people.

A lock is *exclusive* (a server) or *shared* (an offline command, which keeps a server from starting meanwhile but not
other offline commands). The last holder removes the file; whoever opens it checks after locking that the file is still
the one at that path, so the removal races with nobody.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from grange.core.errors import AddressInUse, InvalidInput
from grange.core.home import check_socket_path
from grange.core.problems import Problem

SCHEME = "unix:"


class SocketLock:
    """The right to serve at a Unix socket's path; a context manager that gives it back."""

    def __init__(self, socket_path: str, *, shared: bool = False, what_to_try: str = "") -> None:
        """Takes the lock or raises `AddressInUse` at once; missing directories are made, for the owner only.

        Raises `InvalidInput` when the directory cannot be made or written to.
        """
        self.path = check_socket_path(socket_path) + ".lock"
        operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        while True:
            self._descriptor = _opened(self.path)
            try:
                fcntl.flock(self._descriptor, operation)
                if self._is_current():
                    break
            except BlockingIOError:
                pid = _pid_in(self._descriptor)
                os.close(self._descriptor)
                raise AddressInUse(socket_path, pid, what_to_try) from None
            os.close(self._descriptor)
        if not shared:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Gives the lock back; the last holder removes the file. A second call does nothing."""
        if self._descriptor < 0:
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_current():
                os.unlink(self.path)
        except OSError:
            pass  # others share the lock, or the directory has gone: nothing to remove
        os.close(self._descriptor)
        self._descriptor = -1

    def _is_current(self) -> bool:
        """Whether the file locked is the one at the path: a holder may have removed it just before."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(socket_path: str) -> int:
    """The process id that the holder of a lock has written; 0 for none. It may have gone without removing it."""
    try:
        descriptor = os.open(f"{socket_path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return _pid_in(descriptor)
    finally:
        os.close(descriptor)


def is_alive(pid: int) -> bool:
    """Whether a process that has to do with grange has this number: a lock left over names one that has gone."""
    try:
        return b"grange" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def socket_path(address: str) -> str:
    """The path in an address `unix:/path`; raises `InvalidInput` for any other address: TCP needs credentials."""
    path = address.removeprefix(SCHEME)
    if not address.startswith(SCHEME) or not path.startswith("/"):
        raise InvalidInput([Problem("address", f"{address!r} is not of the form unix:/absolute/path")])
    return check_socket_path(path)


def login_path(path: str) -> str:
    """Where the server that serves at the socket `path` lets people log in. Raises `InvalidInput` for a long path."""
    return check_socket_path(f"{path}.login")


def _opened(path: str) -> int:
    try:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        what = f"{path} cannot be opened: {error.strerror}"
        raise InvalidInput([Problem("home", what)], "Choose a --home of your own") from None


def _pid_in(descriptor: int) -> int:
    """The pid that a holder has written; 0 when there is none (yet)."""
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdecimal() else 0
