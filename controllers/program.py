"""What the controller programs have in common."""

import functools
import gc
import logging
import os
import resource
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version as installed_version
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from grange.proto.log_lines import begin_log

LOG_BYTES = 5_000_000
LOGS_KEPT = 2
FILES_MAX = 65_536  # open at a time; more than all streams of all methods
COLLECTIONS = (700, 10, 10)  # Python's own: new objects, younger collections, middle ones, before the next one
EXIT_TAKEN = 75  # one of its kind runs already
EXIT_FENCED = 76  # a newer controller is in charge


def version() -> str:
    """Of this program."""
    return installed_version("grange")


def allow_many_files() -> None:
    """As many open files as the system lets this user have: each client's connection is one, beside all that we need.

    What is launched from here is given the limit that this program was started with (`launch/local.py`).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@functools.cache
def boot_id() -> str:
    """The kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def settle_memory() -> None:
    """Once everything is loaded: the garbage collector need not look through it again in the middle of a transition.

    It is not asked for a last look: half a megabyte is not worth 20 to 40 ms of a start that people wait for. A program
    that has no collections while it loads (`cli/upping.py`) has Python's usual ones from now on.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
    gc.enable()


def end_within(limit_s: float, code: Callable[[], int]) -> None:
    """Bounds the clean-up of a program that is ending: after `limit_s` it ends with `code()`, whatever is left to do.

    What must not be lost is on disk already; what could hold the clean-up up is streams that are over anyway.
    """

    def give_up() -> None:
        logging.getLogger(__name__).warning("the clean-up took more than %g s and is cut short", limit_s)
        os._exit(code())

    timer = threading.Timer(limit_s, give_up)
    timer.daemon = True
    timer.start()


class _OwnLog(RotatingFileHandler):
    """A log that nobody else can read, also after it was rotated."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding=self.encoding, errors=self.errors)


def log_to_stderr(file: str, level: int = logging.INFO) -> None:
    """One line for each message, with the time, on standard error.

    When that is the program's own log `file`, it is kept to `LOG_BYTES` and `LOGS_KEPT` older ones.
    """
    try:
        own = os.path.samestat(os.fstat(sys.stderr.fileno()), os.stat(file))
    except OSError:
        own = False
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if own:
        handler = _OwnLog(file, maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8")
    begin_log(handler, level, quiet=("alembic",))
