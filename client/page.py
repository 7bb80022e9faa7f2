"""A member's page as the client tells it: values, like those of `values.py`.

A process's configuration is told in core's own words (`ProcessSpec`, `StepLimits`), which are values as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from grange.core.names import Command, State
from grange.core.plan import ProcessSpec, Quorum
from grange.core.reports import Failure, Figures

from .values import MemberStatus, OutputFile, StoryLine


@dataclass(frozen=True, slots=True)
class AwaitedOrder:
    """An order that has been sent to a process and not answered."""

    command: Command | None  # None: one that this version does not know
    since_unix_s: float
    remaining_s: float


@dataclass(frozen=True, slots=True)
class RolePage:
    """A role in one sub-farm, and how it stands there."""

    name: str
    rank: int  # 0 is the source of the data flow
    policy: str  # what the death of a process means: ignore, stop_run
    quorum: Quorum
    configured: int  # processes
    needed: int  # well, by the quorum
    well: int | None  # None: nobody can tell
    limits_s: Mapping[str, float]  # the longest that a process may take: boot, load, …, terminate, kill
    hung_timeout_s: float  # one that is out and hangs is ended after so long; 0: it is left as it is


@dataclass(frozen=True, slots=True)
class ProcessPage:
    """What is known of a process besides its row."""

    fault: str  # why it is not well; empty when it is
    membership: str  # why it counts, or does not, when that is not plain
    unheard: str  # that its node cannot be heard, and since when: all the rest is what was heard before
    failure: Failure | None  # of its last order, or of itself since
    awaited: AwaitedOrder | None
    figures: Figures | None  # None when nothing runs, or none were told yet
    figures_unix_s: float  # when they were sampled
    files: tuple[OutputFile, ...]  # of the run that ended last
    configuration: ProcessSpec  # as its node gets it; `{home}` is filled in there
    role: RolePage
    restarts: int  # how often its role's policy has restarted it since a command did
    restarted_unix_s: float  # when it did so last; 0: never


@dataclass(frozen=True, slots=True)
class NodePage:
    """What is known of a node besides its row."""

    host: str
    directory: str  # of its sockets, manifests and logs, on that host
    agent_pid: int  # 0: none is attached; what follows is then of the one before
    agent_incarnation: int
    agent_version: str
    boot_id: str  # of the host
    attached_unix_s: float  # since when its agent is; 0: it is not
    keeper_pid: int  # 0: the agent has none, or has not told
    keeper_silent: bool
    trouble: str  # why it could not be launched


@dataclass(frozen=True, slots=True)
class GoalPage:
    """What a controller is to reach, and how that command fared."""

    command_id: str
    doing: str
    person: str
    since_unix_s: float
    outcome: str  # done, failed, …; empty while it is under way
    reason: str


@dataclass(frozen=True, slots=True)
class ControllerPage:
    """What is known of a farm's or a sub-farm's controller besides its row."""

    host: str
    pid: int  # 0: it does not answer; what follows is then of the one before
    version: str
    address: str
    boot_id: str  # of the host
    incarnations: tuple[int, ...]  # from the root down to it
    attached_unix_s: float  # since when it is attached to the one above; a farm controller: 0
    trouble: str  # why it could not be launched
    goal: GoalPage | None
    roles: tuple[RolePage, ...]


@dataclass(frozen=True, slots=True)
class LogTail:
    """The last lines of a log."""

    host: str
    file: str
    lines: tuple[str, ...]
    problem: str  # why there are none


@dataclass(frozen=True, slots=True)
class MemberPage:
    """One member, as the controller that knows it best tells it."""

    member: MemberStatus
    at_unix_s: float  # when this was told
    farm: str
    holder: str  # who tells: host and pid; empty: no controller was asked
    version: str  # of that program
    trouble: str  # why less is told than there is
    revision: str  # in force there; empty when none is
    selected_revision: str  # what the next load takes; empty when a controller below the farm was asked
    possible: tuple[str, ...]  # commands possible now
    members: tuple[MemberStatus, ...]  # its children: sub-farms, nodes or processes
    counters: Mapping[str, Mapping[str, int]]  # role -> counter -> value, of the run under way or ended last
    story: tuple[StoryLine, ...]  # the last lines, of the member and of those above and below it
    log: LogTail
    process: ProcessPage | None  # one of these three is there
    node: NodePage | None
    controller: ControllerPage | None
    go_first: State | None = None  # where the farm has to go before a load can take what is selected; None: nowhere
