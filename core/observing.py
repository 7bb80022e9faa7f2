"""Observations of processes: what a report means for what is remembered of a process.

An agent's report is always the whole of what it knows. Its answer to an order is in it (`order_id`, `order_done`,
`order_ok`), and so is what happened to the process since: health is `error` while it is dead without having been shut
down, or hung. That gives these cases:

| the report | meaning |
|---|---|
| answers the order under way: done | the order ends; if the process has died since, that is a fault |
| answers it: not done | the order ends with a fault; if the process was ill before, that is the better reason |
| names another order | the one under way has not got there yet, or a shutdown has taken its place: keep waiting |
| no order under way, newly ill or lost to a failed order | a fault: died, hung, or too slow for a controller before |
| no order under way, well | the fault, if there is one, may be over (`faults.heal`): recovered, or a late answer |

A snapshot is all that exists on a node. An order under way that it does not know was lost with the link and is sent
again, if it is still what the goal asks for; a process that it does not know is gone. Agents tell the same order from
another by its id, so a second copy does no harm.
"""

from dataclasses import replace

from .effects import Effect, Order, Say, SendOrders
from .events import AgentsReported, Event, NodeReported, ProcessesReported
from .faults import can_take_part, fault, heal
from .goals import DOWN, goes_down, target_of
from .links import SHORTEST_S
from .memory import Memory, ProcessMemory, is_there, may_exist, process_state
from .names import Command, Health, Severity, State
from .paths import join
from .planner import wanted
from .reports import ProcessReport


def processes_reported(memory: Memory, now: float, event: ProcessesReported) -> list[Effect]:
    """Takes in what an agent reports; nothing from a link that is not open, nor before its snapshot."""
    link = memory.links.get(event.link)
    if link is None or not link.attached or not (link.enrolled or event.snapshot):
        return []
    effects: list[Effect] = []
    link.heard_s = now
    if event.snapshot:
        effects += _missing(memory, now, event)
        link.enrolled = True
    for report in event.reports:
        process = memory.processes.get(report.path)
        if process is not None:
            effects += _observe(memory, now, process, report)
        elif is_there(report):  # a slot of a former revision, whose process has ended, is no news
            effects.append(Say(Severity.WARNING, report.path, "runs there, but is not in the configuration"))
    return effects + (_resend(memory, now, event) if event.snapshot else [])


def node_reported(memory: Memory, now: float, event: NodeReported) -> list[Effect]:
    """Takes in what an agent says of its keeper. Processes outlive theirs, so it is for people: nothing follows."""
    link = memory.links.get(event.link)
    if link is None or not link.attached:
        return []
    pid, before = event.keeper_pid, link.keeper_pid
    texts = []
    if pid != before and before and not pid:
        texts.append(f"its keeper, pid {before}, is gone; its processes run on, and its agent starts another")
    elif pid != before:
        texts.append(f"its keeper is pid {pid}" + (f", in place of {before}" if before else ""))
    if event.keeper_silent != link.keeper_silent:
        texts.append(f"its keeper, pid {pid}, " + ("does not answer" if event.keeper_silent else "answers again"))
    for text in texts:
        memory.tell(now, join(memory.path, link.name), text)
    link.heard_s, link.keeper_pid, link.keeper_silent = now, pid, event.keeper_silent
    return []


def gist(memory: Memory, event: Event) -> tuple[object, ...] | None:
    """What an event's reports mean for planning; None for any event but a report of changes.

    The same before and after means that there is nothing to plan: most reports tell of an order that was accepted, of a
    pid, of counters.
    """
    told: list[ProcessReport] = []
    for one in event.reports if isinstance(event, AgentsReported) else (event,):
        if not isinstance(one, ProcessesReported) or one.snapshot:
            return None
        told += one.reports
    if memory.run is not None and memory.run.terms.events:
        return None  # here counters matter: the run ends by them
    found: list[object] = []
    for path in (report.path for report in told):
        process = memory.processes.get(path)
        if process is None:
            continue
        report, flight = process.report, process.in_flight
        if flight is not None:
            found += [process.fault, flight.order.order_id]
        elif report is not None:
            found += [process.fault, report.state, report.health, report.instance, report.order_ok, report.run_number]
    return tuple(found)


def _missing(memory: Memory, now: float, event: ProcessesReported) -> list[Effect]:
    """The processes of which a snapshot says nothing do not exist."""
    effects: list[Effect] = []
    known = {report.path for report in event.reports}
    for process in memory.processes.values():
        if process.spec.node != event.link or process.path in known:
            continue
        gone = process.report is not None and may_exist(process) and process.report.state is not State.INITIAL
        was = process.report.state if process.report is not None else State.INITIAL
        process.former = process.report or process.former
        process.report, process.heard_s = None, now
        flight = process.in_flight
        if flight is not None and flight.order.command is not Command.BOOT:
            process.in_flight = None  # there is nobody left to carry it out
        if gone and not (flight is not None and flight.order.command is Command.SHUTDOWN):
            reason = f"{process.spec.slot} on {event.link} is gone: its node knows nothing of it (was it restarted?)"
            effects += fault(memory, now, process, reason, was)
        heal(memory, now, process)
    return effects


