"""What a controller wishes: carried out by the runtime, in the order of the list.

`Persist(sync=True)` is on disk before the effects behind it are carried out: that is how a command is durable before
its first effect, and its outcome before the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .names import Command, Severity, State
from .plan import ProcessSpec
from .reports import Goal, RunTerms


@dataclass(frozen=True, slots=True)
class Order:
    """One step for one process."""

    order_id: str
    path: str
    command: Command
    limit_s: float
    run_number: int = 0
    spec: ProcessSpec | None = None  # with boot and load
    restart: bool = False  # with boot: its role's policy restarts it, and its agent remembers that
    because: str = ""  # with a shutdown that grange itself wants, because of a fault: it stays an error afterwards


@dataclass(frozen=True, slots=True)
class SendOrders:
    """Send orders to the agent of a node; `sequence` rises under the same `fence`."""

    link: str
    fence: tuple[int, ...]
    sequence: int
    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True)
class SendGoal:
    """Send a controller below its part of the goal; the newest replaces the one before."""

    link: str
    fence: tuple[int, ...]
    sequence: int
    goal: Goal


@dataclass(frozen=True, slots=True)
class SendDocument:
    """Send the description of the child's part of the revision."""

    link: str
    revision: str


@dataclass(frozen=True, slots=True)
class Launch:
    """Start the program at the other end of a link. Harmless when it runs already: it admits one of its kind."""

    link: str


@dataclass(frozen=True, slots=True)
class Release:
    """The child is no longer needed and ends itself."""

    link: str
    fence: tuple[int, ...]
    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class Persist:
    """A record for the outbox; `key` makes repeating it harmless. The runtime adds the wall-clock time."""

    kind: str
    key: str
    data: Mapping[str, Any]
    sync: bool = True


@dataclass(frozen=True, slots=True)
class AllotRunNumber:
    """Answered by `RunNumberAllotted` or `AllotFailed`."""

    command_id: str
    revision: str
    person: str
    terms: RunTerms


@dataclass(frozen=True, slots=True)
class Accept:
    """Tell whoever asked that the command is accepted, and what will be done."""

    command_id: str
    steps: tuple[Command, ...]
    attached: bool = False
    unheard: tuple[str, ...] = ()  # members of which nothing is known yet: what they need comes on top of the steps


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell whoever asked that the command is refused; nothing has changed."""

    command_id: str
    kind: str  # state, busy, lease, unknown-member, same-id, revision
    reason: str
    possible: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The one outcome of a command, for whoever waits for it."""

    command_id: str
    kind: str  # done, failed, cancelled, superseded, interrupted
    reason: str
    state: State
    run_number: int
    duration_s: float
    notes: tuple[str, ...] = ()
    steps: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Say:
    """A message for people."""

    severity: Severity
    member: str
    text: str
    what_to_do: str = ""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send `Ticked` at this moment of the monotonic clock; replaces the wake asked for before. None: no wake."""

    at_s: float | None = field(default=None)


Effect = (
    SendOrders
    | SendGoal
    | SendDocument
    | Launch
    | Release
    | Persist
    | AllotRunNumber
    | Accept
    | Refuse
    | Answer
    | Say
    | WakeAt
)
