"""What a controller remembers: a goal, observations of its children, and nothing that could be computed from them.

There is no state variable. A state is always asked for (`process_state`, `child_state`, the folds in `view.py`) and
follows from what was last heard and whether the link it came over is still there. Everything here is plain data, so
that a snapshot of it opens a segment of the event log and a simulated world can copy it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from .aggregate import claim
from .effects import Answer, Order
from .goals import exclusion_of, in_scope, own_target, target_of
from .names import Command, Health, Kind, Membership, State
from .paths import FARM, covers
from .plan import FarmSpec, ProcessSpec, RoleSpec, SubFarmSpec
from .reports import (
    NO_TERMS,
    ControllerReport,
    Goal,
    MembershipChange,
    OutputFile,
    ProcessReport,
    Repair,
    RunTerms,
    Target,
)
from .state import LADDER, ROWS, STEADY, TRANSITIONAL, next_step, sources

# In these a run is on, or may still be.
RUNNING_STATES = frozenset({State.TAKING, State.PAUSED, State.STARTING, State.STOPPING, State.PAUSING, State.RESUMING})
DATA_STATES = (State.TAKING, State.PAUSED)  # a member here is in a run, and has its number
OUTCOMES_KEPT = 1000  # command ids remembered for repeats; a day of a busy shift
STORY_LINES = 2000  # of one controller


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a controller waits for things that nobody has given a time for, in seconds."""

    enrol_wait_s: float = 10.0  # for a child that should be there, before it counts as lost
    launch_wait_s: float = 30.0  # for a program that is started from nothing, on a machine that may be busy
    relaunch_controller_wait_s: float = 0.25  # for a controller whose link broke: one that lives dials in at once
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
    vacant: bool = True  # nothing can be at the other end: set up from nothing, and no program has dialled in since
    unaccounted: bool = False  # it has not dialled in for so long that nobody waits for it, though it is still expected
    incarnation: int = 0
    first_heard: int = 0  # the incarnation of the program that this controller heard first
    first_incarnation: int = 0  # of the program that found nothing there before it
    host: str = ""
    pid: int = 0
    version: str = ""  # of the program, which was attached last
    boot_id: str = ""  # of its host
    attached_s: float | None = None  # since when its stream is open, or was
    keeper_pid: int = 0  # of a node; 0: none, as far as its agent has told
    keeper_silent: bool = False
    heard_s: float | None = None
    missing_since_s: float | None = None  # expected and not attached
    launch_at_s: float | None = None
    launches: int = 0
    trouble: str = ""  # why it could not be launched, or how it ended


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
    former: ProcessReport | None = None  # the last one of a run of which its agent, a new one, knows nothing any more
    heard_s: float | None = None
    in_flight: InFlight | None = None
    membership: Membership = Membership.IN
    fault: str = ""  # why it is not well
    fault_seen: tuple[State, Health] | None = None  # what it said when the fault was noted; another word may end it
    lost: bool = False  # the fault is that its node cannot be heard; it ends when the node is back
    cause: str = ""  # the path of the process whose fault made this one's
    withdrawn: bool = False  # taken down because of a fault, its own or that of `cause`, until somebody brings it back
    end_at_s: float | None = None  # it hangs, is out, and is ended then unless it is heard again
    renewing: bool = False  # to be ended, and then to return
    returning: bool = False  # it is well again, but behind the others: being brought to where they are
    restarts: tuple[float, ...] = ()  # when its role's policy restarted it, since a command started it
    restart_at_s: float | None = None  # when its role's policy restarts it next
    restarting: bool = False  # its next boot is such a restart
    rejoin: State | None = None  # where it returns to while the goal says nothing of it
    unended: str = ""  # the command whose shutdown did not end it
    owes_shutdown: bool = False  # a shutdown passed while it could not be heard: it comes first when it can
    attempts: int = 0
    noted_missing: bool = False  # that it is missing by a fault has been noted of the run

    @property
    def path(self) -> str:
        return self.spec.path

    @property
    def mending(self) -> bool:
        """Whether it is being brought back, or is about to be."""
        return self.renewing or self.returning or self.restart_at_s is not None


@dataclass(slots=True)
class ChildMemory:
    """One controller below this one."""

    name: str
    path: str
    report: ControllerReport | None = None
    heard_s: float | None = None
    goal_sent: Goal | None = None
    told: tuple[object, ...] = ()  # what that was made of, or would have been again
    document_held: str = ""
    membership: Membership = Membership.IN
    noted_missing: bool = False  # as of a process


