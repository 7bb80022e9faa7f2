"""What the service manager hears that has started this program: `READY=1`, as sd_notify(3) says it."""

import contextlib
import os
import socket
from collections.abc import Callable

VARIABLE = "NOTIFY_SOCKET"


def service_manager() -> Callable[[str], None]:
    """How to tell it; nobody hears it where there is none. Programs that this one starts do not speak for it."""
    address = os.environ.pop(VARIABLE, "")

    def tell(state: str) -> None:
        if not address:
            return
        name = f"\0{address[1:]}" if address.startswith("@") else address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
            mouth.sendto(state.encode(), name)  # whether it listens is its own affair

    return tell
