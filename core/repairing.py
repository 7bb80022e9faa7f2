"""Bringing members back beside the command under way: restart, recover, and whoever was out and is included again.

A repair is part of the goal until every part of the tree has said that nothing is waited for any more, so it survives
the death of any controller. Its members are out while it lasts: *renewing* is one that is being ended first,
*returning* one that gets the steps it lacks, to where the goal or, where that says nothing, the others are. A repair
that comes again, to a controller that was started anew, mends what is not well and restarts nothing a second time.
"""

from dataclasses import replace

from .aggregate import claim
from .durations import duration_words
from .effects import Effect
from .events import CancelGiven
from .faults import clear, note
from .goals import DOWN, goes_down
from .links import expect, hurry, is_overdue, is_to_leave
from .memory import ChildMemory, Memory, ProcessMemory, RepairMemory, aim_of, has_arrived, process_state
from .names import Health, MemberCommand, Membership, Repairing, State
from .outcomes import answer, goal_record
from .paths import join, lies_in, meet
from .quorum import is_sound
from .reports import Busy, Goal, Repair, RepairReport
from .state import STEADY

FAILURES_NAMED = 5  # members that did not come back, told to the level above
_NOUN = {"restart": "restart", "recover": "recovery", "include": "inclusion"}
_DOING = {"restart": "restarting", "recover": "recovering", "include": "included again"}


def take(memory: Memory, now: float) -> None:
    """Begins the repairs of the goal in force that are new, and forgets those that are over."""
    held = memory.goal
    wanted = {repair.id: repair for repair in held.goal.repairs} if held is not None else {}
    for known in memory.repairs.keys() - wanted.keys():
        _give_up(memory, now, memory.repairs.pop(known))
    for repair in wanted.values():
        if repair.id not in memory.repairs:
            _begin(memory, now, repair)


def _begin(memory: Memory, now: float, repair: Repair) -> None:
    mine = [
        process
        for process in memory.processes.values()
        if _is_meant(repair, process.path) and process.membership is not Membership.OUT_BY_PERSON
    ]
    paths = tuple(process.path for process in mine)
    deadline_s = now + repair.limit_s
    under_way = RepairMemory(repair, now, deadline_s, paths, paths, rejoin=where_all_are(memory), touched=repair.begun)
    memory.repairs[repair.id] = under_way
    goal = memory.goal.goal if memory.goal is not None else Goal()
    for link in memory.links.values():
        path = join(memory.path, link.name)
        if _is_meant(repair, path) or any(process.spec.node == link.name for process in mine):
            if (goal.set_up or not memory.root) and not is_to_leave(goal, path):
                expect(link, now, 0.0)
            hurry(link, now)
    attend(memory, now)


def attend(memory: Memory, now: float) -> None:
    """Begins with the members that can be heard now and could not before, and with those whose time has come."""
    for mine in memory.processes.values():
        due_s = mine.restart_at_s
        if due_s is not None and now >= due_s and memory.links[mine.spec.node].enrolled:
            mend(memory, now, mine, Repairing.RESTART, f"restarting: {mine.fault}", where_all_are(memory))
            mine.restarting = mine.mending
    for under_way in memory.repairs.values():
        repair, left = under_way.repair, list[str]()
        kind = Repairing.RECOVER if repair.begun else repair.kind
        for path in under_way.unheard:
            process = memory.processes.get(path)
            if process is None or process.membership is Membership.OUT_BY_PERSON:
                continue
            if memory.links[process.spec.node].enrolled:
                why = f"{_DOING[repair.doing or repair.kind]}, asked for by {repair.person}"
                was_well = not process.fault and not process.mending
                mend(memory, now, process, kind, why, under_way.rejoin or where_all_are(memory))
                if not was_well or process.fault or process.mending:
                    under_way.touched = True
            else:
                left.append(path)
        under_way.unheard = tuple(left)


def _give_up(memory: Memory, now: float, over: RepairMemory) -> None:
    """A repair is over: nothing more is commanded to those that are not back."""
    for path in over.processes:
        process = memory.processes.get(path)
        if process is not None and process.mending:
            note(
                process,
                f"its {_NOUN[over.repair.doing or over.repair.kind]} was given up before it was back",
                lost=process.lost,
            )
            memory.tell(now, path, process.fault)