@dataclass(slots=True)
class RunMembers:
    """Who went out of the run and came back (`run_members.py`)."""

    run_number: int = 0
    changes: list[MembershipChange] = field(default_factory=list)
    left_out: int = 0  # changes beyond those that are kept
    made: int = 0  # changes ever, for their ids
    excluded: dict[str, str] = field(default_factory=dict)  # at the root: path and reason, as noted


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
    casualty: str = ""  # why it will fail once all others are down: on the way down a fault stops nobody else
    ok: bool = True
    outcome: str = ""  # done, failed, cancelled, superseded; empty while active
    reason: str = ""
    notes: tuple[str, ...] = ()
    steps: tuple[Command, ...] = ()
    step_times: list[tuple[str, float]] = field(default_factory=list)
    step_since_s: float = 0.0
    allotting: bool = False
    terms: RunTerms = NO_TERMS  # of the run that it starts, if it starts one
    untaken: str = ""  # that another revision is selected, and how to take it
    earlier_s: float = 0.0  # for so long it had been under way when this controller took it over

    def age_s(self, now: float) -> float:
        """Since its command was accepted, by whichever controller."""
        return now - self.since_s + self.earlier_s


@dataclass(slots=True)
class RepairMemory:
    """A repair under way, as the controller sees it that has the members, and as those above it see it."""

    repair: Repair
    since_s: float
    deadline_s: float
    processes: tuple[str, ...] = ()  # those of this controller's own that it is about
    unheard: tuple[str, ...] = ()  # of them, those that nothing could be done about yet
    rejoin: State | None = None  # where its members go while the goal says nothing of them
    overtaken: tuple[str, str] | None = None  # cancelled or superseded, and by what
    touched: bool = False  # some member was not well, or was out: there was something to do
    earlier_s: float = 0.0  # for so long it had been under way when this controller took it over

    def age_s(self, now: float) -> float:
        """Since it was accepted, by whichever controller."""
        return now - self.since_s + self.earlier_s


@dataclass(slots=True)
class RunMemory:
    """The run under way, at the root of the tree."""

    number: int
    running: bool = False
    stop_asked: bool = False  # no process may start in it any more: a further start needs a new number
    policy_asked: bool = False  # grange itself has commanded the stop
    end_reason: str = ""
    degraded: bool = False
    degraded_reason: str = ""  # the first member that was missing, and why
    terms: RunTerms = NO_TERMS
    running_since_s: float = 0.0  # once it is running
    last_seen_unix_s: float = 0.0  # by a controller before this one, which has seen nobody in the run yet; else 0


