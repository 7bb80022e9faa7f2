"""How a command ends: when nothing is waited for any more, with exactly one outcome.

A failing command settles first: answers under way have `settle_s` to come, so that the outcome says where the members
are. At its deadline it ends at once, whatever is under way. On the way down a fault stops nobody else: the others are
brought down, and the outcome names the fault.
"""

from dataclasses import replace
from typing import Any

from .aggregate import ceiling, claim
from .durations import duration_words
from .effects import Answer, Effect, Persist
from .events import CancelGiven
from .faults import DOWN_STEPS, clear, fail
from .goals import DOWN, goes_down, hold, in_scope, is_addressed, own_target, scope_name, to_document
from .judging import answer_state
from .memory import (
    GoalMemory,
    Memory,
    ProcessMemory,
    RunMemory,
    counts_nothing,
    fence_text,
    has_arrived,
    is_unaccounted,
    leaf_states,
    may_exist,
    process_state,
)
from .names import Command, Membership, State
from .paths import join
from .quorum import Shortfall, shortfalls
from .reports import RunTerms, Target
from .state import ROWS, Refusal, move
from .waiting import slowest, waiting

NOTES_KEPT = 20  # members named in an outcome

_UP_STEPS = (Command.SETUP, Command.BOOT, Command.LOAD, Command.CONFIGURE, Command.START)


def finish(memory: Memory, now: float) -> list[Effect]:
    """Ends the command in force when there is nothing more to wait for."""
    goal = memory.goal
    if goal is None or not goal.active:
        return []
    _time_steps(memory, now)
    if not goal.failing:
        _take_over_failures(memory, now, goal)
    still = next(waiting(memory), None)
    if not goal.failing:
        if still is None:
            return _conclude(memory, now, goal)
        if now < goal.deadline_s:
            return []
        limit_s = goal.age_s(goal.deadline_s)
        fail(memory, now, f"not done within {duration_words(limit_s)}: still waiting for {slowest(memory)}")
    elif still is not None and now < min(goal.failing_s + memory.limits.settle_s, goal.deadline_s):
        return []
    more = f" (and {goal.further_failures} more)" if goal.further_failures else ""
    return end(memory, now, goal.failing_kind, goal.failing + more)


def _take_over_failures(memory: Memory, now: float, goal: GoalMemory) -> None:
    """The failure of a controller below is the command's failure."""
    for child in memory.children.values():
        report = child.report
        if report is None or report.command_id != goal.goal.command_id or not report.done or report.ok:
            continue
        if child.membership is Membership.IN and memory.links[child.name].enrolled:
            fail(memory, now, f"sub-farm {child.name}: {report.reason}")


def _conclude(memory: Memory, now: float, goal: GoalMemory) -> list[Effect]:
    """Nothing is waited for: did enough members get where they should?"""
    target = own_target(goal.goal)
    if target is None or target.state is None:
        return end(memory, now, "done", "")
    upward = not goes_down(goal.goal, target) and target.step not in DOWN_STEPS
    if memory.root and upward and counts_nothing(memory, scope_name(goal.goal)):
        return end(memory, now, "failed", "all members are excluded: nothing is left to bring there")
    mine = [process for process in memory.processes.values() if in_scope(goal.goal, process.path)]
    if not goes_down(goal.goal, target):
        mine = [process for process in mine if is_addressed(goal.goal, process.path)]
    apart = [process for process in mine if not has_arrived(memory, process, goal.goal, target)]
    if goes_down(goal.goal, target):
        for process in mine:
            if process.fault and _has_ended(memory, process):
                clear(process)  # it is where it should be; what it died of is history
        apart = [process for process in apart if may_exist(process) and not _has_ended(memory, process)]
        goal.notes = _notes(memory, goal, [_why_there(memory, process) for process in apart])
        for process in apart:
            process.owes_shutdown = process.owes_shutdown or is_unaccounted(memory, process)
        left = next((process for process in apart if not is_unaccounted(memory, process)), None)
        reason = "" if left is None else _why_there(memory, left)
        return end(memory, now, "failed" if reason else "done", reason)
    goal.notes = _notes(memory, goal, [_why_apart(memory, process) for process in apart])
    short = _shortfalls(memory, goal, target)
    reason = goal.casualty or (_why_short(memory, short[0], target) if short else "")
    return end(memory, now, "failed" if reason else "done", reason)


