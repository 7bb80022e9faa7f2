"""Records: what a controller wants remembered, as values that pass through the outbox into the database.

Each record says what happened, never what to do, so it can be applied late and twice. Its `key` makes a second
application harmless: what happens once by nature (a command's outcome, a run's end) has a key of its own; for the rest
it is empty and the writer gives each record a fresh one. Times are nanoseconds since 1970 UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, TypeAlias

from grange.core.access import NOWHERE, Origin
from grange.core.names import Membership, Severity

from .outbox import RecordClass


@dataclass(frozen=True, slots=True)
class RunCounter:
    """One number of one role in one sub-farm at the end of a run."""

    sub_farm: str
    role: str
    counter: str
    value: int


@dataclass(frozen=True, slots=True)
class RunFile:
    """One file that a run wrote."""

    sub_farm: str
    path: str
    size_bytes: int
    checksum: str  # "sha256:" and 64 hexadecimal digits
    member: str = ""  # path of the process that wrote it


@dataclass(frozen=True, slots=True)
class _Base:
    record_class: ClassVar[RecordClass] = RecordClass.ESSENTIAL

    @property
    def key(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class CommandRecorded(_Base):
    """A command was accepted; durable before its first effect."""

    command_id: str
    digest: str
    person: str
    what: str
    path: str
    at_ns: int
    comment: str = ""
    origin: Origin = NOWHERE

    @property
    def key(self) -> str:
        return f"command/{self.command_id}/recorded"


@dataclass(frozen=True, slots=True)
class CommandEnded(_Base):
    """A command has its one outcome; durable before the answer."""

    command_id: str
    outcome: str
    reason: str
    at_ns: int

    @property
    def key(self) -> str:
        return f"command/{self.command_id}/ended"


@dataclass(frozen=True, slots=True)
class GoalSet(_Base):
    """The farm has a new goal: target, run, revision, command id, as plain JSON values."""

    farm: str
    goal: Mapping[str, Any]
    at_ns: int


@dataclass(frozen=True, slots=True)
class MembershipSet(_Base):
    """A member went out or came back; with a `run`, that run's record keeps it too."""

    path: str
    membership: Membership
    reason: str
    person: str
    at_ns: int
    run: int | None = None


@dataclass(frozen=True, slots=True)
class LeaseSet(_Base):
    """The right to command has a new holder, since `at_ns`; "" for nobody."""

    farm: str
    holder: str
    at_ns: int
    until_ns: int = 0
    comment: str = ""


@dataclass(frozen=True, slots=True)
class RunRunning(_Base):
    """Data taking has begun."""

    run: int
    at_ns: int

    @property
    def key(self) -> str:
        return f"run/{self.run}/running"


@dataclass(frozen=True, slots=True)
class RunStopAsked(_Base):
    """The run is to end, for a reason that people can read."""

    run: int
    reason: str
    at_ns: int

    @property
    def key(self) -> str:
        return f"run/{self.run}/stop_asked"


@dataclass(frozen=True, slots=True)
class RunMemberMoved(_Base):
    """A member went out of a run, or came back; `change` is the change's own id, given where it was seen."""

    run: int
    path: str
    membership: Membership
    reason: str
    at_ns: int
    change: str

    @property
    def key(self) -> str:
        return f"run/{self.run}/member/{self.change}"


@dataclass(frozen=True, slots=True)
class RunEnded(_Base):
    """The run is over: why, whether it was drained, and its books."""

    run: int
    reason: str
    undrained: bool
    at_ns: int
    counters: tuple[RunCounter, ...] = ()
    files: tuple[RunFile, ...] = ()
    changes_left_out: int = 0  # of membership, beyond those that were recorded
    last_seen_at_ns: int | None = None  # the last sign of life before an end that nobody saw; None: it was seen

    @property
    def key(self) -> str:
        return f"run/{self.run}/ended"


@dataclass(frozen=True, slots=True)
class RunDegraded(_Base):
    """The run goes on without something; the first reason is kept."""

    run: int
    reason: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class AuditNoted(_Base):
    """Somebody did, or was refused, something that is no recorded command: those leave their trail by themselves."""

    record_class: ClassVar[RecordClass] = RecordClass.MESSAGE

    person: str
    origin: Origin
    what: str
    members: str
    comment: str
    outcome: str
    reason: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class MessageSent(_Base):
    """A message for people. Sent again under the same id, it raises `repeats` and the last time."""

    record_class: ClassVar[RecordClass] = RecordClass.MESSAGE

    message_id: str
    severity: Severity
    audience: str
    who: str
    host: str
    code: str
    text: str
    what_to_do: str
    first_at_ns: int
    last_at_ns: int
    repeats: int = 1
    run: int | None = None


Record: TypeAlias = (
    CommandRecorded
    | CommandEnded
    | GoalSet
    | MembershipSet
    | LeaseSet
    | RunRunning
    | RunStopAsked
    | RunMemberMoved
    | RunEnded
    | RunDegraded
    | AuditNoted
    | MessageSent
)

# the names in outbox files; they never change once released
_KINDS: dict[str, type[Record]] = {
    "command_recorded": CommandRecorded,
    "command_ended": CommandEnded,
    "goal_set": GoalSet,
    "membership_set": MembershipSet,
    "lease_set": LeaseSet,
    "run_running": RunRunning,
    "run_stop_asked": RunStopAsked,
    "run_member_moved": RunMemberMoved,
    "run_ended": RunEnded,
    "run_degraded": RunDegraded,
    "audit_noted": AuditNoted,
    "message": MessageSent,
}
_KIND_OF = {cls: kind for kind, cls in _KINDS.items()}


class UnreadableRecord(ValueError):
    """A record in the outbox that this version cannot read: written by a newer one, or by a mistake of ours."""


def to_payload(record: Record) -> dict[str, Any]:
    """The record as JSON values. Characters that a database would refuse are replaced by U+FFFD."""
    return {"kind": _KIND_OF[type(record)], **_clean(record)}


def from_payload(payload: Mapping[str, Any]) -> Record:
    """The record that `to_payload` wrote. Raises `UnreadableRecord`."""
    given = dict(payload)
    kind = given.pop("kind", None)
    cls = _KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise UnreadableRecord(f'there is no record kind "{kind}" in this version')
    try:
        if cls is RunEnded:
            given["counters"] = tuple(RunCounter(**counter) for counter in given["counters"])
            given["files"] = tuple(RunFile(**file) for file in given["files"])
        elif cls in (MembershipSet, RunMemberMoved):
            given["membership"] = Membership(given["membership"])
        elif cls in (CommandRecorded, AuditNoted) and "origin" in given:
            given["origin"] = Origin(**given["origin"])
        elif cls is MessageSent:
            given["severity"] = Severity(given["severity"])
        return cls(**given)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableRecord(f"a {kind} record has other fields than this version knows: {error}") from error


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode(errors="replace").decode() if not value.isprintable() else value
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if is_dataclass(value):
        return {field.name: _clean(getattr(value, field.name)) for field in fields(value)}
    return value
