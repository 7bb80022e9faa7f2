"""What a controller is told: facts, in the past tense. `Controller.step(now, event)` is the only door.

A failed piece of input or output comes back as an event too; nothing raises into core.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .access import NOWHERE, Origin
from .effects import Answer
from .names import Command, LeaseAction, MemberCommand, State
from .plan import FarmSpec, SubFarmSpec
from .reports import NO_TERMS, ControllerReport, Goal, ProcessReport, RunTerms


@dataclass(frozen=True, slots=True)
class ChildAttached:
    """A child's stream is open. What it has to tell follows as reports; agents begin with a snapshot."""

    link: str
    incarnation: int
    host: str = ""
    pid: int = 0
    revision: str = ""  # the document that a controller holds in its cache
    version: str = ""  # of its program
    boot_id: str = ""  # of its host


@dataclass(frozen=True, slots=True)
class ChildLost:
    """The stream of a child ended, for whatever reason."""

    link: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProcessesReported:
    """Reports from an agent; with `snapshot` they are all that exists on the node."""

    link: str
    reports: tuple[ProcessReport, ...]
    snapshot: bool = False


@dataclass(frozen=True, slots=True)
class AgentsReported:
    """Reports from several agents, in the order in which they came, that are planned for once."""

    reports: tuple[ProcessesReported, ...]


@dataclass(frozen=True, slots=True)
class NodeReported:
    """What an agent knows of its node besides the processes: always the whole."""

    link: str
    keeper_pid: int  # 0: there is none at the moment
    keeper_silent: bool = False


@dataclass(frozen=True, slots=True)
class ControllerReported:
    """A controller below tells what it is and has: always the whole."""

    link: str
    report: ControllerReport


@dataclass(frozen=True, slots=True)
class GoalGiven:
    """The parent says what to reach; `fence` are the incarnations from the root down to this controller."""

    goal: Goal
    fence: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DocumentGiven:
    """The parent sends the description of this sub-farm; `revision` names it from now on."""

    revision: str
    spec: SubFarmSpec


@dataclass(frozen=True, slots=True)
class CommandGiven:
    """A person, a script or a policy commands. `selected` is the revision that a setup or load would take."""

    command_id: str
    digest: str
    paths: tuple[str, ...]  # the members it is about: at least one; the farm is ""
    step: Command | None  # a single step, or
    target: State | None  # a state to go to
    person: str
    timeout_s: float = 0.0  # 0: the default
    terms: RunTerms = NO_TERMS
    selected: FarmSpec | None = None
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class MemberCommandGiven:
    """A person excludes, includes, restarts or recovers members, beside whatever command is under way."""

    command_id: str
    digest: str
    command: MemberCommand
    paths: tuple[str, ...]
    person: str
    timeout_s: float = 0.0  # 0: the default
    comment: str = ""
    gone: bool = False  # of an exclusion: the machine will not come back
    selected: FarmSpec | None = None
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class CancelGiven:
    """A person cancels the command with that id; an empty id is whatever is under way."""

    command_id: str
    person: str


@dataclass(frozen=True, slots=True)
class LeaseCommandGiven:
    """A person takes the right to command, gives it back, or takes it from somebody else."""

    action: LeaseAction
    person: str
    life_s: float = 0.0  # of the lease that is taken
    comment: str = ""


@dataclass(frozen=True, slots=True)
class LeaseRestored:
    """A farm controller takes its farm back: who held the lease, and has it still."""

    holder: str
    held_for_s: float
    remaining_s: float
    comment: str = ""


@dataclass(frozen=True, slots=True)
class RunNumberAllotted:
    """The answer to `AllotRunNumber`: asked again for the same command, the same number."""

    command_id: str
    number: int


@dataclass(frozen=True, slots=True)
class AllotFailed:
    """The other answer to `AllotRunNumber`: there is no number, and why."""

    command_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProgramKilled:
    """A program below that could not be heard held its place and did not answer, and was killed for the next one."""

    link: str
    reason: str


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """The answer to `Launch` when the program could not be started, or ended at once; the reason is for people.

    With `ran` it was started, and ended later on: by a signal or with an error.
    """

    link: str
    reason: str
    ran: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """A farm controller takes its farm back: what the database remembers of it."""

    goal: Goal
    spec: FarmSpec | None
    under_way: bool  # the goal's command has no outcome yet
    remaining_s: float = 0.0
    run_number: int = 0  # of a run that has not ended
    running: bool = False  # of that run, as the goal's record says, and so are these
    stop_asked: bool = False
    end_reason: str = ""
    degraded: bool = False
    degraded_reason: str = ""
    running_for_s: float = 0.0
    last_seen_unix_s: float = 0.0  # the last sign of life of whoever saw that run before; 0: none is known
    run_terms: RunTerms = NO_TERMS
    terms: RunTerms = NO_TERMS  # of the run that the goal's command was to start
    # Command ids of the last day: digest and outcome; None for one under way. An empty digest matches any.
    outcomes: Mapping[str, tuple[str, Answer | None]] = field(default_factory=dict)
    ages_s: Mapping[str, float] = field(default_factory=dict)  # of commands under way: since they were accepted


@dataclass(frozen=True, slots=True)
class ConfigurationSelected:
    """At the root: what the next load takes, and what it calls the farm."""

    name: str
    revision: str


@dataclass(frozen=True, slots=True)
class DatabaseReported:
    """At the root: why the database cannot be written, so that records wait; empty when it can again."""

    trouble: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has come to a moment that `WakeAt` asked for."""


Event = (
    ChildAttached
    | ChildLost
    | ProcessesReported
    | AgentsReported
    | NodeReported
    | ControllerReported
    | GoalGiven
    | DocumentGiven
    | CommandGiven
    | MemberCommandGiven
    | CancelGiven
    | LeaseCommandGiven
    | LeaseRestored
    | RunNumberAllotted
    | AllotFailed
    | LaunchFailed
    | ProgramKilled
    | Restored
    | ConfigurationSelected
    | DatabaseReported
    | Ticked
)
