"""Errors on the wire: each class of `core/errors.py` as a gRPC status with `google.rpc` details, and back.

Every status carries an `ErrorInfo` whose `reason` is the class in capitals (`UNKNOWN_MEMBER`), whose domain is
`grange` and whose metadata hold `reason`, `what_to_try` and what else the class knows; that is what the way back reads.
Beside it stands the detail that generic clients know how to show:

    class                  code                 further detail
    Refused                FAILED_PRECONDITION  PreconditionFailure, one violation
    UnknownMember, …       NOT_FOUND            ResourceInfo
    InvalidInput           INVALID_ARGUMENT     BadRequest, one violation for each problem
    SameIdOtherContent     ALREADY_EXISTS       ResourceInfo
    Conflict               ABORTED              PreconditionFailure, one violation
    NotLoggedIn            UNAUTHENTICATED
    NotAllowed             PERMISSION_DENIED
    Fenced                 ABORTED
    Unavailable            UNAVAILABLE
    DeadlinePassed         DEADLINE_EXCEEDED
    LimitReached           RESOURCE_EXHAUSTED   QuotaFailure, one violation
    AddressInUse           UNAVAILABLE
    InternalFault          INTERNAL

A status without our `ErrorInfo` (the transport's own, or another program's) becomes the nearest class by its code.
Statuses travel in trailing metadata, whose size gRPC limits: `STATUS_BYTES_MAX` is kept by leaving problems out at the
end, and the reason says how many.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

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
    UnknownCommand,
    UnknownMember,
    UnknownRevision,
    UnknownRun,
)
from grange.core.problems import Problem

from .limits import STATUS_BYTES_MAX
from .sockets import SCHEME, holder

DOMAIN = "grange"
_PROBLEMS_MAX = 500  # nobody reads more, and the list keeps the status within its limit
_LINES_MAX = 100  # of each side of a conflict; three such lists stay within the status's limit
_LINE_LENGTH_MAX = 120
_TEXT_BYTES_MAX = 4096  # gRPC's own message, which is percent-encoded in a header

_CODES: dict[type[GrangeError], grpc.StatusCode] = {
    Refused: grpc.StatusCode.FAILED_PRECONDITION,
    NotFound: grpc.StatusCode.NOT_FOUND,
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    SameIdOtherContent: grpc.StatusCode.ALREADY_EXISTS,
    Conflict: grpc.StatusCode.ABORTED,
    NotLoggedIn: grpc.StatusCode.UNAUTHENTICATED,
    NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    Fenced: grpc.StatusCode.ABORTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    AddressInUse: grpc.StatusCode.UNAVAILABLE,
    DeadlinePassed: grpc.StatusCode.DEADLINE_EXCEEDED,
    LimitReached: grpc.StatusCode.RESOURCE_EXHAUSTED,
    InternalFault: grpc.StatusCode.INTERNAL,
}
_NOT_FOUND: tuple[type[NotFound], ...] = (UnknownMember, UnknownRun, UnknownRevision, UnknownCommand)
_PLAIN: tuple[type[GrangeError], ...] = (
    NotLoggedIn,
    NotAllowed,
    Fenced,
    Unavailable,
    DeadlinePassed,
    LimitReached,
    InternalFault,
    GrangeError,
)


def code_of(error: GrangeError) -> grpc.StatusCode:
    """The status code of an error's class, or of the nearest class it derives from."""
    for cls in type(error).__mro__:
        if cls in _CODES:
            return _CODES[cls]
    return grpc.StatusCode.UNKNOWN


def to_status(error: GrangeError) -> status_pb2.Status:
    """The status that tells the whole error; never larger than `STATUS_BYTES_MAX`."""
    if not isinstance(error, InvalidInput):
        return _status(error)
    kept = min(len(error.problems), _PROBLEMS_MAX)
    while True:
        dropped = len(error.problems) - kept
        reason = f"{error.reason} (the last {dropped} not shown)" if dropped else error.reason
        status = _status(InvalidInput(error.problems[:kept], error.what_to_try, reason))
        if kept <= 1 or status.ByteSize() <= STATUS_BYTES_MAX:
            return status
        kept //= 2


