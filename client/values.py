"""What the client tells: plain immutable values, with the words of the house in place of the wire's numbers.

Times are seconds since 1970 UTC, `None` or 0 where a thing has not happened. Everything here becomes JSON with
`as_json`; keys and values are part of the interface, like the names of the fields.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from grange.core.causes import Cause as Cause  # clients ask here for all values
from grange.core.names import Health, Kind, Membership, State
from grange.core.problems import Problem


class OutcomeKind(StrEnum):
    """How a command ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    INTERRUPTED = "interrupted"  # the controller was restarted meanwhile and cannot tell
    UNKNOWN = "unknown"  # a word that this version does not know


@dataclass(frozen=True, slots=True)
class Busy:
    """The transition under way."""

    command_id: str
    doing: str  # "configure", "go running"
    person: str
    since_unix_s: float
    remaining_s: float  # until the deadline
    done: int  # of total members
    total: int
    slowest: str  # path of the member waited for longest; empty when none


@dataclass(frozen=True, slots=True)
class Count:
    """How many processes share a role, a state and a health."""

    role: str
    state: State
    health: Health
    processes: int
    out: bool = False  # a person has excluded them


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One member of the control tree, as an observer sees it."""

    path: str  # "" is the farm
    kind: Kind
    name: str
    state: State
    health: Health
    status: str  # one short sentence for people
    membership: Membership
    busy: Busy | None
    counts: tuple[Count, ...]  # parents only
    heard_unix_s: float  # when the member was last heard; 0 is never
    role: str  # processes only, as the next two
    pid: int
    instance: str
    run_number: int  # the run it takes part in; 0 is none
    revision: str  # controllers: the configuration in force
    returning: bool = False  # being brought to where the others are, after a restart or a recovery
    unaccounted: int = 0  # parents only: processes below that may run without anybody hearing them


@dataclass(frozen=True, slots=True)
class StoryLine:
    """One thing that happened to a member, and why."""

    at_unix_s: float
    member: str
    text: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to command."""

    holder: str
    since_unix_s: float
    until_unix_s: float
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """A lease that was taken, and from whom by force; None when nobody else held it."""

    lease: Lease
    before: Lease | None


@dataclass(frozen=True, slots=True)
class Origin:
    """From where somebody calls. The kernel vouches for `uid` and `pid`, the rest is what the caller says."""

    uid: int  # -1 is unknown
    host: str
    pid: int
    program: str
    label: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A command or a refusal."""

    at_unix_s: float
    person: str
    origin: Origin
    what: str  # go running, exclude, config use, lease take, …
    members: str  # separated by blanks; empty is the farm
    comment: str
    outcome: str  # done, failed, cancelled, superseded, interrupted, refused; empty while it is under way
    reason: str
    command_id: str  # empty for what has none
    behind: str = ""  # why this may be older than what happened: records wait for the database; empty: it is not


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who has called lately."""

    person: str
    access: str  # observer, shifter, expert, owner
    origin: Origin
    last_unix_s: float  # the last call
    streams: int  # that are open: watches, commands under way


@dataclass(frozen=True, slots=True)
class Who:
    """Who commands, who is about."""

    lease: Lease | None  # None: nobody holds it
    visitors: tuple[Visitor, ...]  # the latest first
    last: AuditEntry | None  # the last command that was taken
    you: str
    access: str  # yours
    access_trouble: str = ""  # why access.toml is not followed as it is now


@dataclass(frozen=True, slots=True)
class Status:
    """A member and what lies below it, at one moment."""

    farm: str
    version: str  # of the controller that answered
    holder: str  # that controller: host and pid
    selected_revision: str  # what the next load takes
    possible: tuple[str, ...]  # commands possible now
    members: tuple[MemberStatus, ...]  # the member asked for first, parents before children
    causes: tuple[Cause, ...]
    counters: Mapping[str, Mapping[str, int]]  # role -> counter -> value, of the run under way or ended last
    story: tuple[StoryLine, ...]
    lease: Lease | None = None  # who alone may command; None: nobody does
    go_first: State | None = None  # where the farm has to go before a load can take what is selected; None: nowhere
    access_trouble: str = ""  # why access.toml is not followed as it is now

    @property
    def member(self) -> MemberStatus:
        """The member that was asked for."""
        return self.members[0]


