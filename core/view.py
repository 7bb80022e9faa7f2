"""What observers see: rows of members, made afresh from what is remembered.

A row is small and whole. A sub-farm shows its nodes and processes; the controller above shows sub-farms with counts,
the causes and at most twenty members by name, and asks the sub-farm for more when somebody wants to see it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from . import apart, repairing, run_end
from .aggregate import fold_state, worst
from .durations import duration_words
from .goals import DOWN, exclusion_of, is_addressed, own_target, target_of, touches_scope
from .judging import possible_now as possible_now  # observers ask here for all that they see
from .memory import (
    ChildMemory,
    GoalMemory,
    LinkMemory,
    Memory,
    ProcessMemory,
    child_counts,
    child_state,
    command_under_way,
    counted_run,
    is_excluded,
    process_state,
    role_counters,
    run_counters,
)
from .names import Health, Kind, Membership, Policy, State
from .paths import covers, join
from .quorum import shortfalls
from .reports import Busy, Row
from .runkeeping import POLICY_STOP
from .standing import counts, health_in, own_state, process_health, run_number, taken_down_to, unaccounted
from .waiting import slowest

EXCEPTIONS_SHOWN = 20  # members that are not well, told by name to the level above


def busy(memory: Memory, now: float) -> Busy | None:
    """The transition under way, or the first repair while there is none: how far, until when, and who is last."""
    held = memory.goal
    if held is None or not held.active:
        first = next(iter(memory.repairs), None) if memory.root else None
        return repairing.busy(memory, now, first) if first is not None else None
    done, total = _progress(memory, held)
    return Busy(
        command_id=held.goal.command_id,
        doing=held.goal.doing,
        person=held.goal.person,
        elapsed_s=held.age_s(now),
        remaining_s=max(0.0, held.deadline_s - now),
        done=done,
        total=total,
        slowest=slowest(memory),
    )


def _progress(memory: Memory, held: GoalMemory) -> tuple[int, int]:
    done = total = 0
    for process in memory.processes.values():
        if is_addressed(held.goal, process.path) and process.membership is not Membership.OUT_BY_FAULT:
            target = target_of(held.goal, process.path)
            total += 1
            there = target is not None and process_state(memory, process) is target.state
            done += there and process.in_flight is None
    for child in memory.children.values():
        if touches_scope(held.goal, child.path) and child.membership is not Membership.OUT_BY_PERSON:
            row = child.report.row if child.report is not None else None
            if row is not None and row.busy is not None:
                done, total = done + row.busy.done, total + row.busy.total
            else:
                count = max(1, sum(count.processes for count in row.counts)) if row is not None else 1
                arrived = child.report is not None and child.report.command_id == held.goal.command_id
                done, total = done + (count if arrived and child.report and child.report.done else 0), total + count
    return done, total


def own_row(memory: Memory, now: float) -> Row:
    """The controller's own row."""
    state = own_state(memory)
    health = health_in(memory, state)
    under_way = busy(memory, now)
    return Row(
        path=memory.path,
        kind=memory.kind,
        name=memory.name,
        state=state,
        health=health,
        status=_status(memory, now, state, under_way),
        busy=under_way,
        counts=counts(memory),
        membership=_membership(memory, memory.path),
        heard_age_s=0.0,
        run_number=run_number(memory),
        revision=memory.revision,
        unaccounted=unaccounted(memory),
    )


def _membership(memory: Memory, path: str) -> Membership:
    return Membership.OUT_BY_PERSON if is_excluded(memory, path) else Membership.IN


def _why_excluded(memory: Memory, path: str) -> str:
    """Who has taken out the member at `path`, and why; empty when it is in."""
    out = exclusion_of(memory.goal.goal, path) if memory.goal is not None else None
    return out.why if out is not None else ""


def _status(memory: Memory, now: float, state: State, under_way: Busy | None) -> str:
    text = _status_of_members(memory, now, state, under_way)
    return "; ".join(part for part in (text, memory.database_trouble) if part)


def _status_of_members(memory: Memory, now: float, state: State, under_way: Busy | None) -> str:
    if under_way is not None:
        text = f"{under_way.doing}: {under_way.done} of {under_way.total}"
        return text + (f", waiting for {under_way.slowest}" if under_way.slowest else "")
    if why := _why_excluded(memory, memory.path):
        return why
    stopped, rest = _stopped_by_policy(memory), _cause(memory, now, state)
    if memory.run is not None and (so_far := run_end.progress(memory, now)):
        run = f"run {memory.run.number}"
        return f"{run}: {so_far}" + (f"; {rest}" if rest not in ("", run) else "")
    why = stopped.partition(": ")[2]
    if why and rest.startswith(why):
        return stopped + rest.removeprefix(why)  # and what has become since of the member that it was stopped for
    return "; ".join(text for text in (stopped, "" if stopped and rest and rest in stopped else rest) if text)


