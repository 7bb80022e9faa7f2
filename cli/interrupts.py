"""What Ctrl-C is, from one part of the program's life to the next.

While it loads, its end (`begin.py`). While a command is carried out, a `KeyboardInterrupt`, which lets go of what is
held, or what the command makes of it (`carrying.py`). After the outcome nothing: that has been told, and an exit code
of 130 would deny it. After an interruption the next one ends the program, whatever it still waits for.

A program that is run with Ctrl-C ignored, as nohup does, and a test that calls the command in its own process, keep
what they have.
"""

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heard() -> Iterator[None]:
    """While a command is carried out."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        _hush()
        _turn(signal.SIG_DFL)
        raise
    except BaseException:
        _turn(signal.SIG_IGN)
        raise
    _turn(signal.SIG_IGN)


def _turn(to: signal.Handlers) -> None:
    """From now on; an interrupt that came at the last moment is too late as well."""
    try:
        signal.signal(signal.SIGINT, to)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, to)


def _hush() -> None:
    """What was broken off half made complains when it is cleared away: coroutines never awaited, loops without all."""
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