def _has_ended(memory: Memory, process: ProcessMemory) -> bool:
    """Whether a process that can be heard has said that it is gone."""
    heard = memory.links[process.spec.node].enrolled
    return heard and process_state(memory, process) in DOWN


def _why_there(memory: Memory, process: ProcessMemory) -> str:
    if is_unaccounted(memory, process):
        return f"{process.path} is unaccounted for: its shutdown is carried out when its node dials in"
    return f"{process.path} is still there: {process.fault or process_state(memory, process)}"


def _why_apart(memory: Memory, process: ProcessMemory) -> str:
    cause = f" ({process.fault})" if process.fault else ""
    return f"{process.path} took no part: it is {process_state(memory, process)}{cause}"


def _notes(memory: Memory, goal: GoalMemory, notes: list[str]) -> tuple[str, ...]:
    """The members that took no part, here and below; at most `NOTES_KEPT`, with the number of the others."""
    for link in memory.links.values():
        path = join(memory.path, link.name)
        empty = link.name not in memory.children and all(
            process.spec.node != link.name for process in memory.processes.values()
        )
        if empty and link.expected and not link.enrolled and is_addressed(goal.goal, path):
            notes.append(f"{path} took no part: {link.trouble or 'its agent has not answered'}")
    for child in memory.children.values():
        if child.membership is Membership.OUT_BY_FAULT:
            notes.append(f"{child.path} is unaccounted for: its part is carried out when it dials in")
        elif child.report is not None and child.report.command_id == goal.goal.command_id:
            notes += child.report.notes
    if len(notes) > NOTES_KEPT:
        notes[NOTES_KEPT:] = [f"and {len(notes) - NOTES_KEPT} more"]
    return tuple(notes)


def _shortfalls(memory: Memory, goal: GoalMemory, target: Target) -> tuple[Shortfall, ...]:
    """The roles of which too few members arrived.

    On the way down it is enough not to be above, and a role that is short because a person has excluded its members is
    no reason to fail.
    """
    aimed = target.state
    assert aimed is not None
    going_down = target.step in DOWN_STEPS

    def arrived(memory: Memory, process: ProcessMemory) -> bool:
        if going_down:
            return ceiling(process_state(memory, process)) <= claim(aimed)
        return not process.fault and has_arrived(memory, process, goal.goal, target)

    found = shortfalls(memory, arrived, goal.goal.scopes)
    return tuple(short for short in found if short.missing) if going_down else found


def _why_short(memory: Memory, short: Shortfall, target: Target) -> str:
    if not short.missing:
        return short.by_exclusion
    first = short.missing[0]
    state = process_state(memory, first)
    why = first.fault or f"{first.path} is {state}"
    if target.step is not None and not first.fault:
        verdict = move(state, target.step)
        why = f"{first.path}: {verdict.reason}" if isinstance(verdict, Refusal) else why
    return f"{short}: {why}"


def end(memory: Memory, now: float, kind: str, reason: str) -> list[Effect]:
    """Gives the command in force its one outcome."""
    goal = memory.goal
    assert goal is not None
    if kind == "done":
        _time_steps(memory, now, last=True)
    goal.active = False
    goal.ok = kind == "done"
    goal.outcome, goal.reason = kind, reason
    duration_s = goal.age_s(now)
    if not goal.ok:
        goal.goal = replace(goal.goal, targets=hold(goal.goal))
        verb = "failed" if kind == "failed" else f"was {kind}"
        reason = f"{goal.goal.doing} {verb} after {duration_words(duration_s)}: {reason}"
    if memory.root and not any(link.expected for link in memory.links.values()):
        goal.goal = replace(goal.goal, set_up=False)
    where = scope_name(goal.goal) if memory.root else memory.path
    memory.tell(now, where, reason or f"{goal.goal.doing} done in {duration_words(duration_s)}")
    if not memory.root:
        return []
    reached = own_target(goal.goal)
    outcome = Answer(
        command_id=goal.goal.command_id,
        kind=kind,
        reason=reason,
        state=answer_state(memory, scope_name(goal.goal), reached.state if goal.ok and reached is not None else None),
        run_number=goal.goal.run_number,
        duration_s=duration_s,
        notes=(*goal.notes, *([goal.untaken] if goal.untaken else [])),
        steps=tuple(goal.step_times),
    )
    return [goal_record(memory), *_tell(memory, outcome)]


