"""Where a controller is and how well it is: state, health and numbers, folded from its children whenever somebody asks.

State and health are two axes. Members that a person has taken out count in neither, unless nobody else is there; what
may run and cannot be heard is counted by itself, as unaccounted.
"""

from collections import Counter

from .aggregate import fold_state, worst
from .goals import DOWN, exclusion_of, goes_down, own_target, target_of
from .memory import (
    LinkMemory,
    Memory,
    ProcessMemory,
    all_states,
    child_state,
    command_under_way,
    included,
    is_unaccounted,
    may_exist,
    process_state,
)
from .names import Health, Membership, State
from .paths import join
from .quorum import is_well, shortfalls
from .reports import Count


def own_state(memory: Memory) -> State:
    """The controller's own state: the fold of its included children; unknown until it has its parent's word."""
    if not memory.root and memory.goal is None:
        return State.UNKNOWN
    states = included(memory)
    if not states:  # none counts: then what can be said of those that do not
        states = taken_down_to(memory) or all_states(memory)
    if not states and memory.links:
        states = {State.INITIAL if link.enrolled else State.UNKNOWN for link in memory.links.values() if link.expected}
    return fold_state(states, command_under_way(memory, states))


def taken_down_to(memory: Memory) -> set[State]:
    """Where a member is after it was taken down, apart from those below it that are unaccounted for; else nothing."""
    held = memory.goal
    target = own_target(held.goal) if held is not None else None
    if held is None or held.active or not held.ok or target is None or not goes_down(held.goal, target):
        return set()
    return {target.state} if target.state is not None and unaccounted(memory) else set()


def unaccounted(memory: Memory) -> int:
    """How many processes may run, here and below, without anybody hearing them; a silent child counts at least once."""
    found = sum(is_unaccounted(memory, process) for process in memory.processes.values() if process.fault)
    for child in memory.children.values():
        link, counted = memory.links[child.name], child.report.row.counts if child.report is not None else ()
        if link.enrolled and child.report is not None:
            # It counts those below a silent controller of its own, of which only the last word is in `counts`.
            unknown = sum(count.processes for count in counted if count.state is State.UNKNOWN)
            found += max(unknown, child.report.row.unaccounted)
        elif link.expected:
            found += sum(count.processes for count in counted) or 1
    return found


def own_health(memory: Memory) -> Health:
    """Error when a role falls short of its quorum or a child is in error; degraded when anything is not well.

    Members that a person has taken out do not count. After a shutdown no quorum is needed: those that are unaccounted
    for make it degraded. A farm of which nobody can tell where it is, without a command that explains it, is degraded.
    """
    return health_in(memory, own_state(memory))


def health_in(memory: Memory, state: State) -> Health:
    """The health of a controller that is in `state`."""
    healths, short = [Health.OK], bool(shortfalls(memory))
    for child in memory.children.values():
        if child.membership is Membership.IN and child.report is not None:
            healths.append(child.report.row.health)
        lost = child.membership is Membership.IN and child_state(memory, child) is State.UNKNOWN
        if child.membership is Membership.OUT_BY_FAULT or lost:
            healths.append(Health.DEGRADED)
    counted = [process for process in memory.processes.values() if process.membership is not Membership.OUT_BY_PERSON]
    if any(not is_well(memory, process) or process_health(memory, process) is not Health.OK for process in counted):
        healths.append(Health.ERROR if short and not taken_down_to(memory) else Health.DEGRADED)
    if state not in DOWN and short:
        healths.append(Health.DEGRADED)  # if it is not an error, then because a person has taken out too many
    if memory.database_trouble:
        healths.append(Health.DEGRADED)
    held = memory.goal
    if (held is None or not held.active) and state in (State.MIXED, State.UNKNOWN):
        healths.append(Health.DEGRADED)
    if any(link.expected and link.unaccounted and not _is_dispensable(memory, link) for link in memory.links.values()):
        healths.append(Health.DEGRADED)
    return worst(healths)


def _is_dispensable(memory: Memory, link: LinkMemory) -> bool:
    """Whether a person has taken out what lies behind a link, and nothing of ours may be left there."""
    path = join(memory.path, link.name)
    if memory.goal is None or exclusion_of(memory.goal.goal, path) is None:
        return False
    child = memory.children.get(link.name)
    if child is not None:
        return child.report is None
    return not any(may_exist(process) for process in memory.processes.values() if process.spec.node == link.name)


def process_health(memory: Memory, process: ProcessMemory) -> Health:
    """A process's health: error while it has a fault; what it died of is history once it is to be initial anyway.

    One that should be gone and cannot be heard is unaccounted for: degraded.
    """
    if process.lost and _is_over(memory, process) and is_unaccounted(memory, process):
        return Health.DEGRADED
    if process.fault:
        return Health.DEGRADED if process.mending else Health.ERROR
    if process_state(memory, process) in (State.INITIAL, State.ABSENT) or process.report is None:
        return Health.OK
    return process.report.health


def _is_over(memory: Memory, process: ProcessMemory) -> bool:
    """Whether the process was to be taken down, and nothing is under way for that any more."""
    held = memory.goal
    return held is not None and not held.active and goes_down(held.goal, target_of(held.goal, process.path))


def counts(memory: Memory) -> tuple[Count, ...]:
    """How many processes share a role, a state, a health, and whether they are excluded, here and below."""
    found: Counter[tuple[str, State, Health, bool]] = Counter()
    for process in memory.processes.values():
        out = process.membership is Membership.OUT_BY_PERSON
        found[process.role.name, process_state(memory, process), process_health(memory, process), out] += 1
    for child in memory.children.values():
        if child.report is not None:
            for count in child.report.row.counts:
                found[count.role, count.state, count.health, count.out] += count.processes
    return tuple(Count(role, state, health, number, out) for (role, state, health, out), number in found.items())


def run_number(memory: Memory) -> int:
    if memory.root:
        return memory.run.number if memory.run is not None else 0
    return memory.goal.goal.run_number if memory.goal is not None else 0
