"""What the controller programs have in common."""

import gc
import logging
import os
import sys
from importlib.metadata import version as installed_version
from logging.handlers import RotatingFileHandler

LOG_BYTES = 5_000_000
LOGS_KEPT = 2
EXIT_TAKEN = 75  # one of its kind runs already
EXIT_FENCED = 76  # a newer controller is in charge


def version() -> str:
    """Of this program."""
    return installed_version("grange")


def settle_memory() -> None:
    """Once everything is loaded: the garbage collector need not look through it again in the middle of a transition."""
    gc.collect()
    gc.freeze()


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
        handler = RotatingFileHandler(file, maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8")
    logging.basicConfig(
        handlers=[handler], level=level, format="%(asctime)s %(levelname).1s %(name)s: %(message)s", force=True
    )
    for library in ("transitions", "alembic"):
        logging.getLogger(library).setLevel(logging.WARNING)
