"""How the programs of the farm write their logs: when, how grave, which part of the program, what.

All of them alike, so that the logs of a controller, an agent and an actor can be laid side by side. The keeper, which
loads the standard library alone, writes its lines by itself, with the same moments (`supervisor/keeper_kernel.py`).
"""

import logging
import time

from grange.core.moments import stamp

_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Lines(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return local_stamp(record.created)


def local_stamp(unix_s: float, *, milliseconds: bool = True) -> str:
    """A moment, in the time zone of this program."""
    return stamp(unix_s, time.localtime(unix_s).tm_gmtoff, milliseconds=milliseconds)


def begin_log(handler: logging.Handler, level: int = logging.INFO, quiet: tuple[str, ...] = ()) -> None:
    """From now on all that this program has to say goes to `handler`; of the libraries `quiet` only warnings."""
    handler.setFormatter(_Lines(_FORM))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for library in ("transitions", *quiet):  # transitions tells of every question to the rule book
        logging.getLogger(library).setLevel(logging.WARNING)
