"""The audit trail's writing end: what somebody did or was refused, beyond the commands, which record themselves.

A refusal costs whoever provokes it nothing, so only so many of one person's are written in a minute; the next one that
is written says how many were not.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from grange.core.access import Origin, need_of
from grange.core.errors import GrangeError
from grange.core.wording import beginning
from grange.proto import control_pb2
from grange.proto.gate import Caller
from grange.proto.words import command_from_wire, member_command_from_wire

REFUSALS_PER_MINUTE = 60  # of one person; more than anybody types
PERSONS_MAX = 1000  # whose refusals are counted
DONE, REFUSED = "done", "refused"
_MINUTE_S = 60.0

log = logging.getLogger(__name__)


class Note(Protocol):
    """Writes one entry; `said` are `members` and `comment`."""

    def __call__(self, person: str, origin: Origin, what: str, outcome: str, reason: str = "", **said: str) -> None: ...


def only_log(person: str, origin: Origin, what: str, outcome: str, reason: str = "", **said: str) -> None:
    """Where there are no records: a controller below the farm."""
    log.info("%s (uid %d, pid %d): %s %s %s %s", person, origin.uid, origin.pid, what, outcome, reason, said or "")


class Trail:
    """Who did what, and who was refused."""

    def __init__(self, note: Note = only_log, clock: Callable[[], float] = time.monotonic) -> None:
        self._note, self._clock = note, clock
        self._refused: dict[str, deque[float]] = {}
        self._left_out: dict[str, int] = {}

    def done(self, caller: Caller, what: str, reason: str = "", **said: str) -> None:
        self._note(caller.person, caller.origin, what, DONE, reason, **said)

    def refused(self, caller: Caller, what: str, error: GrangeError, **said: str) -> None:
        now, recent = self._clock(), self._refused.setdefault(caller.person, deque())
        while recent and now - recent[0] > _MINUTE_S:
            recent.popleft()
        if len(recent) >= REFUSALS_PER_MINUTE:
            self._left_out[caller.person] = self._left_out.get(caller.person, 0) + 1
            return
        recent.append(now)
        left_out = self._left_out.pop(caller.person, 0)
        kept = {name: beginning(text) for name, text in said.items()}
        more = f" (and {left_out} refusals before, which were not written down)" if left_out else ""
        self._note(caller.person, caller.origin, beginning(what), REFUSED, error.reason + more, **kept)
        while len(self._refused) > PERSONS_MAX:
            self._refused.pop(next(iter(self._refused)))

    def not_let_in(self, caller: Caller, method: str, request: object, error: GrangeError) -> None:
        """For the gate: a call that needs more access."""
        if isinstance(request, control_pb2.ExecuteRequest):
            self.refused(caller, asked(request), error, members=members_asked(request), comment=request.comment)
        else:
            self.refused(caller, need_of(method).what, error)


def asked(request: control_pb2.ExecuteRequest) -> str:
    """What a request asks for, in the words of a command that was taken."""
    match request.WhichOneof("what"):
        case "go":
            return f"go {request.go}"
        case "step":
            return str(command_from_wire(request.step) or "an unknown step")
        case "member_command":
            return str(member_command_from_wire(request.member_command) or "an unknown command")
    return "nothing"


def members_asked(request: control_pb2.ExecuteRequest) -> str:
    """The members that a request names, as it names them."""
    return " ".join([request.path, *request.further]).strip()
