"""What members say of themselves, and the rows that observers see: values that travel between core and the edges.

A report is always the whole: a newer one replaces an older one, so a lost or repeated message does no harm. The answer
to an order is part of the report (`order_id`, `order_done`, `order_ok`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .causes import Cause
from .names import Command, Health, Kind, Membership, Repairing, State
from .paths import FARM


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step failed or a process ended, in one sentence, with the last lines of its output."""

    kind: str  # never started, died while starting, too slow, hung, refused, died while running
    reason: str
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a process has finished."""

    member: str
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What a process uses of its machine, as last sampled. Its descendants are not in it."""

    cpu_percent: float  # of one processor, since the sample before
    rss_bytes: int
    threads: int
    open_files: int
    read_bytes: int  # from and to storage, since its start
    written_bytes: int
    age_s: float = 0.0  # of the sample, when it was told


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """All that an agent knows of one process."""

    path: str
    state: State
    instance: str = ""
    health: Health = Health.OK
    status: str = ""
    pid: int = 0
    order_id: str = ""
    order_done: bool = True
    order_ok: bool = True
    failure: Failure | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    files: tuple[OutputFile, ...] = ()
    counted_run: int = 0  # the run that counters and files belong to: the last one in which it was
    run_number: int = 0
    figures: Figures | None = None
    restarts: int = 0  # by its role's policy, since a command started it
    restarted_s: tuple[float, ...] = ()  # when the last of them were, on the monotonic clock of whoever has this value


@dataclass(frozen=True, slots=True)
class RunTerms:
    """What whoever starts a run says of it; the run keeps it from its start to its end."""

    run_type: str = ""  # test or production; empty: nothing was said, which is test
    run_mode: str = ""
    comment: str = ""
    events: int = 0  # the run ends by itself after so many; 0: it does not
    duration_s: float = 0.0  # and after so long
    person: str = ""


NO_TERMS = RunTerms()


@dataclass(frozen=True, slots=True)
class Count:
    """How many processes share a role, a state, a health, and whether they are excluded."""

    role: str
    state: State
    health: Health
    processes: int
    out: bool = False  # a person has excluded them


@dataclass(frozen=True, slots=True)
class Busy:
    """The transition under way."""

    command_id: str
    doing: str
    person: str
    elapsed_s: float
    remaining_s: float
    done: int
    total: int
    slowest: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One member as an observer sees it."""

    path: str
    kind: Kind
    name: str
    state: State
    health: Health = Health.OK
    status: str = ""
    membership: Membership = Membership.IN
    busy: Busy | None = None
    counts: tuple[Count, ...] = ()
    heard_age_s: float | None = None  # since the member was last heard; None is never
    role: str = ""
    pid: int = 0
    instance: str = ""
    run_number: int = 0
    revision: str = ""
    returning: bool = False  # being brought to where the others are, after a restart or a recovery
    unaccounted: int = 0  # processes below that may run without anybody hearing them


@dataclass(frozen=True, slots=True)
class RepairReport:
    """How a repair fares in one part of the tree."""

    id: str
    done: bool  # nothing is waited for any more
    failures: tuple[str, ...] = ()  # why members did not come back
    members: int = 0  # processes that it is about
    back: int = 0  # of them, those that are not waited for any more
    slowest: str = ""  # one that is
    idle: bool = False  # all were well, and nothing had to be done


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """A member went out of a run, or came back."""

    id: str  # given once, by the controller that has seen it
    path: str
    membership: Membership
    reason: str
    at_s: float  # on the monotonic clock of whoever has this value
    run_number: int


@dataclass(frozen=True, slots=True)
class ControllerReport:
    """All that a parent knows of a controller below it."""

    row: Row
    command_id: str = ""
    done: bool = True
    ok: bool = True
    reason: str = ""
    notes: tuple[str, ...] = ()
    exceptions: tuple[Row, ...] = ()
    causes: tuple[Cause, ...] = ()
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # role -> counter -> value
    files: tuple[OutputFile, ...] = ()
    counted_run: int = 0  # the run that counters and files belong to: the last one in which anybody was
    stop_run_wanted: str = ""
    run_number: int = 0
    degraded: bool = False
    undrained: bool = False
    repairs: tuple[RepairReport, ...] = ()
    changes: tuple[MembershipChange, ...] = ()  # of the run, all of them, in the order of time
    changes_left_out: int = 0  # how many more there were
    unheard: tuple[str, ...] = ()  # nodes and controllers below it whose program is not attached


@dataclass(frozen=True, slots=True)
class Target:
    """Where the members below `path` are to be; `state` None is: hold where you are.

    With `step` only members in the step's from-state move; without it ("go") every member takes the steps it needs.
    """

    path: str
    state: State | None
    step: Command | None = None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A member that a person has taken out, with all below it; `why` is for people, with the person's name."""

    path: str
    why: str
    gone: bool = False  # for good, with its machine: nothing is waited for there, and nothing unaccounted


@dataclass(frozen=True, slots=True)
class Repair:
    """Members that are to be restarted or recovered, beside the goal's command, until all parts have said the end."""

    id: str
    kind: Repairing
    paths: tuple[str, ...]
    person: str
    limit_s: float
    begun: bool = False  # it was under way before: what is back since then is not restarted once more
    doing: str = ""  # what the person has asked for: restart, recover, include


@dataclass(frozen=True, slots=True)
class Goal:
    """What a controller is to reach. The newest replaces the one before."""

    command_id: str = ""
    scopes: tuple[str, ...] = (FARM,)  # the members that the command is about
    targets: tuple[Target, ...] = ()
    revision: str = ""
    run_number: int = 0  # 0: not allotted yet, do not start
    limit_s: float = 0.0  # from receipt
    set_up: bool = False  # the control infrastructure below is expected to exist
    setting_up: bool = False  # this command launches it, so there is nothing to wait for first
    person: str = ""
    doing: str = ""
    excluded: tuple[Exclusion, ...] = ()
    repairs: tuple[Repair, ...] = ()
