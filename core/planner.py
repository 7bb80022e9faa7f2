"""What to order next: goal against observations, for processes.

Each process is compared with its own target, so a fresh farm, a mixed one, a restarted controller and a node that
comes back are all the same case. Order follows the data flow: `start` and `resume` go from the end of the chain to its
source, `pause` and `stop` from the source to the end, rank by rank within a connected part; a rank waits for the one
before. A role that has nobody left takes no data, so those before it can pass on nothing: they stop at once, for each
would only wait for its own limit.
Everything else goes out at once, one message for each node.
"""

from dataclasses import replace

from .effects import Effect, Order, SendOrders
from .goals import DOWN, goes_down, is_addressed, target_of
from .judging import limit_of
from .links import SHORTEST_S
from .memory import (
    DATA_STATES,
    InFlight,
    Memory,
    ProcessMemory,
    aim_of,
    fence_text,
    in_former_run,
    is_stuck,
    may_exist,
    process_state,
)
from .names import Command, Membership, State
from .quorum import is_sound
from .reports import Goal
from .state import STEADY, next_step, sources

_DOWNSTREAM_FIRST = (Command.START, Command.RESUME)
_UPSTREAM_FIRST = (Command.PAUSE, Command.STOP)
_CARRIES_SPEC = (Command.BOOT, Command.LOAD)
_IN_A_RUN = (Command.PAUSE, Command.RESUME, Command.STOP)
# Where a process must be before one of another rank may follow, by command.
_PASSED: dict[Command, frozenset[State]] = {
    Command.START: frozenset({State.TAKING, State.PAUSED}),
    Command.RESUME: frozenset({State.TAKING}),
    Command.PAUSE: frozenset(set(STEADY) - {State.TAKING}),
    Command.STOP: frozenset(set(STEADY) - {State.TAKING, State.PAUSED}),
}
_READY_TO_START = frozenset({State.CONFIGURED, State.TAKING, State.PAUSED})


def wanted(memory: Memory, process: ProcessMemory, goal: Goal) -> Command | None:
    """The step that would bring `process` nearer to its target now, leaving the order of ranks aside."""
    if not memory.links[process.spec.node].enrolled:
        return None
    if process.owes_shutdown or process.renewing or process.withdrawn:
        return _shutdown(process, goal)
    if _is_left_in_a_run(memory, process, goal):
        return Command.STOP if process.in_flight is None else None
    target = aim_of(process, goal)
    if target is None or target.state is None:
        return None
    if process.in_flight is not None and target.step is not Command.SHUTDOWN and target.state not in DOWN:
        return None
    down = goes_down(goal, target)
    booting = process.in_flight is not None and process.in_flight.order.command is Command.BOOT
    if target.step is Command.SHUTDOWN or (down and (process.fault or is_stuck(process) or booting)):
        return _shutdown(process, goal)  # nobody waits for a boot to end that is to be undone
    state = process_state(memory, process)
    if process.in_flight is not None or not (is_sound(memory, process) or process.returning or down):
        return None
    if state in STEADY and in_former_run(process, goal, target):
        return Command.STOP
    if target.step is not None:
        allowed = target.step not in (Command.SETUP, Command.TEARDOWN) and state in sources(target.step)
        return target.step if allowed else None
    if is_stuck(process):
        return _shutdown(process, goal)  # the only way back to where the ladder begins
    if state not in STEADY:
        return None
    command = next_step(state, target.state)
    return None if command in (Command.SETUP, Command.TEARDOWN) else command


def _is_left_in_a_run(memory: Memory, process: ProcessMemory, goal: Goal) -> bool:
    """Whether a process that a person has taken out takes data while those that it belongs to are to leave the run."""
    if process.membership is not Membership.OUT_BY_PERSON or process_state(memory, process) not in DATA_STATES:
        return False
    theirs = target_of(replace(goal, excluded=()), process.path)
    if theirs is None or theirs.state is None or theirs.state in DOWN:
        return False
    return theirs.state not in DATA_STATES or in_former_run(process, goal, theirs)


def _shutdown(process: ProcessMemory, goal: Goal) -> Command | None:
    """A shutdown, unless one is under way, nothing is left to shut down, or this command has tried in vain."""
    flight = process.in_flight
    if flight is not None:
        return None if flight.order.command is Command.SHUTDOWN else Command.SHUTDOWN
    tried = process.unended == goal.command_id
    return Command.SHUTDOWN if may_exist(process) and not tried else None