@dataclass(frozen=True, slots=True)
class LeaseMemory:
    """The right to command, at the root: who holds it. One whose time is over is nobody's."""

    holder: str
    since_s: float
    until_s: float
    comment: str = ""


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
    selected: str = ""  # the revision that the next load takes, at the root
    links: dict[str, LinkMemory] = field(default_factory=dict)
    processes: dict[str, ProcessMemory] = field(default_factory=dict)
    children: dict[str, ChildMemory] = field(default_factory=dict)
    goal: GoalMemory | None = None
    repairs: dict[str, RepairMemory] = field(default_factory=dict)
    run: RunMemory | None = None
    run_members: RunMembers = field(default_factory=RunMembers)
    stop_run_wanted: str = ""
    database_trouble: str = ""  # at the root: why records wait, and no run number can be had
    lease: LeaseMemory | None = None
    outcomes: dict[str, tuple[str, Answer | None]] = field(default_factory=dict)  # id -> digest, answer
    story: list[tuple[float, str, str]] = field(default_factory=list)  # when, who, what
    limits: Limits = field(default_factory=Limits)

    def tell(self, now: float, member: str, text: str) -> None:
        """Adds a line to the story; the oldest go first when there are too many."""
        self.story.append((now, member, text))
        if len(self.story) > STORY_LINES:
            del self.story[: STORY_LINES // 10]


def fence_text(memory: Memory) -> str:
    """Who this controller is among all that were and will be at its place, for ids: `4.1`, from the root down."""
    return ".".join(map(str, memory.fence))


def aim_of(process: ProcessMemory, goal: Goal) -> Target | None:
    """Where a process is to be by the goal; one that returns takes all steps there, or goes where the others are."""
    target = target_of(goal, process.path)
    if not process.returning:
        return target
    if target is None or target.state is None:
        if process.rejoin is None:
            return target
        target = Target(process.path, process.rejoin)
    if target.state in DATA_STATES and not goal.run_number:
        return Target(target.path, State.CONFIGURED)  # there is no run that it could join yet, or any more
    return Target(target.path, target.state) if target.step not in (None, Command.SHUTDOWN) else target


def process_state(memory: Memory, process: ProcessMemory) -> State:
    """Where a process is, as far as can be told now.

    An order under way shows as its transitional state while the process is, by its last word, in a state that the order
    starts from. Any other word stands for itself: one that has died under way is initial, not starting.
    """
    link = memory.links[process.spec.node]
    if not link.enrolled:
        if process.lost and link.expected:
            return State.UNKNOWN
        return link_state(memory, link, heard=process.heard_s is not None)
    reported = State.INITIAL if process.report is None else process.report.state
    if process.in_flight is None:
        return reported
    row = ROWS[process.in_flight.order.command]
    return row.via if row.command is Command.SHUTDOWN or reported in sources(row.command) else reported


def may_exist(process: ProcessMemory) -> bool:
    """Whether something may be running there, by all that was ever heard or ordered."""
    report = process.report
    if process.in_flight is not None or process.heard_s is None:
        return True
    return report is not None and is_there(report)


def is_there(report: ProcessReport) -> bool:
    """Whether something is running there, by its agent's word."""
    return report.state is not State.INITIAL or bool(report.instance)


def is_unaccounted(memory: Memory, process: ProcessMemory) -> bool:
    """Whether something may run there and nobody can hear it."""
    return may_exist(process) and not memory.links[process.spec.node].enrolled


def child_state(memory: Memory, child: ChildMemory) -> State:
    """Where a controller below is, as far as can be told now."""
    link = memory.links[child.name]
    if link.enrolled and child.report is not None:
        told, state = child.report.command_id, child.report.row.state
        # The first one there, which has not got the goal yet, knows nothing only because there is nothing yet.
        first = link.incarnation == link.first_incarnation and is_being_set_up(memory)
        return State.SETTING_UP if state is State.UNKNOWN and not told and first else state
    return link_state(memory, link, heard=child.heard_s is not None)


def link_state(memory: Memory, link: LinkMemory, heard: bool) -> State:
    """The state of what lies behind a link that nothing can be heard from."""
    if not link.expected:
        return State.ABSENT
    return State.SETTING_UP if not heard and is_being_set_up(memory) else State.UNKNOWN


def is_being_set_up(memory: Memory) -> bool:
    """Whether a command is under way that sets up."""
    return memory.goal is not None and memory.goal.active and memory.goal.goal.setting_up


def is_excluded(memory: Memory, path: str) -> bool:
    """Whether a person has taken out the member at `path`, by itself or with what it lies in."""
    return memory.goal is not None and exclusion_of(memory.goal.goal, path) is not None


def included(memory: Memory) -> set[State]:
    """The states of all children that count."""
    states = {
        process_state(memory, process) for process in memory.processes.values() if process.membership is Membership.IN
    }
    states |= {child_state(memory, child) for child in memory.children.values() if child_counts(memory, child)}
    return states


def all_states(memory: Memory) -> set[State]:
    """The states of all children, those that are excluded too: what is shown where none counts."""
    states = {process_state(memory, process) for process in memory.processes.values()}
    return states | {child_state(memory, child) for child in memory.children.values()}


def counts_nothing(memory: Memory, scope: str) -> bool:
    """Whether all that lies in `scope` is excluded."""
    return bool(memory.children or memory.processes) and not leaf_states(memory, scope)


def child_counts(memory: Memory, child: ChildMemory) -> bool:
    """Whether a controller below counts: it is in, and not everything below it is excluded.

    What it has said of that is history once the goal excludes nothing there any more.
    """
    if child.membership is not Membership.IN:
        return False
    counts = child.report.row.counts if child.report is not None else ()
    if not counts or not all(count.out for count in counts):
        return True
    return memory.goal is not None and not any(covers(child.path, out.path) for out in memory.goal.goal.excluded)


def leaf_states(memory: Memory, scope: str) -> set[State]:
    """The states found among the included processes in `scope`, as far down as this controller can see.

    Of a scope that is excluded, or lies in what is, those that are excluded count.
    """
    out = is_excluded(memory, scope)
    wanted = Membership.OUT_BY_PERSON if out else Membership.IN
    found = {
        process_state(memory, process)
        for process in memory.processes.values()
        if process.membership is wanted and covers(scope, process.path)
    }
    for child in memory.children.values():
        if not (covers(scope, child.path) or covers(child.path, scope)):
            continue
        if not child_counts(memory, child) and not (out and child.membership is not Membership.OUT_BY_FAULT):
            continue
        state = child_state(memory, child)
        counts = [count for count in child.report.row.counts if count.out is out] if child.report is not None else []
        known = state not in (State.ABSENT, State.UNKNOWN, State.SETTING_UP, State.TEARING_DOWN, State.INITIAL)
        found |= {count.state for count in counts} if known and counts else {state}
    return found


def command_under_way(memory: Memory, states: Collection[State]) -> Command | None:
    """The step that the folds are to show: the one commanded or, on the way to a target, the next of the rearmost."""
    goal = memory.goal
    if goal is None or not goal.active or not states or not in_scope(goal.goal, memory.path):
        return None
    target = own_target(goal.goal)
    if target is None or target.state is None:
        return None
    if target.step is not None:
        return target.step
    rearmost = farthest(states, target.state)
    return next_step(rearmost, target.state) if rearmost in STEADY else None


def farthest(states: Iterable[State], target: State) -> State:
    """Of `states`, the one with the longest way to `target`: the lowest, unless all are above the target already."""
    ordered = sorted(states, key=lambda state: (claim(state), state in LADDER and LADDER.index(state), state))
    above = all(state in LADDER and LADDER.index(state) >= LADDER.index(target) for state in ordered)
    return ordered[-1 if above else 0]


def is_stuck(process: ProcessMemory) -> bool:
    """Whether a process that can be heard is in no steady state, and its last order is no reason to wait any longer."""
    report = process.report
    if report is None or process.in_flight is not None or not report.order_done:
        return False
    unsteady = report.state is State.UNKNOWN or report.state in TRANSITIONAL
    return unsteady and (not report.order_ok or report.health is Health.ERROR)


def in_former_run(process: ProcessMemory, goal: Goal, target: Target) -> bool:
    """Whether a process that is to take data takes them in another run than the goal's: it has to stop first."""
    report = process.report
    return (
        target.state in DATA_STATES
        and report is not None
        and report.state in DATA_STATES
        and (goal.run_number == 0 or report.run_number not in (0, goal.run_number))
    )


def has_arrived(memory: Memory, process: ProcessMemory, goal: Goal, target: Target) -> bool:
    """Whether a process is where its target says, in the run that the goal says; for a setup, whether it is heard."""
    state = process_state(memory, process)
    if target.step is Command.SETUP:
        return state not in (State.ABSENT, State.SETTING_UP, State.UNKNOWN)
    return state is target.state and not in_former_run(process, goal, target)


def counted_run(memory: Memory) -> int:
    """The newest run in which anybody here or below has counted: of it are the counters that are shown."""
    here = (process.report.counted_run for process in memory.processes.values() if process.report is not None)
    below = (child.report.counted_run for child in memory.children.values() if child.report is not None)
    return max((*here, *below), default=0)


def role_counters(memory: Memory, run_number: int, scope: str = FARM) -> dict[str, dict[str, int]]:
    """What each role has counted in a run, summed over the processes here, or those of them in `scope`."""
    totals: dict[str, dict[str, int]] = {}
    for process in memory.processes.values():
        if covers(scope, process.path) and (report := _report_of_run(process, run_number)) is not None:
            _add(totals, process.role.name, report.counters)
    return totals


def _report_of_run(process: ProcessMemory, run_number: int) -> ProcessReport | None:
    """The last that was heard of what a process has counted and finished in a run."""
    for report in (process.report, process.former):
        if report is not None and report.counted_run == run_number:
            return report
    return None


def counters_below(memory: Memory, run_number: int) -> dict[str, Mapping[str, Mapping[str, int]]]:
    """What the roles of each controller below have counted in a run; of those who were in it."""
    return {
        child.name: child.report.counters
        for child in memory.children.values()
        if child.report is not None and child.report.counted_run == run_number
    }


def run_counters(memory: Memory, run_number: int) -> dict[str, dict[str, int]]:
    """What each role has counted in a run: processes here, summed; and what the controllers below have summed."""
    totals = role_counters(memory, run_number)
    for roles in counters_below(memory, run_number).values():
        for role, counters in roles.items():
            _add(totals, role, counters)
    return totals


def _add(totals: dict[str, dict[str, int]], role: str, counters: Mapping[str, int]) -> None:
    sums = totals.setdefault(role, {})
    for counter, value in counters.items():
        sums[counter] = sums.get(counter, 0) + value


def run_files(memory: Memory, run_number: int) -> tuple[OutputFile, ...]:
    """The files finished in a run by the processes of this part of the tree."""
    here = [_report_of_run(process, run_number) for process in memory.processes.values()]
    below = [child.report for child in memory.children.values() if child.report is not None]
    files = [(report.counted_run, report.files) for report in here if report is not None]
    files += [(report.counted_run, report.files) for report in below]
    return tuple(file for counted, finished in files if counted == run_number for file in finished)
