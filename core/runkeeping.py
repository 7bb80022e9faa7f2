"""The run, at the root of the tree: its number, its four moments, its end and what it counted.

A number is asked for when the first part of the tree is configured and the goal is to take data; nothing starts before
it is allotted. From the moment its stop is asked for nothing more starts in a run, for processes refuse to: a further
start gets a new number, which is not asked for while anything takes data in the old run: that stops first.

A run is stopped by a command; the root gives it itself when a role's policy asks for it, when nobody is left in the
run, and when the run is complete (`run_end.py`). It has ended when nothing takes data any more and no command is about
to change that. Members that cannot be heard keep it open, unless a stop was asked for and its command is over: then
they are unaccounted for, and the run is marked degraded. Should they still take data when they are heard again, they
are stopped (`memory.in_former_run`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .effects import AllotRunNumber, Effect, Persist
from .events import AllotFailed, CommandGiven, Restored, RunNumberAllotted
from .faults import fail
from .goals import target_of
from .links import is_overdue
from .memory import (
    DATA_STATES,
    RUNNING_STATES,
    ChildMemory,
    GoalMemory,
    Memory,
    RunMemory,
    child_state,
    counters_below,
    leaf_states,
    process_state,
    role_counters,
    run_files,
)
from .names import Command, State
from .plan import SubFarmSpec
from .reports import Goal, OutputFile
from .run_members import all_changes, is_missing, why_degraded

OUT_NAMED = 3  # members that were taken out, in the reason of a run's end
POLICY_STOP = "stop-run-"  # how the id of the root's own stop begins
_STARTABLE = (State.CONFIGURED, State.STARTING)
_UNCLEAR = frozenset({State.UNKNOWN, State.MIXED})
_MAY_TAKE = RUNNING_STATES | _UNCLEAR | {State.SHUTTING_DOWN}


def wants_run(goal: Goal) -> bool:
    """Whether a goal asks any part of the tree to take data."""
    return any(target.state in DATA_STATES for target in goal.targets)


def why_stop(memory: Memory) -> str:
    """Why the root itself has to stop its run: a role's policy, or nobody is in it any more; empty when it has not to.

    The stop is a command like any other: from then on nobody can start in the run, wherever he is on his way.
    """
    held, run = memory.goal, memory.run
    if run is None or run.stop_asked or run.policy_asked or held is None:
        return ""
    wanted = stop_wanted(memory)
    if wanted or held.active or memory.repairs or not wants_run(held.goal):
        return wanted  # those that are being brought back take data again in a moment
    leaves = leaf_states(memory, memory.path)
    return _why_nobody_is_left(memory, run) if leaves.isdisjoint(_MAY_TAKE) else ""


def stop_wanted(memory: Memory) -> str:
    """Why a role's policy asks for the run's stop, here or below; empty when none does."""
    below = (child.report.stop_run_wanted for child in memory.children.values() if child.report is not None)
    return memory.stop_run_wanted or next((reason for reason in below if reason), "")


def keep_run(memory: Memory, now: float) -> list[Effect]:
    """What the run needs now: a number, a time stamp, an end."""
    held = memory.goal
    if not memory.root or held is None:
        return []
    if memory.run is None:
        return _ask_for_number(memory, held)
    run, effects = memory.run, list[Effect]()
    leaves = leaf_states(memory, memory.path)
    if not run.running and not run.stop_asked and not held.active and held.ok and not leaves.isdisjoint(DATA_STATES):
        run.running, run.running_since_s = True, now
        effects.append(_record("run_running", run.number, {}))
    if run.running or _data_flow(memory):  # from then on it matters who is missing
        failed = _failed_start(run, held)
        run.degraded = run.degraded or bool(failed) or _is_degraded(memory, run, held)
        if failed and not why_degraded(memory):
            effects += _degraded(run, failed)
    if run.degraded:
        effects += _degraded(run, why_degraded(memory))
    if _is_over(memory, now, run, held, leaves):
        if leaves & _UNCLEAR:
            effects += _degraded(run, f"{', '.join(_unclear(memory))} could not be heard at its end")
        effects.append(_end(memory, now, run))
    return effects


def _ask_for_number(memory: Memory, held: GoalMemory) -> list[Effect]:
    goal = held.goal
    wanted = held.active and not held.failing and wants_run(goal) and not goal.run_number
    if not wanted or held.allotting or not _is_ready(memory, goal):
        return []
    if not leaf_states(memory, memory.path).isdisjoint(RUNNING_STATES):
        return []  # they are in a run that has ended, and stop first
    held.allotting = True
    return [
        AllotRunNumber(goal.command_id, memory.revision, goal.person, held.terms),
    ]


def _is_ready(memory: Memory, goal: Goal) -> bool:
    """Whether any part of the tree that is to take data could start now."""
    for child in memory.children.values():
        target = target_of(goal, child.path)
        if target is not None and target.state in DATA_STATES and child_state(memory, child) in _STARTABLE:
            return True
    for process in memory.processes.values():
        target = target_of(goal, process.path)
        if target is not None and target.state in DATA_STATES and process_state(memory, process) is State.CONFIGURED:
            return True
    return any(  # a command for a part of a child: the child as a whole may never be configured
        target.state in DATA_STATES
        and target.path != memory.path
        and State.CONFIGURED in leaf_states(memory, target.path)
        for target in goal.targets
    )


def _data_flow(memory: Memory) -> bool:
    """Whether a source takes data. Those that only read others start before it: until then nobody misses anything."""
    if any(
        not process.role.rank and process_state(memory, process) in DATA_STATES for process in memory.processes.values()
    ):
        return True
    sources = {one.name: _sources(one) for one in memory.farm.sub_farms} if memory.farm is not None else {}
    return any(
        count.state in DATA_STATES and count.role in sources.get(child.name, ())
        for child in memory.children.values()
        if child.report is not None
        for count in child.report.row.counts
    )


def _sources(sub_farm: SubFarmSpec) -> set[str]:
    """The roles, here and below, with which a data flow begins."""
    here = {role.name for role in sub_farm.roles if not role.rank}
    return here.union(*(_sources(below) for below in sub_farm.sub_farms))


def _failed_start(run: RunMemory, held: GoalMemory) -> str:
    """Why some take data and others do not: the run's start has ended without success; empty when it has not."""
    if run.running or run.stop_asked or held.active or held.ok:
        return ""
    return f"{held.goal.doing} {'failed' if held.outcome == 'failed' else f'was {held.outcome}'}: {held.reason}"


