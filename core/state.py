"""The state machine: one table, and the one function that asks it.

The table below lists every transition that exists: a command takes a member from a *steady* state, through the
command's *transitional* state, to another steady state. What is not listed is refused, with the reason and what is
possible instead, and a refusal changes nothing.

The hierarchy is `absent`, `initial` and the superstate `up`, which holds `booted`, `loaded`, `configured` and
`running`; `running` holds `taking` and `paused`. Transitional states are top-level: inside a superstate they would
silently inherit its commands (a `stop` while `pausing`).

The rule book is a `transitions` machine that is built once, without callbacks and without a model per member: `move`
puts a private cursor on a state, fires the trigger and reads where it ended, and every answer is cached, because the
same question has the same answer for ever. Only a process moves through it; parents use it to judge and to plan.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from transitions import MachineError
from transitions.extensions.nesting import HierarchicalMachine, NestedState

from .names import Command, State


class _State(NestedState):
    """With the default separator "_", `setting_up` would be read as `up` inside `setting`."""

    separator = "/"


class _Machine(HierarchicalMachine):
    state_cls = _State


@dataclass(frozen=True, slots=True)
class Row:
    """One command of the table: from which states, through which, to which."""

    command: Command
    sources: tuple[str, ...]  # states or superstates, as nested names
    via: State
    to: State


TABLE: tuple[Row, ...] = (
    Row(Command.SETUP, ("absent",), State.SETTING_UP, State.INITIAL),
    Row(Command.BOOT, ("initial",), State.BOOTING, State.BOOTED),
    Row(Command.LOAD, ("up/booted",), State.LOADING, State.LOADED),
    Row(Command.CONFIGURE, ("up/loaded",), State.CONFIGURING, State.CONFIGURED),
    Row(Command.START, ("up/configured",), State.STARTING, State.TAKING),
    Row(Command.PAUSE, ("up/running/taking",), State.PAUSING, State.PAUSED),
    Row(Command.RESUME, ("up/running/paused",), State.RESUMING, State.TAKING),
    Row(Command.STOP, ("up/running",), State.STOPPING, State.CONFIGURED),
    Row(Command.UNCONFIGURE, ("up/configured",), State.UNCONFIGURING, State.LOADED),
    Row(Command.UNLOAD, ("up/loaded",), State.UNLOADING, State.BOOTED),
    Row(Command.SHUTDOWN, ("up",), State.SHUTTING_DOWN, State.INITIAL),
    Row(Command.TEARDOWN, ("initial",), State.TEARING_DOWN, State.ABSENT),
)

ROWS: dict[Command, Row] = {row.command: row for row in TABLE}
STEADY: tuple[State, ...] = (
    State.ABSENT,
    State.INITIAL,
    State.BOOTED,
    State.LOADED,
    State.CONFIGURED,
    State.TAKING,
    State.PAUSED,
)
TRANSITIONAL: tuple[State, ...] = tuple(row.via for row in TABLE)
# During these the infrastructure is not there yet, or no longer: shutdown then leads to absent.
_INFRASTRUCTURE = (State.SETTING_UP, State.TEARING_DOWN)

_NESTED: dict[State, str] = {
    State.BOOTED: "up/booted",
    State.LOADED: "up/loaded",
    State.CONFIGURED: "up/configured",
    State.TAKING: "up/running/taking",
    State.PAUSED: "up/running/paused",
}
_FLAT: dict[str, State] = {nested: state for state, nested in _NESTED.items()}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that is not possible in a state: why not, and what is."""

    reason: str
    possible: tuple[Command, ...]


class _Cursor:
    """The machine's one model: it is set to a state, asked, and means nothing in between."""

    state: str


def _machine() -> tuple[_Machine, _Cursor]:
    cursor = _Cursor()
    states: list[Any] = [
        "absent",
        "initial",
        {
            "name": "up",
            "initial": "booted",
            "children": [
                "booted",
                "loaded",
                "configured",
                {"name": "running", "initial": "taking", "children": ["taking", "paused"]},
            ],
        },
        *(state.value for state in TRANSITIONAL),
    ]
    machine = _Machine(model=cursor, states=states, initial="absent", auto_transitions=False)
    for row in TABLE:
        machine.add_transition(row.command.value, list(row.sources), row.via.value)
        machine.add_transition("done", row.via.value, _NESTED.get(row.to, row.to.value))
        if row.via is not State.SHUTTING_DOWN:
            machine.add_transition(Command.SHUTDOWN.value, row.via.value, State.SHUTTING_DOWN.value)
    return machine, cursor


_MACHINE, _CURSOR = _machine()


def _fire(state: State, trigger: str) -> State | None:
    """Where the rule book leads from `state`; None when it does not list the trigger there."""
    _MACHINE.set_state(_NESTED.get(state, state.value), _CURSOR)
    try:
        _MACHINE.trigger_event(_CURSOR, trigger)
    except MachineError:
        return None
    return _FLAT.get(_CURSOR.state) or State(_CURSOR.state)


