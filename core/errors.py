"""Errors for callers: each says who, what, why and what to try, and its class says whose fault it is.

These are the errors that cross the wire: `proto/errors.py` turns each into a gRPC status with details and back into the
same class at the client, so that a script catches what a controller raised. An error inside one program that no caller
could act upon (a bug) stays an ordinary exception there and reaches the caller as `InternalFault`.

`reason` is one sentence without a full stop at its end; `what_to_try` is an order a person can follow, or empty.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar

from .problems import Problem


class Fault(StrEnum):
    """Who has to do something about an error."""

    CALLER = "caller"  # asked for what does not exist or makes no sense: the same request will always fail
    MOMENT = "moment"  # nobody: not now, in this state; it may be possible later
    FARM = "farm"  # somebody has to look at the farm, a machine or the network
    PROGRAM = "program"  # a bug in grange: report it


class GrangeError(Exception):
    """The base of all errors for callers; catch it to catch them all."""

    fault: ClassVar[Fault] = Fault.FARM

    def __init__(self, reason: str, what_to_try: str = "") -> None:
        super().__init__(reason, what_to_try)
        self.reason = reason
        self.what_to_try = what_to_try

    def __str__(self) -> str:
        return f"{self.reason}. {self.what_to_try}" if self.what_to_try else self.reason


class Refused(GrangeError):
    """Not possible in this state, or while another command is under way. Nothing has changed.

    `possible` names the commands that are possible now. It does not mean that a command was tried and failed.
    """

    fault = Fault.MOMENT

    def __init__(self, reason: str, possible: Sequence[str] = (), what_to_try: str = "") -> None:
        self.possible = tuple(possible)
        if not what_to_try and self.possible:
            what_to_try = f"Possible now: {', '.join(self.possible)}"
        super().__init__(reason, what_to_try)


class NotFound(GrangeError):
    """What was asked for does not exist; `nearest` are names of things that do, the most similar first."""

    fault = Fault.CALLER
    kind: ClassVar[str] = "thing"
    where_to_look: ClassVar[str] = ""  # when nothing similar can be named

    def __init__(self, name: str, nearest: Sequence[str] = (), what_to_try: str = "") -> None:
        self.name = name
        self.nearest = tuple(nearest)
        if not what_to_try:
            what_to_try = f"Nearest: {', '.join(self.nearest)}" if self.nearest else self.where_to_look
        super().__init__(f"there is no {self.kind} {name!r}", what_to_try)


class UnknownMember(NotFound):
    """A path that names no member of the control tree."""

    kind = "member"
    where_to_look = "Look with: grange status"


class UnknownRun(NotFound):
    """A run number that was never allotted."""

    kind = "run"
    where_to_look = "List them with: grange runs"


class UnknownRevision(NotFound):
    """A name that is no tag, no revision's hash and no unambiguous beginning of one."""

    kind = "revision"
    where_to_look = "List them with: grange config log"


class UnknownCommand(NotFound):
    """A command id that the controller does not know, or no longer: outcomes are kept for a day."""

    kind = "command"
    where_to_look = "Outcomes are kept for a day; what is under way says: grange status"


class InvalidInput(GrangeError):
    """The input is wrong. All its problems at once; nothing was stored or done."""

    fault = Fault.CALLER

    def __init__(self, problems: Sequence[Problem], what_to_try: str = "", reason: str = "") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        if not reason:
            reason = str(self.problems[0]) if count == 1 else f"{count} problems in the input"
        super().__init__(reason, what_to_try)

    def __str__(self) -> str:
        """With every problem, because a script prints this and nothing else; the first is not said twice."""
        told = [str(problem) for problem in self.problems if str(problem) not in self.reason]
        return "; ".join([super().__str__(), *told])


class SameIdOtherContent(GrangeError):
    """A command id was used again for another command: ids are chosen once for each command."""

    fault = Fault.CALLER

    def __init__(self, command_id: str, what_to_try: str = "Choose a new id for each command") -> None:
        self.command_id = command_id
        super().__init__(f"command id {command_id} was used before, with other content", what_to_try)


class Conflict(GrangeError):
    """Two people have changed the same configuration. Nothing was stored; both sides are told, a line for each change.

    `places` are those that both have changed differently; empty: the two can be merged.
    """

    fault = Fault.MOMENT

    def __init__(
        self,
        base: str,
        current: str,
        author: str,
        mine: Sequence[str],
        theirs: Sequence[str],
        places: Sequence[str],
        reason: str = "",
        what_to_try: str = "",
    ) -> None:
        self.base, self.current, self.author = base, current, author
        self.mine, self.theirs, self.places = tuple(mine), tuple(theirs), tuple(places)
        if not reason:
            both = f", and both change {', '.join(self.places)}" if self.places else ""
            reason = f"this was made from revision {base}; {author} has made {current} current since{both}"
        if not what_to_try:
            merging = "" if self.places else "Take both with --merge, or "
            what_to_try = f"{merging}{'say' if merging else 'Say'} that yours replaces it with --base {current}"
        super().__init__(reason, what_to_try)


class NotLoggedIn(GrangeError):
    """A call without a token, or with one that is not good any more. The client logs in by itself."""

    fault = Fault.CALLER


class NotAllowed(GrangeError):
    """The caller may not do that, in whatever state the farm is: it needs more access than he has."""

    fault = Fault.CALLER


class Fenced(GrangeError):
    """A newer controller has taken over: the one that meets this ends itself and touches no child."""

    fault = Fault.MOMENT


class Unavailable(GrangeError):
    """Nobody answers at an address. It does not mean that the farm's processes are gone: they run on alone."""


class DeadlinePassed(GrangeError):
    """No answer within the time the caller gave. What was asked for may be under way or done."""


class LimitReached(GrangeError):
    """A limit of the answering program is met: so many streams are open, say. Commands are never refused for that."""

    fault = Fault.MOMENT


class AddressInUse(GrangeError):
    """Another program serves at this address; `pid` is 0 when it did not say who it is."""

    def __init__(self, path: str, pid: int, what_to_try: str = "") -> None:
        self.path = path
        self.pid = pid
        who = f"process {pid}" if pid else "another program"
        super().__init__(f"{path} is held by {who}", what_to_try)


class InternalFault(GrangeError):
    """A bug: the answering program met an exception that it has no answer to. Its log has the traceback."""

    fault = Fault.PROGRAM