def _resend(memory: Memory, now: float, event: ProcessesReported) -> list[Effect]:
    """The orders under way that the node, by its snapshot, never got; with what is left of their time.

    One that nobody would give any more, such as a start in a run that has ended meanwhile, is forgotten instead.
    """
    orders: list[Order] = []
    for process in memory.processes.values():
        flight = process.in_flight
        if process.spec.node != event.link or flight is None:
            continue
        if process.report is not None and process.report.order_id == flight.order.order_id:
            continue
        if _is_still_wanted(memory, process, flight.order):
            left_s = flight.deadline_s - memory.limits.answer_margin_s - now
            orders.append(replace(flight.order, limit_s=max(SHORTEST_S, left_s)))
        else:
            process.in_flight = None
            heal(memory, now, process)
    if not orders:
        return []
    memory.sequence += 1
    return [SendOrders(event.link, memory.fence, memory.sequence, tuple(orders))]


def _is_still_wanted(memory: Memory, process: ProcessMemory, order: Order) -> bool:
    """Whether `process` would be given the same order now, had it none."""
    held, flight = memory.goal, process.in_flight
    if held is None:
        return False
    process.in_flight = None
    command = wanted(memory, process, held.goal)
    process.in_flight = flight
    return command is order.command and (command is not Command.START or order.run_number == held.goal.run_number)


def _observe(memory: Memory, now: float, process: ProcessMemory, report: ProcessReport) -> list[Effect]:
    was, before, flight = process_state(memory, process), process.report, process.in_flight
    if before is not None and before.counted_run > report.counted_run:
        process.former = before
    process.report, process.heard_s = report, now
    process.restarts = process.restarts or report.restarted_s  # by a controller before this one
    if before is None or before.state is not report.state:
        memory.tell(now, process.path, str(report.state))
    if flight is not None and flight.order.order_id == report.order_id and report.order_done:
        process.in_flight = None
        if not report.order_ok:
            return _failed(memory, now, process, report, was, flight.order.command)
        if flight.order.because:  # what it was ended for comes back with the answer, and is no news
            heal(memory, now, process)
            return []
    if before is None and _is_history(memory, process):
        return []
    late = _is_late_death(memory, process)
    if _is_newly_ill(before, report) and not late and not _is_expected(process, report):
        return fault(memory, now, process, _cause(process, report), was)
    heal(memory, now, process)
    return []


def _failed(
    memory: Memory, now: float, process: ProcessMemory, report: ProcessReport, was: State, command: Command
) -> list[Effect]:
    """An order was answered: not done."""
    if command is Command.SHUTDOWN and memory.goal is not None:
        process.unended = memory.goal.goal.command_id
    elif process.fault and not process.returning:
        return []  # it was refused because of what is known already
    reason = (
        report.failure.reason if report.failure else f"{process.spec.slot} on {process.spec.node} refused {command}"
    )
    return fault(memory, now, process, reason, was)


def _is_newly_ill(before: ProcessReport | None, report: ProcessReport) -> bool:
    """Whether a report says for the first time that the process is not well."""
    if not _is_ill(report):
        return False
    return before is None or not _is_ill(before) or (before.status, before.failure) != (report.status, report.failure)


def _is_ill(report: ProcessReport) -> bool:
    """Dead or hung; or nobody knows where, because of an order that failed."""
    return report.health is Health.ERROR or (
        report.state is State.UNKNOWN and report.order_done and not report.order_ok
    )


def _is_expected(process: ProcessMemory, report: ProcessReport) -> bool:
    """Whether the order under way makes the illness no news: it will end the process, or renew it, or has its limit."""
    if process.in_flight is None:
        return False
    if process.in_flight.order.command in (Command.SHUTDOWN, Command.BOOT):
        return True
    return report.state is not State.INITIAL  # hung, perhaps only while it is busy: the order's own limit decides


def _is_late_death(memory: Memory, process: ProcessMemory) -> bool:
    """Whether a process is found dead after the command that was to end it: it is where it should be."""
    held = memory.goal
    over = held is not None and not held.active and goes_down(held.goal, target_of(held.goal, process.path))
    return over and process.in_flight is None and process_state(memory, process) in DOWN


def _is_history(memory: Memory, process: ProcessMemory) -> bool:
    """Whether an illness that is heard of for the first time is older than the command, which is about to end it."""
    held = memory.goal
    if held is None or not held.active or process.fault:
        return False
    target = target_of(held.goal, process.path)
    return target is not None and can_take_part(target, process_state(memory, process))


def _cause(process: ProcessMemory, report: ProcessReport) -> str:
    """The reason for an illness that no order of ours has caused: `failure`, unless that is of an order before."""
    if report.failure is not None and (report.order_ok or report.health is not Health.ERROR or not report.status):
        return report.failure.reason
    return report.status or f"{process.spec.slot} on {process.spec.node} is not well"