def _stopped_by_policy(memory: Memory) -> str:
    """That grange itself has stopped the run, and why; until the next command."""
    held = memory.goal
    if not memory.root or held is None or held.active or not held.goal.command_id.startswith(POLICY_STOP):
        return ""
    verb = "was" if memory.run is None else "is being"
    return f"run {held.goal.run_number} {verb} stopped: {held.terms.comment or 'by the policy of a role'}"


def _cause(memory: Memory, now: float, state: State) -> str:
    """What dominates where nothing is under way."""
    if taken_down_to(memory):
        return f"{unaccounted(memory)} unaccounted"
    first = next(iter(exceptions(memory, now)), None)
    if first is not None and first.status:
        return first.status
    missing = next((link for link in memory.links.values() if link.expected and not link.enrolled), None)
    if missing is not None:
        return f"{missing.name}: {_missing(missing, now)}"
    if state not in DOWN and (short := shortfalls(memory)):
        return short[0].by_exclusion
    rows = [child.report.row for child in memory.children.values() if child.report and child_counts(memory, child)]
    degraded = next((row for row in rows if row.health is not Health.OK and row.status), None)
    if degraded is not None and state is not State.MIXED:
        return f"{degraded.path}: {degraded.status}"
    goal = memory.goal
    if goal is not None and not goal.ok and not _is_made_up_for(goal, state):
        return f"{goal.goal.doing} {'failed' if goal.outcome == 'failed' else f'was {goal.outcome}'}: {goal.reason}"
    if memory.root and memory.farm is None:
        known = f"configuration {memory.selected[:10]} is selected" if memory.selected else "no configuration yet"
        return f"{known}: {'grange go running' if memory.selected else 'grange config import FILE'}"
    if not memory.root and goal is None:
        return "waiting for the farm's word"
    if state in (State.TAKING, State.PAUSED):
        number = run_number(memory)
        return f"run {number}" if number else "takes data of a run that has ended: grange stop"
    if state is State.MIXED:
        return apart.why(counts(memory), memory.path) or _unheard(memory)
    left = sum(count.processes for count in counts(memory) if count.out and count.state not in DOWN)
    return f"{left} excluded processes are up" if state in DOWN and left else ""


def _is_made_up_for(held: GoalMemory, state: State) -> bool:
    """Whether a command that failed has come to its end after all: those that were late have arrived."""
    target = own_target(held.goal)
    return held.outcome == "failed" and target is not None and target.state is state


def _unheard(memory: Memory) -> str:
    """How many processes below a child nobody hears; empty for none."""
    for child in memory.children.values():
        found = child.report.row.counts if child.report is not None else ()
        unknown = sum(count.processes for count in found if count.state is State.UNKNOWN and not count.out)
        if unknown and child_counts(memory, child):
            which = f"{unknown} process{'es' if unknown > 1 else ''} of {child.path}"
            return f"{which} cannot be heard; see: grange status {child.path}"
    return ""


def child_row(memory: Memory, child: ChildMemory, now: float) -> Row:
    """A controller below, as it described itself, or as it looks without a word from it."""
    link = memory.links[child.name]
    age_s = None if child.heard_s is None else now - child.heard_s
    state = child_state(memory, child)
    if link.enrolled and child.report is not None:
        row = child.report.row
        return replace(row, path=child.path, state=state, membership=child.membership, heard_age_s=age_s, pid=link.pid)
    return Row(
        path=child.path,
        kind=Kind.SUB_FARM,
        name=child.name,
        state=state,
        health=Health.DEGRADED if state is State.UNKNOWN else Health.OK,
        status=_missing(link, now),
        membership=child.membership,
        heard_age_s=age_s,
        counts=child.report.row.counts if child.report is not None and link.expected else (),
    )


def _missing(link: LinkMemory, now: float) -> str:
    if not link.expected:
        return ""
    since = f" for {duration_words(round(now - link.missing_since_s))}" if link.missing_since_s is not None else ""
    trouble = f": {link.trouble}" if link.trouble else ""
    who = "agent" if link.kind is Kind.NODE else "controller"
    return (
        f"waiting for its {who}{since}{trouble}"
        if link.heard_s is None
        else f"its {who} has not answered{since}{trouble}"
    )


def _where(link: LinkMemory) -> str:
    """The machine of a node, and how often its agent had to be started again since this controller heard of it."""
    again = link.incarnation - link.first_heard
    times = f"; its agent was started again {again} time{'s' if again > 1 else ''}" if again > 0 else ""
    return f"on {link.host}{times}" if link.attached else ""