def _status(error: GrangeError) -> status_pb2.Status:
    metadata: dict[str, str] = {"reason": error.reason, "what_to_try": error.what_to_try}
    details: list[Any] = []
    match error:
        case Refused():
            metadata["possible"] = json.dumps(error.possible)
            violation = error_details_pb2.PreconditionFailure.Violation(type="STATE", description=error.reason)
            details.append(error_details_pb2.PreconditionFailure(violations=[violation]))
        case NotFound():
            metadata |= {"name": error.name, "nearest": json.dumps(error.nearest)}
            details.append(
                error_details_pb2.ResourceInfo(
                    resource_type=error.kind, resource_name=error.name, description=str(error)
                )
            )
        case InvalidInput():
            metadata["hints"] = json.dumps([problem.hint for problem in error.problems])
            details.append(
                error_details_pb2.BadRequest(
                    field_violations=[
                        error_details_pb2.BadRequest.FieldViolation(field=_place(problem), description=problem.what)
                        for problem in error.problems
                    ]
                )
            )
        case SameIdOtherContent():
            metadata["command_id"] = error.command_id
            details.append(error_details_pb2.ResourceInfo(resource_type="command", resource_name=error.command_id))
        case Conflict():
            metadata |= {"base": error.base, "current": error.current, "author": error.author}
            lines = {"mine": error.mine, "theirs": error.theirs, "places": error.places}
            metadata |= {key: json.dumps(_shortened(texts), ensure_ascii=False) for key, texts in lines.items()}
            violation = error_details_pb2.PreconditionFailure.Violation(type="REVISION", description=error.reason)
            details.append(error_details_pb2.PreconditionFailure(violations=[violation]))
        case LimitReached():
            quota = error_details_pb2.QuotaFailure.Violation(subject=DOMAIN, description=error.reason)
            details.append(error_details_pb2.QuotaFailure(violations=[quota]))
        case AddressInUse():
            metadata |= {"path": error.path, "pid": str(error.pid)}
    info = error_details_pb2.ErrorInfo(reason=_capitals(type(error)), domain=DOMAIN, metadata=metadata)
    text = str(error).encode()[:_TEXT_BYTES_MAX].decode(errors="ignore")
    return status_pb2.Status(code=code_of(error).value[0], message=text, details=_packed([info, *details]))


def _shortened(lines: Sequence[str]) -> list[str]:
    """As many lines as a person reads, each of a length that a line has; and how many more there are."""
    shown = [line if len(line) <= _LINE_LENGTH_MAX else line[:_LINE_LENGTH_MAX] + "…" for line in lines[:_LINES_MAX]]
    more = len(lines) - len(shown)
    return [*shown, f"… and {more} more"] if more else shown


_NOBODY = re.compile(r"failed to connect|No such file|onnection refused|Name resolution")
_GONE = re.compile(
    r"[Ss]ocket closed|onnection reset|[Bb]roken pipe|GOAWAY|recvmsg|sendmsg|Stream removed|RST_STREAM|[Ee]nd of TCP"
    r"|[Ee]ndpoint closing|[Tt]ransport closed|onnection (aborted|closed)|[Cc]ancelling all calls|keepalive"
)


def transport_words(code: grpc.StatusCode, details: str | None) -> str:
    """What the transport itself tells of a call's end, in words for people; what somebody said is left as it is."""
    text = details or ""
    if code is grpc.StatusCode.UNAVAILABLE and _NOBODY.search(text):
        return "nobody answers there"
    if code is grpc.StatusCode.UNAVAILABLE and (not text or _GONE.search(text)):
        return "the other end went away"
    if code is grpc.StatusCode.CANCELLED:
        return "the other end ended the call"
    return text or f"no reason was given, only {code.name.lower().replace('_', ' ')}"


