"""The run, at the root of the tree: its number, its four moments, its end and what it counted.

A number is asked for when the first part of the tree is configured and the goal is to take data; nothing starts before
it is allotted. A run has ended when nothing takes data any more and no command is about to change that.
"""

from .effects import AllotRunNumber, Effect, Persist
from .events import AllotFailed, CommandGiven, RunNumberAllotted
from .faults import fail
from .memory import (
    RUNNING_STATES,
    Memory,
    RunMemory,
    child_state,
    leaf_states,
    process_state,
    run_counters,
    run_files,
    target_of,
)
from .names import Command, Membership, State
from .reports import Goal

_STARTABLE = (State.CONFIGURED, State.STARTING)
_KEEPS_RUN = (State.TAKING, State.PAUSED)


def _wants_run(goal: Goal) -> bool:
    return any(target.state in _KEEPS_RUN for target in goal.targets)


def keep_run(memory: Memory, now: float) -> list[Effect]:
    """What the run needs now: a number, a time stamp, an end."""
    held = memory.goal
    if not memory.root or held is None:
        return []
    if memory.run is None:
        wanted = held.active and not held.failing and _wants_run(held.goal) and not held.goal.run_number
        if not wanted or held.allotting or not _ready(memory):
            return []
        held.allotting = True
        return [
            AllotRunNumber(
                held.goal.command_id, memory.revision, held.goal.person, held.run_type, held.run_mode, held.comment
            )
        ]
    run, effects = memory.run, list[Effect]()
    if any(child.report is not None and child.report.degraded for child in memory.children.values()) or any(
        process.membership is Membership.OUT_BY_FAULT for process in memory.processes.values()
    ):
        run.degraded = True
    leaves = leaf_states(memory, memory.path)
    if not run.running and State.TAKING in leaves and not held.active and held.ok:
        run.running = True
        effects.append(_record("run_running", run.number, {}))
    if _wants_run(held.goal) and held.active:
        return effects
    if leaves & RUNNING_STATES or leaves & {State.UNKNOWN, State.MIXED}:
        return effects
    return [*effects, *_end(memory, now, run)]


def _ready(memory: Memory) -> bool:
    goal = memory.goal
    assert goal is not None
    for child in memory.children.values():
        target = target_of(goal.goal, child.path)
        if target is not None and target.state in _KEEPS_RUN and child_state(memory, child) in _STARTABLE:
            return True
    wanted = [
        process_state(memory, process)
        for process in memory.processes.values()
        if (target := target_of(goal.goal, process.path)) is not None and target.state in _KEEPS_RUN
    ]
    return bool(wanted) and State.CONFIGURED in wanted


def allotted(memory: Memory, now: float, event: RunNumberAllotted) -> list[Effect]:
    """The database has given a number; a command that has ended meanwhile leaves a run that never started."""
    held = memory.goal
    run = RunMemory(event.number)
    if held is None or held.goal.command_id != event.command_id or not held.active:
        run.end_reason = "the start was given up before it began"
        memory.tell(now, memory.path, f"run {run.number}: {run.end_reason}")
        return [_ended(run, {}, ())]
    memory.run = run
    held.allotting = False
    held.goal = _with_run(held.goal, event.number)
    memory.tell(now, memory.path, f"run {event.number} allotted to {held.goal.person}")
    return []


def _with_run(goal: Goal, number: int) -> Goal:
    return Goal(**{name: getattr(goal, name) for name in Goal.__slots__ if name != "run_number"}, run_number=number)


def refused_number(memory: Memory, now: float, event: AllotFailed) -> None:
    """No number, no run."""
    held = memory.goal
    if held is not None and held.goal.command_id == event.command_id:
        held.allotting = False
        fail(memory, now, f"no run number could be had: {event.reason}")


def stop_asked(memory: Memory, event: CommandGiven) -> list[Effect]:
    """A command that takes the farm out of data taking was accepted."""
    run = memory.run
    leaves_run = event.step in (Command.STOP, Command.SHUTDOWN) or (
        event.target is not None and event.target not in _KEEPS_RUN
    )
    if run is None or run.stop_asked or not leaves_run:
        return []
    run.stop_asked = True
    run.end_reason = event.comment or f"{event.step or f'go {event.target}'} by {event.person}"
    return [_record("run_stop_asked", run.number, {"reason": run.end_reason})]


def _end(memory: Memory, now: float, run: RunMemory) -> list[Effect]:
    counters = {child.name: child.report.counters for child in memory.children.values() if child.report is not None}
    if memory.processes:
        counters[memory.name] = run_counters(memory)
    memory.run = None
    if not run.end_reason:
        goal = memory.goal
        run.end_reason = goal.reason if goal is not None and goal.reason else "nothing takes data any more"
    memory.tell(now, memory.path, f"run {run.number} ended: {run.end_reason}")
    effect = _ended(run, counters, run_files(memory))
    return [effect]


def _ended(run: RunMemory, counters: dict, files: tuple) -> Persist:  # type: ignore[type-arg]
    undrained = any(values.get("undrained", 0) for roles in counters.values() for values in roles.values())
    return _record(
        "run_ended",
        run.number,
        {
            "end_reason": run.end_reason,
            "degraded": run.degraded,
            "undrained": undrained,
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


def _record(kind: str, number: int, data: dict) -> Persist:  # type: ignore[type-arg]
    return Persist(kind, f"{kind}/{number}", {"number": number, **data})
