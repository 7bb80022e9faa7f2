"""The first moments of the `grange` program, before it has loaded itself.

Loading takes half a second, and on a machine at work many. Somebody who presses Ctrl-C meanwhile wants the program
gone and nothing has been done, so the signal ends it there and then, as it ends any program of the system. From when a
command is carried out, `interrupts.py` says what Ctrl-C is.

A standard stream that is closed (`grange status >&-`) becomes the null device: the number of a closed one would be
given to the next file or socket that is opened, which would then be written into.
"""

import os
import signal
import sys

_STREAMS = ("stdin", "stdout", "stderr")  # by number


def main() -> None:
    """The entry point of the `grange` program."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody has it ignored, as nohup does
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_closed_streams()
    from .main import main as run

    run()


def _open_closed_streams() -> None:
    for number, name in enumerate(_STREAMS):
        if getattr(sys, name) is not None:
            continue
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        stream = open(number, "w" if number else "r", encoding="utf-8")  # noqa: SIM115  # until the program's end
        setattr(sys, name, stream)