@cache
def move(state: State, command: Command) -> State | Refusal:
    """The transitional state that `command` leads to from `state`, or why it is refused.

    A shutdown in `initial` and `absent` succeeds with nothing to do: it leads to the state itself. In `unknown` and
    `mixed` nothing can be promised, so only a shutdown, which is carried out on enrolment, is accepted there.
    """
    if command is Command.SHUTDOWN:
        if state in (State.INITIAL, State.ABSENT):
            return state
        if state in (State.UNKNOWN, State.MIXED, State.SHUTTING_DOWN):
            return State.SHUTTING_DOWN
    elif state in (State.UNKNOWN, State.MIXED):
        return _refuse(state, command)
    reached = _fire(state, command.value)
    return _refuse(state, command) if reached is None else reached


@cache
def possible(state: State) -> tuple[Command, ...]:
    """The commands that `move` accepts in `state`, in the table's order."""
    accepted = []
    for row in TABLE:
        if row.command is Command.SHUTDOWN or (
            state not in (State.UNKNOWN, State.MIXED) and _fire(state, row.command.value) is not None
        ):
            accepted.append(row.command)
    return tuple(accepted)


@cache
def why_refused(state: State, command: Command, who: str = "") -> str:
    """Why `command` is refused in `state`: where it would start from. `who` is the member that was meant."""
    source = sources_in_words(command)
    if who:
        return f"{command} is not possible: {who} is {state}, and would have to be {source}"
    return f"{command} is not possible in {state}: it starts from {source}"


@cache
def sources_in_words(command: Command) -> str:
    """Where `command` starts from, for people."""
    names = ", ".join(ROWS[command].sources).replace("up/", "").replace("running/", "")
    return "any state above initial" if names == "up" else names.replace("running", "taking or paused")


def _refuse(state: State, command: Command) -> Refusal:
    can = ", ".join(possible(state)) or "nothing"
    return Refusal(f"{why_refused(state, command)}; possible now: {can}", possible(state))


@cache
def completed(via: State, interrupted: State | None = None) -> State:
    """The steady state that a transitional one ends in.

    `interrupted` is the transitional state that a shutdown cut short: during setup or teardown it ends in absent.
    """
    if via is State.SHUTTING_DOWN and interrupted in _INFRASTRUCTURE:
        return State.ABSENT
    reached = _fire(via, "done")
    if reached is None:
        raise ValueError(f"{via} is not a transitional state")
    return reached


@cache
def sources(command: Command) -> frozenset[State]:
    """The steady states in which `command` is accepted by the table (superstates resolved)."""
    return frozenset(state for state in STEADY if _fire(state, command.value) is not None)


# The ladder from nothing to taking data: the steps up, the steps down, and the branch to paused.
_UP: dict[State, Command] = {
    State.ABSENT: Command.SETUP,
    State.INITIAL: Command.BOOT,
    State.BOOTED: Command.LOAD,
    State.LOADED: Command.CONFIGURE,
    State.CONFIGURED: Command.START,
    State.TAKING: Command.PAUSE,
}
_DOWN: dict[State, Command] = {
    State.TAKING: Command.STOP,
    State.PAUSED: Command.STOP,
    State.CONFIGURED: Command.UNCONFIGURE,
    State.LOADED: Command.UNLOAD,
    State.BOOTED: Command.SHUTDOWN,
    State.INITIAL: Command.TEARDOWN,
}
LADDER: tuple[State, ...] = STEADY


@cache
def next_step(state: State, target: State) -> Command | None:
    """The command that brings a member in steady `state` one step nearer to steady `target`; None when it is there."""
    if state is target:
        return None
    if state is State.PAUSED and target is State.TAKING:
        return Command.RESUME
    if state not in LADDER or target not in LADDER:
        raise ValueError(f"no way from {state} to {target}")
    return _UP[state] if LADDER.index(state) < LADDER.index(target) else _DOWN[state]


@cache
def steps(state: State, target: State) -> tuple[Command, ...]:
    """All the commands from `state` to `target`, in order."""
    way: list[Command] = []
    while (command := next_step(state, target)) is not None:
        way.append(command)
        state = ROWS[command].to
    return tuple(way)


TARGETS: dict[str, State] = {"running": State.TAKING} | {state.value: state for state in STEADY}


def command_table() -> str:
    """The table as Markdown, for the documentation."""
    lines = ["| command | from | via | to |", "|---|---|---|---|"]
    for row in TABLE:
        names = [source.rsplit("/", 1)[-1] for source in row.sources]
        source = "anything in `up`, and any `…ing` state" if names == ["up"] else ", ".join(f"`{one}`" for one in names)
        if names == ["running"]:
            source = ", ".join(f"`{state}`" for state in STEADY if state in sources(row.command))
        lines.append(f"| {row.command} | {source} | `{row.via}` | `{row.to}` |")
    return "\n".join(lines)


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", "    [*] --> absent", "    state up {", "        state running {"]
    lines += ["            taking", "            paused", "        }", "        booted", "        loaded"]
    lines += ["        configured", "    }"]
    for row in TABLE:
        for source in row.sources:
            lines.append(f"    {source.split('/')[-1]} --> {row.via}: {row.command}")
        lines.append(f"    {row.via} --> {row.to}")
    lines += [f"    {row.via} --> shutting_down: shutdown" for row in TABLE if row.command is not Command.SHUTDOWN]
    lines.append("    shutting_down --> absent: shut down during setup or teardown")
    return "\n".join(lines)
