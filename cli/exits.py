"""Exit codes, and how each error becomes one: what a shell script may rely upon."""

from enum import IntEnum

from grange.core.errors import (
    AddressInUse,
    Conflict,
    DeadlinePassed,
    Fenced,
    GrangeError,
    InternalFault,
    InvalidInput,
    LimitReached,
    NotAllowed,
    NotFound,
    NotLoggedIn,
    Refused,
    SameIdOtherContent,
    Unavailable,
)


class Exit(IntEnum):
    """How a command of the shell ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    BUG = 70  # EX_SOFTWARE of sysexits.h
    INTERRUPTED = 130  # as the shell says of SIGINT


MEANINGS: dict[Exit, str] = {
    Exit.DONE: "done",
    Exit.FAILED: "failed, or superseded by another command: the reason is on standard error",
    Exit.USAGE: "bad input: an unknown option, member, run or revision, or a configuration with problems",
    Exit.REFUSED: "refused: not possible in this state, while another command is under way, while somebody else holds "
    "the lease, or has changed the same configuration, or not for you; nothing has changed",
    Exit.UNREACHABLE: "no controller answers, or not in time",
    Exit.BUG: "a bug in grange: please report it, with what --debug shows",
    Exit.INTERRUPTED: "interrupted with Ctrl-C, or cancelled by somebody",
}

_CODES: tuple[tuple[type[GrangeError], Exit], ...] = (
    (Refused, Exit.REFUSED),
    (NotLoggedIn, Exit.REFUSED),
    (NotAllowed, Exit.REFUSED),
    (Fenced, Exit.REFUSED),
    (Conflict, Exit.REFUSED),
    (LimitReached, Exit.REFUSED),
    (AddressInUse, Exit.REFUSED),
    (InvalidInput, Exit.USAGE),
    (NotFound, Exit.USAGE),
    (SameIdOtherContent, Exit.USAGE),
    (Unavailable, Exit.UNREACHABLE),
    (DeadlinePassed, Exit.UNREACHABLE),
    (InternalFault, Exit.BUG),
)


def exit_of(error: GrangeError) -> Exit:
    """The exit code that an error means."""
    return next((code for cls, code in _CODES if isinstance(error, cls)), Exit.FAILED)


def listing() -> str:
    """All exit codes with their meanings, for the help."""
    return "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."
