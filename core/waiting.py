"""What the command in force still waits for, and which of it holds the others up."""

from collections.abc import Iterator
from dataclasses import dataclass

from .goals import DOWN, goes_down, in_scope, is_addressed, part_for, target_of, touches_scope
from .links import holds_on, is_empty, is_to_leave, run_number_for
from .memory import (
    ChildMemory,
    LinkMemory,
    Memory,
    ProcessMemory,
    has_arrived,
    in_former_run,
    process_state,
)
from .names import Command, Membership
from .paths import join
from .quorum import shortfall
from .reports import Goal
from .state import STEADY, sources


@dataclass(frozen=True, slots=True)
class Waited:
    """A member that the command still waits for."""

    path: str
    since_s: float  # monotonic
    ordered: bool = False  # an order of its own is under way; without one it may itself be waiting for others
    hung: bool = False  # it is being ended, and may be what those wait for that have their orders


def waiting(memory: Memory) -> Iterator[Waited]:
    """The members that the command in force still waits for; nothing while no command was ever given."""
    held = memory.goal
    if held is None:
        return
    goal = held.goal
    for process in memory.processes.values():
        if in_scope(goal, process.path) and is_pending(memory, process, goal):
            flight = process.in_flight
            since_s = held.since_s if flight is None else flight.sent_s
            yield Waited(process.path, since_s, flight is not None, process.withdrawn)
    for link in memory.links.values():
        path = join(memory.path, link.name)
        target = target_of(goal, path)
        if target is None or target.state is None or not in_scope(goal, path):
            continue
        if is_to_leave(goal, path):
            # A teardown as a single step leaves alone what is not initial; without a step the way down comes first.
            there = link.expected and not link.unaccounted and not holds_on(memory, link)
            bound = target.step is None or link.name in memory.children or not link.attached or is_empty(memory, link)
            if there and bound:
                yield Waited(path, held.since_s)
        elif link.expected and not link.enrolled and not link.trouble and _is_bare(memory, link):
            yield Waited(path, held.since_s)
    for child in memory.children.values():
        if _is_concerned(child, goal) and not child_is_settled(memory, child, goal):
            yield Waited(child.path, held.since_s, ordered=True)


def _is_concerned(child: ChildMemory, goal: Goal) -> bool:
    """Whether the goal's command waits for a controller below."""
    if child.membership is Membership.OUT_BY_PERSON:
        return is_addressed(goal, child.path) or goes_down(goal, target_of(goal, child.path))
    return child.membership is Membership.IN and touches_scope(goal, child.path)


def _is_bare(memory: Memory, link: LinkMemory) -> bool:
    """Whether a node has no processes; of any other the processes are what is waited for, until they count as lost."""
    return link.name not in memory.children and all(
        process.spec.node != link.name for process in memory.processes.values()
    )


def slowest(memory: Memory) -> str:
    """The member that has been at its order the longest; the name that a controller below gives if it has one."""
    last = min(waiting(memory), key=lambda one: (not one.hung, not one.ordered, one.since_s), default=None)
    if last is None:
        return ""
    child = next((child for child in memory.children.values() if child.path == last.path), None)
    busy = child.report.row.busy if child is not None and child.report is not None else None
    return (busy.slowest if busy is not None else "") or last.path


def is_pending(memory: Memory, process: ProcessMemory, goal: Goal) -> bool:
    """Whether the goal's command waits for `process`."""
    target = target_of(goal, process.path)
    left_out = process.membership is Membership.OUT_BY_PERSON and not is_addressed(goal, process.path)
    if left_out and not goes_down(goal, target):
        return False
    if process.in_flight is not None:
        return True
    if target is None or target.state is None:
        return False
    state = process_state(memory, process)
    if process.fault or process.owes_shutdown or left_out:
        if not goes_down(goal, target):  # for one that returns the others wait if its role cannot do without it
            return process.mending and shortfall(memory, process.role) is not None
        heard = memory.links[process.spec.node].enrolled
        return heard and state not in DOWN and process.unended != goal.command_id
    if target.step is None:
        return not has_arrived(memory, process, goal, target)
    if target.step is Command.SHUTDOWN:
        return state not in DOWN
    return state in sources(target.step) or state not in STEADY or in_former_run(process, goal, target)


def child_is_settled(memory: Memory, child: ChildMemory, goal: Goal) -> bool:
    """Whether a controller below has its part of the goal and has said that it is through with it."""
    link = memory.links[child.name]
    if is_to_leave(goal, child.path):
        return not link.expected or holds_on(memory, link)
    if not link.expected:
        return True
    report, sent = child.report, child.goal_sent
    if report is None or sent is None or not link.enrolled:
        return False
    current = sent.run_number == run_number_for(memory, goal) and sent.targets == part_for(goal, child.path).targets
    return current and report.command_id == goal.command_id and report.done
