"""What a controller remembers: a goal, observations of its children, and nothing that could be computed from them.

There is no state variable. A state is always asked for (`process_state`, `child_state`, the folds in `view.py`) and
follows from what was last heard and whether the link it came over is still there. Everything here is plain data, so
that a snapshot of it opens a segment of the event log and a simulated world can copy it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .aggregate import claim
from .effects import Answer, Order
from .names import Command, Kind, Membership, State
from .paths import covers
from .plan import FarmSpec, ProcessSpec, RoleSpec, SubFarmSpec
from .reports import ControllerReport, Goal, OutputFile, ProcessReport, Target
from .state import ROWS, STEADY, next_step

RUNNING_STATES = frozenset({State.TAKING, State.PAUSED, State.STARTING, State.STOPPING, State.PAUSING, State.RESUMING})
OUTCOMES_KEPT = 1000  # command ids remembered for repeats; a day of a busy shift
STORY_LINES = 2000  # of one controller


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a controller waits for things that nobody has given a time for, in seconds."""

    enrol_wait_s: float = 10.0  # for a child that should be there, before it counts as lost
    relaunch_wait_s: float = 1.0  # for a lost child to dial in again, before its program is started anew
    relaunch_longest_s: float = 30.0  # back-off of further attempts doubles up to this
    settle_s: float = 2.0  # after a failure, for answers still under way, before the outcome is given
    hop_s: float = 0.3  # kept back from a child's time, so that the culprit's name arrives first
    answer_margin_s: float = 1.0  # for an agent's answer, beyond the order's own limit


@dataclass(slots=True)
class LinkMemory:
    """The connection to a child program: an agent (kind node) or a controller."""

    name: str
    kind: Kind
    expected: bool = False  # launched and not released: it should be there
    attached: bool = False  # its stream is open
    enrolled: bool = False  # and it has told what it has
    releasing: bool = False
    incarnation: int = 0
    host: str = ""
    pid: int = 0
    heard_s: float | None = None
    missing_since_s: float | None = None  # expected and not attached
    launch_at_s: float | None = None
    launches: int = 0
    trouble: str = ""  # why it could not be launched


@dataclass(slots=True)
class InFlight:
    """An order that has been sent and not answered."""

    order: Order
    sent_s: float
    deadline_s: float


@dataclass(slots=True)
class ProcessMemory:
    """One process as its sub-farm controller remembers it."""

    spec: ProcessSpec
    role: RoleSpec
    report: ProcessReport | None = None
    heard_s: float | None = None
    in_flight: InFlight | None = None
    membership: Membership = Membership.IN
    fault: str = ""  # why it is not well
    lost: bool = False  # the fault is that its node cannot be heard; it ends when the node is back
    escalated: bool = False  # a step on the way down failed: the termination ladder is next
    attempts: int = 0

    @property
    def path(self) -> str:
        return self.spec.path


@dataclass(slots=True)
class ChildMemory:
    """One controller below this one."""

    name: str
    path: str
    report: ControllerReport | None = None
    heard_s: float | None = None
    goal_sent: Goal | None = None
    document_held: str = ""
    membership: Membership = Membership.IN


@dataclass(slots=True)
class GoalMemory:
    """The goal in force, and how its command fares."""

    goal: Goal
    since_s: float
    deadline_s: float
    active: bool = True  # its command has no outcome yet
    failing: str = ""  # why it will fail, once what is under way has settled
    failing_kind: str = "failed"
    failing_s: float = 0.0
    further_failures: int = 0
    ok: bool = True
    reason: str = ""
    notes: tuple[str, ...] = ()
    steps: tuple[Command, ...] = ()
    step_times: list[tuple[str, float]] = field(default_factory=list)
    step_since_s: float = 0.0
    moved: set[str] = field(default_factory=set)  # processes that this command has moved
    allotting: bool = False
    comment: str = ""
    run_type: str = "test"
    run_mode: str = ""


@dataclass(slots=True)
class RunMemory:
    """The run under way, at the root of the tree."""

    number: int
    running: bool = False
    stop_asked: bool = False
    end_reason: str = ""
    degraded: bool = False


