"""What to order next: goal against observations, for processes.

Each process is compared with its own target, so a fresh farm, a mixed one, a restarted controller and a node that comes
back are all the same case. Order follows the data flow: `start` and `resume` go from the end of the chain to its source,
`pause` and `stop` from the source to the end, rank by rank within a connected part; a rank waits for the one before.
Everything else goes out at once, one message for each node.
"""

from collections.abc import Iterable

from .effects import Effect, Order, SendOrders
from .memory import InFlight, Memory, ProcessMemory, process_state, target_of
from .names import Command, Membership, State
from .paths import covers
from .reports import Target
from .state import STEADY, next_step, sources

_DOWNSTREAM_FIRST = (Command.START, Command.RESUME)
_UPSTREAM_FIRST = (Command.PAUSE, Command.STOP)
_CARRIES_SPEC = (Command.BOOT, Command.LOAD)
# Where a process must be before one of another rank may follow, by command.
_PASSED: dict[Command, frozenset[State]] = {
    Command.START: frozenset({State.TAKING}),
    Command.RESUME: frozenset({State.TAKING}),
    Command.PAUSE: frozenset(set(STEADY) - {State.TAKING}),
    Command.STOP: frozenset(set(STEADY) - {State.TAKING, State.PAUSED}),
}
_READY_TO_START = frozenset({State.CONFIGURED, State.TAKING, State.PAUSED})


def counts(process: ProcessMemory) -> bool:
    """Whether others wait for this process: it is in, and well as far as is known."""
    return process.membership is Membership.IN and not process.fault


def wanted(memory: Memory, process: ProcessMemory, target: Target | None) -> Command | None:
    """The step that would bring `process` nearer to its target now, leaving the order of ranks aside."""
    link = memory.links[process.spec.node]
    if target is None or target.state is None or not link.enrolled:
        return None
    down = target.state in (State.INITIAL, State.ABSENT)
    if process.membership is Membership.OUT_BY_PERSON and not down:
        return None
    state = process_state(memory, process)
    if target.step is Command.SHUTDOWN or (down and process.escalated):
        busy_with = process.in_flight.order.command if process.in_flight else None
        gone = process.report is None or (process.report.state is State.INITIAL and not process.report.instance)
        return None if busy_with is Command.SHUTDOWN or (gone and busy_with is None) else Command.SHUTDOWN
    if process.in_flight is not None or (process.fault and not process.lost) or state not in STEADY:
        return None
    if target.step is not None:
        return target.step if state in sources(target.step) else None
    command = next_step(state, target.state)
    return None if command in (Command.SETUP, Command.TEARDOWN) else command


class _Ranks:
    """For one plan: which ranks of each connected part still hold others back."""

    def __init__(self, memory: Memory) -> None:
        self._parts: dict[str, list[tuple[int, State]]] = {}
        scope = memory.goal.goal.scope if memory.goal is not None else ""
        for process in memory.processes.values():
            if counts(process) and covers(scope, process.path):
                part = self._parts.setdefault(process.role.component, [])
                part.append((process.role.rank, process_state(memory, process)))

    def allow(self, process: ProcessMemory, command: Command) -> bool:
        part = self._parts.get(process.role.component, ())
        rank = process.role.rank
        if command in _DOWNSTREAM_FIRST:
            before: Iterable[State] = (state for other, state in part if other > rank)
            if command is Command.START and not all(state in _READY_TO_START for _, state in part):
                return False
        elif command in _UPSTREAM_FIRST:
            before = (state for other, state in part if other < rank)
        else:
            return True
        return all(state in _PASSED[command] for state in before)


def plan_processes(memory: Memory, now: float) -> list[Effect]:
    """The orders that can go out now; each is remembered as under way."""
    goal = memory.goal
    if goal is None or not memory.processes:
        return []
    by_link: dict[str, list[Order]] = {}
    ranks: _Ranks | None = None
    for process in memory.processes.values():
        command = wanted(memory, process, target_of(goal.goal, process.path))
        if command is None:
            continue
        if command is Command.START and not goal.goal.run_number:
            continue
        if command in _DOWNSTREAM_FIRST or command in _UPSTREAM_FIRST:
            ranks = ranks or _Ranks(memory)
            if not ranks.allow(process, command):
                continue
        by_link.setdefault(process.spec.node, []).append(_order(memory, process, command, now))
    effects: list[Effect] = []
    for link, orders in by_link.items():
        memory.sequence += 1
        effects.append(SendOrders(link, memory.fence, memory.sequence, tuple(orders)))
    return effects


def _order(memory: Memory, process: ProcessMemory, command: Command, now: float) -> Order:
    goal = memory.goal
    assert goal is not None  # plan_processes has looked
    limit_s: float = getattr(process.role.limits, f"{command}_timeout_s")
    if goal.active and command is not Command.SHUTDOWN:
        limit_s = max(0.1, min(limit_s, goal.deadline_s - now - memory.limits.hop_s))
    process.attempts += 1
    order = Order(
        order_id=f"{goal.goal.command_id}/{process.path}/{command}/{memory.fence[-1]}.{process.attempts}",
        path=process.path,
        command=command,
        limit_s=limit_s,
        run_number=goal.goal.run_number,
        spec=process.spec if command in _CARRIES_SPEC else None,
    )
    process.in_flight = InFlight(order, now, now + limit_s + memory.limits.answer_margin_s)
    if goal.active:
        goal.moved.add(process.path)
    return order
