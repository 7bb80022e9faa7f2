"""What the service manager that has started this program hears of it, as sd_notify(3) says it.

`READY=1` once, and then `WATCHDOG=1` as often as it wants to: a program whose event loop hangs is killed by it and
started again. Programs that this one starts inherit nothing of that, so they do not speak for it.
"""

import asyncio
import contextlib
import os
import socket

ADDRESS, INTERVAL, PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


class ServiceManager:
    """It, or nobody where there is none: then nothing of this does anything."""

    def __init__(self) -> None:
        self._address = os.environ.pop(ADDRESS, "")
        meant = os.environ.pop(PID, str(os.getpid())) == str(os.getpid())
        interval_us = os.environ.pop(INTERVAL, "")
        self._alive_every_s = int(interval_us) / 2e6 if meant and interval_us.isdecimal() else 0.0

    def ready(self) -> None:
        """This program serves. To be called from its event loop, which tells from now on that it turns."""
        self._tell("READY=1")
        if self._address and self._alive_every_s:
            self._alive()

    def _alive(self) -> None:
        self._tell("WATCHDOG=1")
        asyncio.get_running_loop().call_later(self._alive_every_s, self._alive)

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
            mouth.sendto(state.encode(), address)  # whether it listens is its own affair