@dataclass(slots=True)
class Memory:
    """Everything that a controller remembers."""

    path: str
    name: str
    kind: Kind
    root: bool
    fence: tuple[int, ...] = ()
    sequence: int = 0
    farm: FarmSpec | None = None  # at the root
    spec: SubFarmSpec | None = None  # where processes are children
    revision: str = ""
    links: dict[str, LinkMemory] = field(default_factory=dict)
    processes: dict[str, ProcessMemory] = field(default_factory=dict)
    children: dict[str, ChildMemory] = field(default_factory=dict)
    goal: GoalMemory | None = None
    run: RunMemory | None = None
    stop_run_wanted: str = ""
    outcomes: dict[str, tuple[str, Answer | None]] = field(default_factory=dict)  # id -> digest, answer
    story: list[tuple[float, str, str]] = field(default_factory=list)  # when, who, what
    limits: Limits = field(default_factory=Limits)

    def tell(self, now: float, member: str, text: str) -> None:
        """Adds a line to the story; the oldest go first when there are too many."""
        self.story.append((now, member, text))
        if len(self.story) > STORY_LINES:
            del self.story[: STORY_LINES // 10]


def target_of(goal: Goal, path: str) -> Target | None:
    """Where the member at `path` is to be: the last target that covers it; None when nothing was ever said."""
    for target in reversed(goal.targets):
        if covers(target.path, path):
            return target
    return None


def process_state(memory: Memory, process: ProcessMemory) -> State:
    """Where a process is, as far as can be told now."""
    link = memory.links[process.spec.node]
    if not link.enrolled:
        return link_state(memory, link, heard=process.heard_s is not None)
    reported = State.INITIAL if process.report is None else process.report.state
    if process.in_flight is not None and reported is not State.UNKNOWN:
        row = ROWS[process.in_flight.order.command]
        return reported if reported is row.to else row.via
    return reported


def child_state(memory: Memory, child: ChildMemory) -> State:
    """Where a controller below is, as far as can be told now."""
    link = memory.links[child.name]
    if link.enrolled and child.report is not None:
        return child.report.row.state
    return link_state(memory, link, heard=child.heard_s is not None)


def link_state(memory: Memory, link: LinkMemory, heard: bool) -> State:
    """The state of what lies behind a link that nothing can be heard from."""
    if not link.expected:
        return State.ABSENT
    goal = memory.goal
    if not heard and goal is not None and goal.active and goal.goal.setting_up:
        return State.SETTING_UP
    return State.UNKNOWN


def included(memory: Memory) -> list[State]:
    """The states of all children that count."""
    states = [
        process_state(memory, process) for process in memory.processes.values() if process.membership is Membership.IN
    ]
    states += [child_state(memory, child) for child in memory.children.values() if child.membership is Membership.IN]
    return states


def leaf_states(memory: Memory, scope: str) -> set[State]:
    """The states found among the processes in `scope`, as far down as this controller can see."""
    found = {
        process_state(memory, process)
        for process in memory.processes.values()
        if covers(scope, process.path) and process.membership is Membership.IN
    }
    for child in memory.children.values():
        if child.membership is not Membership.IN or not (covers(scope, child.path) or covers(child.path, scope)):
            continue
        state = child_state(memory, child)
        counts = child.report.row.counts if child.report is not None else ()
        known = state not in (State.ABSENT, State.UNKNOWN, State.SETTING_UP, State.TEARING_DOWN, State.INITIAL)
        found |= {count.state for count in counts} if known and counts else {state}
    return found


def command_under_way(memory: Memory, states: list[State]) -> Command | None:
    """The step that the folds are to show: the one commanded or, on the way to a target, the next of the rearmost."""
    goal = memory.goal
    if goal is None or not goal.active or not states:
        return None
    target = next((target for target in goal.goal.targets if covers(goal.goal.scope, target.path)), None)
    if target is None or target.state is None or not covers(goal.goal.scope, memory.path):
        return None
    if target.step is not None:
        return target.step
    least = min(states, key=claim)
    return next_step(least, target.state) if least in STEADY else None


def run_counters(memory: Memory) -> dict[str, dict[str, int]]:
    """What each role has counted: processes here, summed; and what the controllers below have summed."""
    totals: dict[str, dict[str, int]] = {}
    for process in memory.processes.values():
        if process.report is not None:
            _add(totals, process.role.name, process.report.counters)
    for child in memory.children.values():
        if child.report is not None:
            for role, counters in child.report.counters.items():
                _add(totals, role, counters)
    return totals


def _add(totals: dict[str, dict[str, int]], role: str, counters: Mapping[str, int]) -> None:
    sums = totals.setdefault(role, {})
    for counter, value in counters.items():
        sums[counter] = sums.get(counter, 0) + value


def run_files(memory: Memory) -> tuple[OutputFile, ...]:
    """The files finished by the processes of this part of the tree."""
    files: list[OutputFile] = []
    for process in memory.processes.values():
        if process.report is not None:
            files += process.report.files
    for child in memory.children.values():
        if child.report is not None:
            files += child.report.files
    return tuple(files)
