"""Ctrl-C, SIGTERM and a terminal that is closed are one wish: to end. Each is a `KeyboardInterrupt` here.

What is cut off in the middle would leave a farm behind, so the wish may be held back until there is something that can
be told to end. A terminal that goes sends SIGHUP more than once (the kernel, then the shell), and who sends SIGTERM may
repeat it: from the first of them on these two are ignored, for what they want is under way. Ctrl-C counts each time:
who presses it again no longer wants to wait.
"""

import signal
from types import FrameType
from typing import Any, Self

ENDED = (signal.SIGTERM, signal.SIGHUP)  # by a service manager, by a terminal


class Interrupts:
    """A context manager, of the main thread, in which all three are a `KeyboardInterrupt`."""

    def __init__(self) -> None:
        self._former: dict[int, Any] = {}
        self._is_held = False
        self._has_come = False

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, *ENDED):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as by nohup
                self._former[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def hold(self) -> None:
        """From now on the wish is kept in mind."""
        self._is_held = True

    def release(self) -> None:
        """Raises `KeyboardInterrupt` if the wish has come meanwhile."""
        self._is_held = False
        if self._has_come:
            self._has_come = False
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        for ended in ENDED:
            signal.signal(ended, signal.SIG_IGN)
        if self._is_held:
            self._has_come = True
        else:
            raise KeyboardInterrupt
