"""What time brings: the moments that a memory holds, the next of them, and what follows when it has passed.

Nothing waits in core. Whatever has to happen later is a moment in memory, and `next_s` is the first of them, for which
the controller asks to be woken. Planning does most of what is due then: it looks at the time wherever that matters, so
a wake that comes late, or for nothing, does no harm. `check` is for what fails by the passing of time alone: orders
without an answer, and children that do not come.
"""

from . import faults, links, run_end
from .durations import duration_words
from .effects import Effect, Say
from .goals import goes_down, target_of, touches_scope
from .memory import LinkMemory, Memory, ProcessMemory, process_state
from .names import Command, Kind, Membership, Severity


def next_s(memory: Memory, now: float) -> float | None:
    """When the next moment comes at which something follows from time alone; None: never."""
    moments = [process.in_flight.deadline_s for process in memory.processes.values() if process.in_flight]
    for link in memory.links.values():
        if link.launch_at_s is not None and not link.attached:
            moments.append(link.launch_at_s)
        if link.expected and link.missing_since_s is not None:
            overdue_s = link.missing_since_s + links.patience_s(memory, link)
            if overdue_s > now:  # what follows from it has been done otherwise
                moments.append(overdue_s)
    goal = memory.goal
    if goal is not None and goal.active:
        if goal.failing:
            moments.append(goal.failing_s + memory.limits.settle_s)
        moments.append(goal.deadline_s)
    if memory.run is not None and (goal is None or not goal.active):
        complete_s = run_end.look_again_s(memory.run, now)
        moments += [complete_s] if complete_s is not None else []
    for process in memory.processes.values():
        if process.restart_at_s is not None and memory.links[process.spec.node].enrolled:
            moments.append(process.restart_at_s)
        if process.end_at_s is not None:
            moments.append(process.end_at_s)
    moments += [repair.deadline_s for repair in memory.repairs.values() if repair.deadline_s > now]
    moments += [memory.lease.until_s] if memory.lease is not None else []
    return min(moments, default=None)


def check(memory: Memory, now: float) -> list[Effect]:
    """Deadlines that have passed: orders without an answer, children that do not come."""
    effects: list[Effect] = []
    for process in memory.processes.values():
        if process.in_flight is not None and now >= process.in_flight.deadline_s:
            effects += _unanswered(memory, now, process)
    for link in memory.links.values():
        if links.is_overdue(memory, link, now):
            link.unaccounted = True
            effects += _controller_overdue(memory, now, link) if link.name in memory.children else []
            effects += _agent_overdue(memory, now, link) if link.kind is Kind.NODE else []
    return effects


def _unanswered(memory: Memory, now: float, process: ProcessMemory) -> list[Effect]:
    flight, was = process.in_flight, process_state(memory, process)
    assert flight is not None  # the caller has looked
    process.in_flight = None
    command = flight.order.command
    if command is Command.SHUTDOWN and memory.goal is not None:
        process.unended = memory.goal.goal.command_id
    who = f"{process.spec.slot} on {process.spec.node}"
    reason = f"{who}: no answer to {command} within {duration_words(now - flight.sent_s)}"
    return faults.fault(memory, now, process, reason, was, lost=not memory.links[process.spec.node].enrolled)


def _controller_overdue(memory: Memory, now: float, link: LinkMemory) -> list[Effect]:
    """A controller below does not dial in: what is to go down goes on without it, anything else fails."""
    child, held = memory.children[link.name], memory.goal
    if held is None or not held.active or held.failing:
        return []
    if not touches_scope(held.goal, child.path) or child.membership is Membership.OUT_BY_PERSON:
        return []
    trouble = f" ({link.trouble})" if link.trouble else ""
    since_s = 0.0 if link.missing_since_s is None else now - link.missing_since_s
    reason = f"sub-farm {link.name}: its controller has not enrolled for {duration_words(since_s)}{trouble}"
    if not goes_down(held.goal, target_of(held.goal, child.path)):
        faults.fail(memory, now, reason)
    elif child.membership is Membership.IN:
        child.membership = Membership.OUT_BY_FAULT
        return [Say(Severity.WARNING, child.path, reason)]
    return []


def _agent_overdue(memory: Memory, now: float, link: LinkMemory) -> list[Effect]:
    """A node cannot be heard: its processes are lost until it can."""
    effects: list[Effect] = []
    trouble = f" ({link.trouble})" if link.trouble else ""
    mine = [process for process in memory.processes.values() if process.spec.node == link.name]
    for process in mine:
        if not process.lost:
            was = process_state(memory, process)
            process.in_flight = None
            who = f"{process.spec.slot} on {link.name}"
            reason = f"{who} is unaccounted for: the node's agent has not answered{trouble}"
            effects += faults.fault(memory, now, process, reason, was, lost=True)
    if not mine and not link.trouble:
        link.trouble = f"no agent within {duration_words(links.patience_s(memory, link))}"
    return effects