class _Ranks:
    """For one plan: which ranks of each connected part still hold others back, and from which on no data are taken."""

    def __init__(self, memory: Memory, goal: Goal) -> None:
        self._goal = goal
        self._parts: dict[str, list[tuple[int, State, bool]]] = {}
        lost = {(role.component, role.rank, role.name) for role in memory.spec.roles} if memory.spec else set()
        for process in memory.processes.values():
            if not is_sound(memory, process):
                continue
            lost.discard((process.role.component, process.role.rank, process.role.name))
            if is_addressed(goal, process.path):
                part = self._parts.setdefault(process.role.component, [])
                part.append((process.role.rank, process_state(memory, process), self._is_former(process)))
        self._dead_end: dict[str, int] = {}  # the highest rank of each part that has a role without anybody
        for component, rank, _ in lost:
            self._dead_end[component] = max(rank, self._dead_end.get(component, rank))

    def _is_former(self, process: ProcessMemory) -> bool:
        target = aim_of(process, self._goal)
        return target is not None and in_former_run(process, self._goal, target)

    def allow(self, process: ProcessMemory, command: Command) -> bool:
        """Whether all whom `process` has to wait for have done `command`, or need not."""
        part = self._parts.get(process.role.component, ())
        rank = process.role.rank
        if command is Command.STOP and rank < self._dead_end.get(process.role.component, 0):
            return True
        if command is Command.START and not all(state in _READY_TO_START and not former for _, state, former in part):
            return False
        if command in _DOWNSTREAM_FIRST:
            before = (state for other, state, _ in part if other > rank)
        else:
            # One that leaves a former run has nothing to do with those that take data in the present one.
            former = self._is_former(process)
            before = (state for other, state, theirs in part if other < rank and theirs >= former)
        return all(state in _PASSED[command] for state in before)


def plan_processes(memory: Memory, now: float) -> list[Effect]:
    """The orders that can go out now; each is remembered as under way."""
    held = memory.goal
    if held is None or not memory.processes:
        return []
    goal = held.goal
    by_link: dict[str, list[Order]] = {}
    ranks: _Ranks | None = None
    for process in memory.processes.values():
        if process.owes_shutdown and memory.links[process.spec.node].enrolled and not may_exist(process):
            process.owes_shutdown = False
        command = wanted(memory, process, goal)
        if command is None or (command is Command.START and not goal.run_number):
            continue
        if command in _DOWNSTREAM_FIRST or command in _UPSTREAM_FIRST:
            ranks = ranks or _Ranks(memory, goal)
            if not ranks.allow(process, command):
                continue
        by_link.setdefault(process.spec.node, []).append(_order(memory, process, command, now))
    effects: list[Effect] = []
    for link, orders in by_link.items():
        memory.sequence += 1
        effects.append(SendOrders(link, memory.fence, memory.sequence, tuple(orders)))
    return effects


def _order_id(memory: Memory, process: ProcessMemory, command: Command, command_id: str) -> str:
    """An id that no order ever had: the next farm controller allots the numbers of those below it from one again."""
    return f"{command_id}/{process.path}/{command}/{fence_text(memory)}.{process.attempts}"


def _order(memory: Memory, process: ProcessMemory, command: Command, now: float) -> Order:
    held = memory.goal
    assert held is not None  # plan_processes has looked
    limit_s = limit_of(process.role.limits, command)
    if held.active and command is not Command.SHUTDOWN:
        limit_s = max(SHORTEST_S, min(limit_s, held.deadline_s - now - memory.limits.hop_s))
    process.attempts += 1
    report = process.report
    restart = process.restarting and command is Command.BOOT
    if command is Command.BOOT:
        process.restarting = False
        process.restarts = process.restarts if restart else ()  # whom a person starts has all its restarts again
    order = Order(
        order_id=_order_id(memory, process, command, held.goal.command_id),
        path=process.path,
        command=command,
        limit_s=limit_s,
        run_number=report.run_number if report is not None and command in _IN_A_RUN else held.goal.run_number,
        spec=process.spec if command in _CARRIES_SPEC else None,
        restart=restart,
        because=process.fault if command is Command.SHUTDOWN and process.withdrawn and not process.cause else "",
    )
    process.in_flight = InFlight(order, now, now + limit_s + memory.limits.answer_margin_s)
    return order