def _is_degraded(memory: Memory, run: RunMemory, held: GoalMemory) -> bool:
    """Whether a member is missing; while the run is being started, children may still tell of how they were before."""
    below = (child.report for child in memory.children.values() if child.report is not None)
    news = (report for report in below if run.running or report.command_id == held.goal.command_id)
    return any(report.degraded for report in news) or any(is_missing(process) for process in memory.processes.values())


def _degraded(run: RunMemory, reason: str) -> list[Effect]:
    """Records, once, that members were missing from the run, with the first reason that can be told."""
    run.degraded = True
    if run.degraded_reason or not reason:
        return []
    run.degraded_reason = reason
    return [_record("run_degraded", run.number, {"reason": reason})]


def _unclear(memory: Memory) -> list[str]:
    """The children of which nobody can tell where they are."""
    children = [child.path for child in memory.children.values() if child_state(memory, child) in _UNCLEAR]
    return children + [
        process.path for process in memory.processes.values() if process_state(memory, process) in _UNCLEAR
    ]


def _is_over(memory: Memory, now: float, run: RunMemory, held: GoalMemory, leaves: set[State]) -> bool:
    if not run.stop_asked and (held.active or wants_run(held.goal)):
        return False
    if not leaves.isdisjoint(RUNNING_STATES) or State.SHUTTING_DOWN in leaves:
        return False
    if any(_may_still_start(memory, child, held.goal.command_id) for child in memory.children.values()):
        return False
    if leaves.isdisjoint(_UNCLEAR):
        return True
    awaited = any(
        link.expected and not link.enrolled and not is_overdue(memory, link, now) for link in memory.links.values()
    )
    return run.stop_asked and not awaited and (not held.active or wants_run(held.goal))


def _may_still_start(memory: Memory, child: ChildMemory, command_id: str) -> bool:
    """Whether a controller below may be starting processes by a goal that this one has replaced meanwhile."""
    link, report = memory.links[child.name], child.report
    return link.enrolled and report is not None and report.command_id != command_id


def allotted(memory: Memory, now: float, event: RunNumberAllotted) -> list[Effect]:
    """The database has given a number; a command that has ended meanwhile leaves a run that never started."""
    held = memory.goal
    run = RunMemory(event.number)
    if held is None or held.goal.command_id != event.command_id or not held.active or memory.run is not None:
        if memory.run is not None and memory.run.number == event.number:
            return []
        run.end_reason = "the start was given up before it began"
        memory.tell(now, memory.path, f"run {run.number}: {run.end_reason}")
        return [_ended(run, {}, ())]
    memory.run, run.terms = run, held.terms
    held.allotting = False
    held.goal = replace(held.goal, run_number=event.number)
    memory.tell(now, memory.path, f"run {event.number} allotted to {held.goal.person}")
    return []