def from_rpc_error(error: grpc.aio.AioRpcError, address: str) -> GrangeError:
    """The error as it was raised at the other end, or the class that the transport's own failure means.

    `address` is the one that was called, for the sentence.
    """
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    if status is not None:
        told = from_status(status)
        if told is not None:
            return told
    text = transport_words(error.code(), error.details())
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            if _NOBODY.search(error.details() or ""):
                return Unavailable(f"no controller answers at {address}", "Start one with: grange up")
            return Unavailable(
                f"the call to the controller at {address} ended: {text}",
                "Look with: grange status; start one with: grange up",
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return not_in_time(address)
        case grpc.StatusCode.UNIMPLEMENTED:
            return Refused(f"the controller at {address} does not offer this call", (), "Ask the farm controller")
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidInput([Problem("request", text)])
        case grpc.StatusCode.FAILED_PRECONDITION:
            return Refused(text)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return LimitReached(
                f"a limit of the link to {address} was met: {text}", "Ask for less at once: a deeper path"
            )
        case grpc.StatusCode.CANCELLED:
            return Unavailable(f"the controller at {address} ended the call", "Look with: grange status")
        case grpc.StatusCode.ABORTED:
            return Unavailable(f"the controller at {address} ended the call: {text}", "Try again")
    return InternalFault(f"the controller at {address} failed: {text}", "Its log has more; please report it")


def not_in_time(address: str) -> DeadlinePassed:
    """Nobody has answered at `address`, where somebody serves: who that is, is told if it is known."""
    pid = holder(address.removeprefix(SCHEME))
    who = f" (process {pid})" if pid else ""
    end = f"; if it hangs, end it with: kill -9 {pid}; then: grange up" if pid else ""
    return DeadlinePassed(
        f"the controller at {address}{who} did not answer in time",
        f"It may be stopped or overloaded; its log is shown by: grange logs{end}",
    )


def from_status(status: status_pb2.Status) -> GrangeError | None:
    """The error that `to_status` told; None when the status is not of ours."""
    info = error_details_pb2.ErrorInfo()
    if not _unpack(status, info) or info.domain != DOMAIN:
        return None
    metadata = dict(info.metadata)
    reason, what_to_try = metadata.get("reason", status.message), metadata.get("what_to_try", "")
    named = metadata.get("name", "")
    for cls in _NOT_FOUND:
        if info.reason == _capitals(cls):
            return cls(named, _strings(metadata.get("nearest")), what_to_try)
    for plain in _PLAIN:
        if info.reason == _capitals(plain):
            return plain(reason, what_to_try)
    if info.reason == _capitals(Refused):
        return Refused(reason, _strings(metadata.get("possible")), what_to_try)
    if info.reason == _capitals(SameIdOtherContent):
        return SameIdOtherContent(metadata.get("command_id", ""), what_to_try)
    if info.reason == _capitals(AddressInUse):
        pid = metadata.get("pid", "0")
        return AddressInUse(metadata.get("path", ""), int(pid) if pid.isdecimal() else 0, what_to_try)
    if info.reason == _capitals(Conflict):
        base, current, author = (metadata.get(key, "") for key in ("base", "current", "author"))
        mine, theirs, places = (_strings(metadata.get(key)) for key in ("mine", "theirs", "places"))
        return Conflict(base, current, author, mine, theirs, places, reason, what_to_try)
    if info.reason == _capitals(InvalidInput):
        return InvalidInput(_problems(status, _strings(metadata.get("hints"))), what_to_try, reason)
    return GrangeError(reason, what_to_try)  # a class that this version does not know


def _problems(status: status_pb2.Status, hints: tuple[str, ...]) -> list[Problem]:
    bad = error_details_pb2.BadRequest()
    _unpack(status, bad)
    violations = [(violation.field, violation.description) for violation in bad.field_violations]
    hints = hints + ("",) * (len(violations) - len(hints))
    return [Problem(place, what, hint) for (place, what), hint in zip(violations, hints, strict=False)]


def _place(problem: Problem) -> str:
    """The wire has one field for a place; a line and column are told in it."""
    return f"line {problem.line}, column {problem.column}" if problem.line else problem.place


def _capitals(cls: type[GrangeError]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()


def _packed(messages: Iterable[Any]) -> list[any_pb2.Any]:
    packed = []
    for message in messages:
        packed.append(any_pb2.Any())
        packed[-1].Pack(message)
    return packed


def _unpack(status: status_pb2.Status, into: Any) -> bool:
    """Fills `into` with the status's first detail of that type; False when there is none."""
    return any(detail.Unpack(into) for detail in status.details if detail.Is(into.DESCRIPTOR))


def _strings(text: str | None) -> tuple[str, ...]:
    """A list of strings as `to_status` wrote it; anything else is no names."""
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return ()
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list) else ()
