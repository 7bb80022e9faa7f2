"""What an agent tells the part that decides about one process, and what that wishes: the vocabulary of `process.py`.

Events are facts in the past tense, effects are orders to the agent. An *instance* names one start of a process, so that
late news of a former start is told apart; *exit* values are those of `core/keeping.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .effects import Order
from .names import Command, State
from .reports import Figures, OutputFile


class FailureKind(StrEnum):
    """What kind of end a process met, or why a step failed."""

    NEVER_STARTED = "never started"
    DIED_STARTING = "died while starting"
    TOO_SLOW = "too slow"
    HUNG = "hung"
    REFUSED = "refused"
    DIED_RUNNING = "died while running"


@dataclass(frozen=True, slots=True)
class Ladder:
    """The termination ladder's times: from TERM to KILL, and from KILL to giving up."""

    terminate_timeout_s: float = 3.0
    kill_timeout_s: float = 2.0


# ---- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order came from the parent. `new_instance` is the name for the process that a boot starts."""

    order: Order
    new_instance: str = ""
    ladder: Ladder | None = None  # with boot and load


@dataclass(frozen=True, slots=True)
class Spawned:
    """The program is being executed."""

    instance: str
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The program could not be executed."""

    instance: str
    reason: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The process has ended, and nothing of it is left. `last_lines` are the last of its output."""

    instance: str
    exit: Mapping[str, Any]
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notified:
    """The process said something by sd_notify."""

    instance: str
    ready: bool = False
    watchdog: bool = False
    status: str | None = None


@dataclass(frozen=True, slots=True)
class ActorConnected:
    """The actor's hello."""

    instance: str
    state: State
    last_command_id: str = ""
    run_number: int = 0


@dataclass(frozen=True, slots=True)
class ActorGone:
    """The actor's connection ended; it connects again if it lives."""

    instance: str


@dataclass(frozen=True, slots=True)
class ActorAnswered:
    """What became of an order."""

    instance: str
    command_id: str
    ok: bool
    state: State
    reason: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    files: tuple[OutputFile, ...] = ()


@dataclass(frozen=True, slots=True)
class HeartbeatHeard:
    """The actor is there."""

    instance: str
    state: State
    status: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probed:
    """The probe that the unit wished for has ended. `last_lines` are the last of the probe's output."""

    instance: str
    exit: Mapping[str, Any]
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the process uses of its machine."""

    instance: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class LinkRefused:
    """The process wanted to speak as an actor, and may not. `reason` says why, and what to try."""

    instance: str
    reason: str


@dataclass(frozen=True, slots=True)
class KeeperSilent:
    """The node's keeper does not answer: how its processes are, nobody knows. `keeper_pid` is 0 when unknown."""

    keeper_pid: int


@dataclass(frozen=True, slots=True)
class KeeperHeard:
    """The keeper answers again, or a new one does."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """The moment that the unit asked for has come.

    `last_lines` are the last of the process's output. `keeper_pid` is that of a keeper that owes an answer now, though
    not for so long that it counts as silent.
    """

    last_lines: tuple[str, ...] = ()
    keeper_pid: int = 0


Event = (
    Ordered
    | Spawned
    | SpawnFailed
    | Exited
    | Notified
    | ActorConnected
    | ActorGone
    | ActorAnswered
    | HeartbeatHeard
    | Probed
    | Sampled
    | LinkRefused
    | KeeperSilent
    | KeeperHeard
    | Ticked
)


# ---- effects --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the process as the unit's `spec` describes it; answered by `Spawned` or `SpawnFailed`."""

    instance: str


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal for the process's whole group: TERM or KILL."""

    instance: str
    name: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Acknowledge the exit of an instance."""

    instance: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Run a command that asks about the process; answered by `Probed`. There is one at a time."""

    instance: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndProbe:
    """Kill the probe that runs; `Probed` comes all the same."""

    instance: str


@dataclass(frozen=True, slots=True)
class SendToActor:
    """An order for the actor. Without a command it is a question: what became of the order with this id?"""

    instance: str
    command_id: str
    command: Command | None
    remaining_s: float
    run_number: int = 0


@dataclass(frozen=True, slots=True)
class SaveNote:
    """Keep the unit's note with the process, for the agent after this one (`process_handover.py`)."""

    instance: str


@dataclass(frozen=True, slots=True)
class Report:
    """`Unit.report()` has changed: tell the parent."""


Effect = Spawn | Signal | Forget | Probe | EndProbe | SendToActor | SaveNote | Report