def refused_number(memory: Memory, now: float, event: AllotFailed) -> None:
    """No number, no run."""
    held = memory.goal
    if held is not None and held.goal.command_id == event.command_id:
        held.allotting = False
        fail(memory, now, f"no run number could be had: {event.reason}")


def restored(memory: Memory, now: float, event: Restored) -> None:
    """The run that was open when the farm controller went away; recording its moments again is harmless."""
    if event.run_number:
        memory.run = RunMemory(
            event.run_number,
            running=event.running,
            stop_asked=event.stop_asked,
            end_reason=event.end_reason,
            degraded=event.degraded,
            degraded_reason=event.degraded_reason,
            terms=event.run_terms,
            running_since_s=now - event.running_for_s,
            last_seen_unix_s=event.last_seen_unix_s if event.running else 0.0,
        )


def see_again(memory: Memory) -> bool:
    """Notes that the run that was found open goes on; whether that is news.

    A run that nobody is found in ended when nobody looked: at the last sign of life, for all that is known.
    """
    run = memory.run
    if run is None or not run.last_seen_unix_s or leaf_states(memory, memory.path).isdisjoint(RUNNING_STATES):
        return False
    run.last_seen_unix_s = 0.0
    return True


def with_run(goal: Goal, run: RunMemory | None) -> Goal:
    """A restored goal with the number that was allotted for it but not yet recorded with it."""
    if run is None or run.stop_asked or goal.run_number or not wants_run(goal):
        return goal
    return replace(goal, run_number=run.number)


def stop_asked(memory: Memory, event: CommandGiven) -> list[Effect]:
    """A command that takes the whole farm out of data taking was accepted."""
    run = memory.run
    leaves_run = event.step in (Command.STOP, Command.SHUTDOWN) or (
        event.target is not None and event.target not in DATA_STATES
    )
    if run is None or run.stop_asked or not leaves_run or memory.path not in event.paths:
        return []
    run.stop_asked = True
    run.end_reason = event.terms.comment or f"{event.step or f'go {event.target}'} by {event.person}"
    return [_record("run_stop_asked", run.number, {"reason": run.end_reason})]


def _end(memory: Memory, now: float, run: RunMemory) -> Persist:
    counters = counters_below(memory, run.number)
    if memory.processes:
        counters[memory.name] = role_counters(memory, run.number)
    memory.run = None
    if not run.end_reason:
        run.end_reason = _why_nobody_is_left(memory, run)
    memory.tell(now, memory.path, f"run {run.number} ended: {run.end_reason}")
    return _ended(run, counters, run_files(memory, run.number), all_changes(memory)[1])


def _why_nobody_is_left(memory: Memory, run: RunMemory) -> str:
    """Why a run has ended that nobody has stopped: it never began, or who was in it was taken out."""
    held = memory.goal
    if held is not None and not held.ok and held.reason and not run.running:
        return held.reason
    out = held.goal.excluded if held is not None else ()
    named = [f"{one.path}: {one.why}" for one in out[:OUT_NAMED]] + (["…"] if len(out) > OUT_NAMED else [])
    return "nothing takes data any more" + (f" ({'; '.join(named)})" if named else "")


def _ended(
    run: RunMemory,
    counters: Mapping[str, Mapping[str, Mapping[str, int]]],
    files: tuple[OutputFile, ...],
    changes_left_out: int = 0,
) -> Persist:
    undrained = any(values.get("undrained", 0) for roles in counters.values() for values in roles.values())
    return _record(
        "run_ended",
        run.number,
        {
            "end_reason": run.end_reason,
            "undrained": undrained,
            "last_seen_unix_s": run.last_seen_unix_s,
            "changes_left_out": changes_left_out,
            "counters": [
                {"sub_farm": sub_farm, "role": role, "counter": counter, "value": value}
                for sub_farm, roles in counters.items()
                for role, values in roles.items()
                for counter, value in values.items()
            ],
            "files": [
                {
                    "sub_farm": file.member.split("/")[0],
                    "member": file.member,
                    "path": file.path,
                    "size_bytes": file.size_bytes,
                    "sha256": file.sha256,
                }
                for file in files
            ],
        },
    )


def _record(kind: str, number: int, data: Mapping[str, Any]) -> Persist:
    return Persist(kind, f"{kind}/{number}", {"number": number, **data})