@dataclass(frozen=True, slots=True)
class View:
    """A subtree as a watcher sees it after one more update; `changed` and `removed` say what is new in it."""

    members: Mapping[str, MemberStatus]  # by path
    exceptions: tuple[MemberStatus, ...]  # at most 20 that are not well, worst first
    causes: tuple[Cause, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    counters: Mapping[str, Mapping[str, int]]  # role -> counter -> value, of the run under way or ended last
    lease: Lease | None = None  # who alone may command; None: nobody does


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a command has come. The first has the steps that will be taken and no members yet."""

    command_id: str
    steps: tuple[str, ...]
    attached: bool  # the command was known to the controller already
    busy: Busy | None = None
    state: State = State.UNKNOWN
    members: tuple[MemberStatus, ...] = ()  # the children of the commanded member
    unheard: tuple[str, ...] = ()  # members of which nothing is known yet: what they need comes on top of the steps


@dataclass(frozen=True, slots=True)
class StepTime:
    """How long one step of a command took."""

    step: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    command_id: str
    kind: OutcomeKind
    reason: str  # one sentence; what to try when it failed
    state: State  # afterwards, of the member at `path`
    run_number: int
    duration_s: float
    notes: tuple[str, ...]  # members that took no part, and why
    steps: tuple[StepTime, ...]
    path: str = ""  # whose state is told: the member commanded; of several the farm, ""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a process has finished."""

    member: str
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RunMember:
    """A member that went out of a run, or came back."""

    path: str
    membership: Membership  # from then on
    reason: str
    at_unix_s: float


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of the registry. A time stamp of 0 means: not yet, or never."""

    number: int
    type: str
    mode: str
    revision: str
    person: str
    comment: str
    start_asked_unix_s: float
    running_unix_s: float
    stop_asked_unix_s: float
    stopped_unix_s: float
    end_reason: str
    degraded: bool
    undrained: bool
    counters: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)  # sub-farm -> role -> counter
    files: tuple[OutputFile, ...] = ()
    mismatches: tuple[str, ...] = ()  # where the books do not balance
    inexact: tuple[str, ...] = ()  # and where they do not, but a process died in the run that may be the reason
    rules_asked: int = 0  # of the books; 0: nothing was counted that could be compared
    members: tuple[RunMember, ...] = ()  # who went out and came back, in the order of time
    changes_left_out: int = 0  # how many more changes of that kind there were
    degraded_reason: str = ""  # the first one
    ends_after_events: int = 0  # the run was to end by itself; 0: it was not
    ends_after_s: float = 0.0  # so long after it was running
    tags: tuple[str, ...] = ()  # that point at the revision now
    last_seen_unix_s: float = 0.0  # the last sign of life before an end that nobody saw; 0: it was seen
    behind: str = ""  # why this may be older than what happened: records wait for the database; empty: it is not


@dataclass(frozen=True, slots=True)
class Revision:
    """One version of the configuration."""

    hash: str
    parent: str
    author: str
    message: str
    at_unix_s: float
    tags: tuple[str, ...]
    content: str = ""  # hash of the content alone: equal for equal configurations


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did."""

    revision: Revision
    unchanged: bool  # the same content was there already
    warnings: tuple[Problem, ...]
    merged: bool = False  # what is stored holds what others have changed as well


@dataclass(frozen=True, slots=True)
class Exported:
    """A revision and its text, JSON or TOML; its key `revision` says what it was exported from."""

    revision: Revision
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two configurations. `before` and `after` are None where there is nothing, or null."""

    place: str  # path of keys: roles.psa.parameters.basis_mm
    kind: str  # added, removed, changed, moved
    text: str  # for people: role psa: basis 2 mm → 1 mm
    before: Any = None
    after: Any = None


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one revision to another."""

    before: Revision
    after: Revision
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class TagChange:
    """A tag was pointed at a revision."""

    revision: str  # hash
    person: str
    at_unix_s: float


@dataclass(frozen=True, slots=True)
class Tag:
    """A name for a revision, and where it has pointed: newest first, when asked for."""

    name: str
    revision: Revision
    history: tuple[TagChange, ...] = ()


def as_json(value: Any) -> Any:
    """A value of this module as what `json.dumps` takes: fields become keys, enums their words."""
    return asdict(value)
