"""What the controller programs have in common."""

import gc
import logging
import sys
from importlib.metadata import version as installed_version

EXIT_TAKEN = 75  # one of its kind runs already
EXIT_FENCED = 76  # a newer controller is in charge


def version() -> str:
    """Of this program."""
    return installed_version("grange")


def settle_memory() -> None:
    """Once everything is loaded: the garbage collector need not look through it again in the middle of a transition."""
    gc.collect()
    gc.freeze()


def log_to_stderr(level: int = logging.INFO) -> None:
    """One line for each message, with the time, for whoever collects this program's output."""
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname).1s %(name)s: %(message)s", force=True
    )
    for library in ("transitions", "alembic"):
        logging.getLogger(library).setLevel(logging.WARNING)