def mend(memory: Memory, now: float, process: ProcessMemory, kind: Repairing, why: str, rejoin: State | None) -> None:
    """Begins to bring back a process that can be heard; to recover one that is well where it should be is nothing.

    While the goal says nothing of it, it goes back to where it was or, if that is nowhere, to `rejoin`.
    """
    held, state = memory.goal, process_state(memory, process)
    if held is None or not memory.links[process.spec.node].enrolled:
        return
    if kind is Repairing.RECOVER and (process.renewing or process.returning):
        return
    renew = state not in DOWN and (kind is Repairing.RESTART or _has_to_be_ended(process, state))
    before = process.fault
    note(process, why)
    process.renewing, process.returning, process.unended = renew, not renew, ""
    process.rejoin = state if renew and state in (*STEADY, State.PAUSED) else rejoin
    target = aim_of(process, held.goal)
    nowhere = target is None or target.state is None
    is_down = state in DOWN and goes_down(held.goal, target)
    if nowhere and before and state in DOWN:
        note(process, f"{before}; nothing says where to bring it, for no other is up: grange go TARGET")
    elif not renew and (target is None or nowhere or is_down or has_arrived(memory, process, held.goal, target)):
        clear(process)  # it is where it should be: what it died of is history
        if before:
            memory.tell(now, process.path, f"well again: {state}")
        return
    process.membership = Membership.OUT_BY_FAULT  # unless its role falls short without it: faults.review
    memory.tell(now, process.path, f"out: {process.fault}")


def _has_to_be_ended(process: ProcessMemory, state: State) -> bool:
    """Whether a process can only be brought back by ending it first: hung, or stuck in a step."""
    report = process.report
    if report is None or report.health is Health.ERROR:
        return True
    return state not in (*STEADY, State.PAUSED) and (report.order_done or bool(process.fault))


def where_all_are(memory: Memory) -> State | None:
    """The rearmost steady state of the sound processes of this sub-farm; a pause counts as behind."""
    states = {process_state(memory, process) for process in memory.processes.values() if is_sound(memory, process)}
    steady = states & {*STEADY, State.PAUSED}
    return min(steady, key=lambda state: (claim(state), state is not State.PAUSED), default=None)


def report(memory: Memory, now: float) -> tuple[RepairReport, ...]:
    """How the repairs fare here and below."""
    return tuple(_report(memory, now, repair) for repair in memory.repairs.values())


def _report(memory: Memory, now: float, under_way: RepairMemory) -> RepairReport:
    repair, failures, waited, slowest = under_way.repair, list[str](), list[str](), ""
    members, back, idle = 0, 0, not under_way.touched
    for path in under_way.processes:
        process = memory.processes.get(path)
        if process is None or process.membership is Membership.OUT_BY_PERSON:
            continue
        link = memory.links[process.spec.node]
        awaited = path in under_way.unheard and link.expected and not is_overdue(memory, link, now)
        on_its_way = process.mending or awaited
        members, back = members + 1, back + (not on_its_way)
        if on_its_way:
            waited.append(f"{path} is {process_state(memory, process)}")
            slowest = slowest or path
        elif process.fault:
            failures.append(process.fault)
        elif path in under_way.unheard and link.expected:
            failures.append(f"{path}: its node does not answer")
    for child in memory.children.values():
        link, told = memory.links[child.name], _told(child, repair.id)
        if child.membership is Membership.OUT_BY_PERSON or not _concerns(repair, child.path) or not link.expected:
            continue
        idle = idle and told is not None and told.idle
        if told is not None:
            members, back, slowest = members + told.members, back + told.back, slowest or told.slowest
        if told is not None and link.enrolled and told.done:
            failures += told.failures
        elif not link.enrolled and is_overdue(memory, link, now):
            failures.append(f"sub-farm {child.name}: its controller does not answer")
        else:
            waited.append(f"sub-farm {child.name}")
            slowest = slowest or child.path
    done = not waited
    if waited and now >= under_way.deadline_s:
        done = True
        failures.append(f"not back within {duration_words(repair.limit_s)}: {', '.join(waited[:FAILURES_NAMED])}")
    if len(failures) > FAILURES_NAMED:
        failures[FAILURES_NAMED:] = [f"and {len(failures) - FAILURES_NAMED} more"]
    return RepairReport(repair.id, done, tuple(failures) if done else (), members, back, slowest, idle and done)