def answer(
    memory: Memory,
    command_id: str,
    kind: str,
    reason: str,
    paths: tuple[str, ...],
    duration_s: float,
    notes: tuple[str, ...] = (),
) -> list[Effect]:
    """The one outcome of a command for members, which has no goal of its own."""
    state = answer_state(memory, paths[0] if len(paths) == 1 else memory.path, None)
    return _tell(memory, Answer(command_id, kind, reason, state, 0, duration_s, notes))


def _tell(memory: Memory, outcome: Answer) -> list[Effect]:
    """Remembers an outcome, here and in the records, and gives it to whoever waits."""
    digest, _ = memory.outcomes.get(outcome.command_id, ("", None))
    memory.outcomes[outcome.command_id] = (digest, outcome)
    data = {"id": outcome.command_id, "outcome": outcome.kind, "reason": outcome.reason}
    return [Persist("command_ended", f"command-ended/{outcome.command_id}", data), outcome]


def end_superseded(memory: Memory, now: float, by: str) -> list[Effect]:
    """Ends the command in force because another takes its place; one that was failing anyway fails."""
    goal = memory.goal
    if goal is None or not goal.active:
        return []
    if goal.failing:
        return end(memory, now, goal.failing_kind, goal.failing)
    return end(memory, now, "superseded", f"superseded by {by}")


def cancel(memory: Memory, now: float, event: CancelGiven) -> list[Effect]:
    """Ends the command under way; of any other id nothing is left to cancel."""
    goal = memory.goal
    if goal is not None and goal.active and event.command_id in ("", goal.goal.command_id):
        fail(memory, now, f"cancelled by {event.person}", "cancelled")
    return []


def _time_steps(memory: Memory, now: float, last: bool = False) -> None:
    """Notes how long each step took: until the rearmost member is past it."""
    goal = memory.goal
    assert goal is not None
    if len(goal.step_times) == len(goal.steps):
        return
    leaves = set().union(*(leaf_states(memory, scope) for scope in goal.goal.scopes)) - {State.UNKNOWN}
    for step in goal.steps[len(goal.step_times) :]:
        if not (last or (leaves and all(_is_past(state, step) for state in leaves))):
            return
        goal.step_times.append((step.value, now - goal.step_since_s))
        goal.step_since_s = now


def _is_past(state: State, step: Command) -> bool:
    """Whether a member in `state` has the step behind it, on a way that goes in the step's direction."""
    if step in (Command.PAUSE, Command.RESUME):
        return state is ROWS[step].to
    level = claim(ROWS[step].to)
    return claim(state) >= level if step in _UP_STEPS else ceiling(state) <= level


def _run_record(run: RunMemory | None) -> dict[str, Any] | None:
    """The open run, which may be another than the goal's: one whose stop was asked for is still to be ended."""
    if run is None:
        return None
    return {
        "number": run.number,
        "running": run.running,
        "stop_asked": run.stop_asked,
        "end_reason": run.end_reason,
        "degraded": run.degraded,
        "degraded_reason": run.degraded_reason,
        "terms": _terms_record(run.terms),
        "last_seen_unix_s": run.last_seen_unix_s,
    }


def _terms_record(terms: RunTerms) -> dict[str, Any]:
    return {
        "run_type": terms.run_type,
        "run_mode": terms.run_mode,
        "comment": terms.comment,
        "events": terms.events,
        "duration_s": terms.duration_s,
        "person": terms.person,
    }


def goal_record(memory: Memory) -> Persist:
    """The goal as the database keeps it; the newest replaces the one before."""
    held = memory.goal
    assert held is not None
    goal = held.goal
    memory.sequence += 1
    return Persist(
        "goal_set",
        f"goal/{fence_text(memory) or 0}/{memory.sequence}",
        {
            **to_document(goal),
            "active": held.active,
            "remaining_s": held.deadline_s - held.since_s if held.active else 0.0,
            "terms": _terms_record(held.terms),
            "run": _run_record(memory.run),
        },
    )
