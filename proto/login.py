"""Logging in: how a caller gets the token that its calls carry. The other end, and why there is one, is in `gate.py`.

A `Session` belongs to one address, logs in when it is first needed, and again when its token grows old or the server
does not know it any more. It asks for nothing and stores nothing: who the caller is, the kernel says.
"""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

from grange.core.errors import GrangeError, NotAllowed, Unavailable

from .errors import not_in_time
from .limits import LOGIN_LINE_BYTES_MAX
from .sockets import holder, is_alive, login_path, socket_path

_RENEW_BEFORE_S = 60.0  # a token that ends sooner is not used for a new call


@dataclass(frozen=True, slots=True)
class Login:
    """What a server says to who logs in."""

    token: str
    life_s: float
    person: str
    access: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a call carries."""
        return (("authorization", f"Bearer {self.token}"),)


async def log_in(address: str, timeout_s: float, label: str = "") -> Login:
    """Logs in at the controller that serves at `address`.

    Raises `Unavailable` when nobody is there, `DeadlinePassed` and, when the file system lets nobody in, `NotAllowed`.
    """
    said = {"program": os.path.basename(sys.argv[0]), "label": label}
    path = login_path(socket_path(address))
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(path, limit=LOGIN_LINE_BYTES_MAX)
            try:
                writer.write(json.dumps(said).encode() + b"\n")
                told = json.loads(await reader.readline())
            finally:
                writer.close()
            return Login(told["token"], float(told["life_s"]), told["person"], told["access"])
    except PermissionError:
        raise NotAllowed(
            f"you may not reach the controller at {address}: its socket is not open to you",
            "Ask the farm's owner for its group (docs/security.md)",
        ) from None
    except TimeoutError:
        raise not_in_time(address) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise nobody_answers(address) from None


def nobody_answers(address: str) -> GrangeError:
    """Of one that is there and does not serve it says so: it may wait for its database as long as that is away."""
    pid = holder(socket_path(address))
    if pid and is_alive(pid):
        return Unavailable(
            f"the controller at {address} (process {pid}) does not serve yet",
            "It is starting, or waits for its database: its log says so",
        )
    return Unavailable(f"no controller answers at {address}", "Start one with: grange up")


class Session:
    """The login of one program at one address, kept for as long as it is good."""

    def __init__(self, address: str, label: str = "") -> None:
        self._address, self._label = address, label
        self._login: Login | None = None
        self._until_s = 0.0
        self._lock = asyncio.Lock()

    async def metadata(self, timeout_s: float) -> tuple[tuple[str, str], ...]:
        """What a call carries. Raises as `log_in` does."""
        return (await self.login(timeout_s)).metadata

    async def login(self, timeout_s: float) -> Login:
        """The login in force. Raises as `log_in` does."""
        clock: Any = asyncio.get_running_loop().time
        async with self._lock:
            if self._login is None or clock() > self._until_s:
                login = await log_in(self._address, timeout_s, self._label)
                self._login, self._until_s = login, clock() + login.life_s - _RENEW_BEFORE_S
            return self._login

    def forget(self) -> None:
        """The server does not know the token: the next call logs in again."""
        self._login = None