def busy(memory: Memory, now: float, repair_id: str) -> Busy | None:
    """How far a repair has come; None when it is not under way."""
    under_way = memory.repairs.get(repair_id)
    if under_way is None:
        return None
    repair, fared = under_way.repair, _report(memory, now, under_way)
    return Busy(
        command_id=repair.id,
        doing=repair.doing or repair.kind.value,
        person=repair.person,
        elapsed_s=under_way.age_s(now),
        remaining_s=max(0.0, under_way.deadline_s - now),
        done=fared.back,
        total=fared.members,
        slowest=fared.slowest,
    )


def _told(child: ChildMemory, repair_id: str) -> RepairReport | None:
    found = child.report.repairs if child.report is not None else ()
    return next((report for report in found if report.id == repair_id), None)


def cancel(memory: Memory, event: CancelGiven) -> None:
    """Ends a repair by its id; an empty id means it when nothing else is under way."""
    busy = memory.goal is not None and memory.goal.active
    for repair_id, under_way in memory.repairs.items():
        if event.command_id == repair_id or (not event.command_id and not busy):
            under_way.overtaken = under_way.overtaken or ("cancelled", f"cancelled by {event.person}")


def supersede(memory: Memory, paths: tuple[str, ...], by: str) -> None:
    """Members are to go down: nobody brings back those that lie there any more."""
    for under_way in memory.repairs.values():
        if all(lies_in(member, paths) for member in under_way.repair.paths):
            under_way.overtaken = under_way.overtaken or ("superseded", f"superseded by {by}")


def finish(memory: Memory, now: float) -> list[Effect]:
    """At the root: gives every repair that is over its one outcome."""
    held = memory.goal
    if not memory.root or held is None or not memory.repairs:
        return []
    effects: list[Effect] = []
    for under_way in list(memory.repairs.values()):
        repair, fared = under_way.repair, _report(memory, now, under_way)
        if not fared.done and under_way.overtaken is None:
            continue
        _give_up(memory, now, memory.repairs.pop(repair.id))
        held.goal = replace(held.goal, repairs=tuple(other for other in held.goal.repairs if other.id != repair.id))
        duration_s, doing = under_way.age_s(now), repair.doing or repair.kind.value
        kind, reason, notes = "done", "", list[str]()
        if under_way.overtaken is not None:
            kind, by = under_way.overtaken
            reason = f"{doing} was {kind} after {duration_words(duration_s)}: {by}"
        elif fared.failures:
            kind, reason = "failed", f"{doing} failed after {duration_words(duration_s)}: {'; '.join(fared.failures)}"
        elif fared.idle:
            notes.append(_nothing_to_do(repair, fared.members))
        for path in repair.paths:
            memory.tell(now, path, reason or f"{doing} done in {duration_words(duration_s)}")
        effects += [goal_record(memory)]
        effects += answer(memory, repair.id, kind, reason, repair.paths, duration_s, tuple(notes))
    return effects


def _nothing_to_do(repair: Repair, processes: int) -> str:
    """Why nothing came of a repair; `processes` are those that count."""
    all_of_them = repair.paths[0] or "the farm"
    who = f"{all_of_them} is" if len(repair.paths) == 1 else f"all {len(repair.paths)} members are"
    if repair.doing == MemberCommand.INCLUDE:
        return f"nothing to do: {who} in" + (" and well" if processes else "")
    return f"nothing to do: {who} well" if processes else f"nothing to do: {who} without a process that counts"


def _is_meant(repair: Repair, path: str) -> bool:
    return lies_in(path, repair.paths)


def _concerns(repair: Repair, path: str) -> bool:
    return any(meet(one, path) for one in repair.paths)