def _why_taken_down(mine: list[ProcessMemory]) -> str:
    """By whose fault a node was taken down with all that is on it; empty when it was not."""
    for process in mine:
        if process.withdrawn and process.role.policy is Policy.EXCLUDE_NODE and not process.cause:
            return f"taken down with all that is on it, by the policy of role {process.role.name}: {process.fault}"
    return ""


def node_row(memory: Memory, link: LinkMemory, now: float) -> Row:
    """A node: the fold of its processes."""
    mine = [process for process in memory.processes.values() if process.spec.node == link.name]
    counted = [process for process in mine if process.membership is Membership.IN] or mine
    chosen = [process for process in mine if process.membership is not Membership.OUT_BY_PERSON]
    states = {process_state(memory, process) for process in counted}
    if not mine and link.expected:
        states = {State.INITIAL if link.enrolled else State.UNKNOWN}
    healths = [process_health(memory, process) for process in chosen]
    missing = link.expected and not link.enrolled
    status = _missing(link, now) if missing else _where(link)
    ill = next((process.fault for process in sorted(chosen, key=lambda one: bool(one.cause)) if process.fault), "")
    path = join(memory.path, link.name)
    ill = _why_taken_down(mine) or ill
    return Row(
        path=path,
        kind=Kind.NODE,
        name=link.name,
        state=fold_state(states, command_under_way(memory, states)),
        health=worst([*healths, Health.DEGRADED if missing else Health.OK]),
        status=_why_excluded(memory, path) or ill or status,
        membership=_membership(memory, path),
        heard_age_s=None if link.heard_s is None else now - link.heard_s,
        pid=link.pid if link.attached else 0,
    )


def process_row(memory: Memory, process: ProcessMemory, now: float) -> Row:
    """One process, as its agent last described it."""
    report = process.report
    status = process.fault or (report.status if report is not None else "")
    status = "; ".join(text for text in (_why_excluded(memory, process.path), status) if text)
    return Row(
        path=process.path,
        kind=Kind.PROCESS,
        name=process.spec.slot,
        state=process_state(memory, process),
        health=process_health(memory, process),
        status=status,
        membership=process.membership,
        heard_age_s=None if process.heard_s is None else now - process.heard_s,
        role=process.role.name,
        pid=report.pid if report is not None else 0,
        instance=report.instance if report is not None else "",
        run_number=report.run_number if report is not None else 0,
        returning=process.mending,
    )


def rows(memory: Memory, now: float, path: str, depth: int) -> list[Row]:
    """The member at `path` and what lies below it, `depth` levels down, parents before children."""
    found: list[Row] = []
    level = path.count("/") + 1 if path else 0
    for row in _all_rows(memory, now):
        if covers(path, row.path) and (row.path.count("/") + 1 if row.path else 0) - level <= depth:
            found.append(row)
    return found


def _all_rows(memory: Memory, now: float) -> Iterator[Row]:
    yield own_row(memory, now)
    for child in memory.children.values():
        yield child_row(memory, child, now)
    for link in memory.links.values():
        if link.kind is Kind.NODE:
            yield node_row(memory, link, now)
            for process in memory.processes.values():
                if process.spec.node == link.name:
                    yield process_row(memory, process, now)


def exceptions(memory: Memory, now: float) -> list[Row]:
    """At most `EXCEPTIONS_SHOWN` members that are not well, worst first."""
    found = unwell(memory, now)
    for child in memory.children.values():
        if child.membership is not Membership.OUT_BY_PERSON and child.report is not None:
            found += child.report.exceptions
    found.sort(key=lambda row: (row.health is not Health.ERROR, row.membership is not Membership.IN))
    return found[:EXCEPTIONS_SHOWN]


def unwell(memory: Memory, now: float) -> list[Row]:
    """This controller's own processes and children that are not well."""
    faulty = [
        process
        for process in memory.processes.values()
        if process.fault and process.membership is not Membership.OUT_BY_PERSON
    ]
    faulty.sort(key=lambda process: (bool(process.cause), process.path))  # the cause before its victims
    found = [process_row(memory, process, now) for process in faulty]
    for child in memory.children.values():
        link = memory.links[child.name]
        silent = link.expected and not link.enrolled and child.heard_s is not None
        if silent and child.membership is not Membership.OUT_BY_PERSON:
            found.append(child_row(memory, child, now))
    return found


def counters(memory: Memory, path: str) -> Mapping[str, Mapping[str, int]]:
    """What the processes at and below `path` have counted in the newest run here, by role."""
    newest = counted_run(memory)
    if path == memory.path:
        return run_counters(memory, newest)
    for child in memory.children.values():
        if child.path == path:
            return child.report.counters if child.report is not None else {}
    return role_counters(memory, newest, path)
