"""What becomes of a process that is not well: out or in, and what its role's policy asks for.

A faulty process goes out-by-fault when its role's quorum holds without it, and the step or run goes on degraded.
Otherwise it stays in, so that no parent can claim more than is so, and the step fails. It returns by itself when it is
seen well where it should be; a new upward command gives it another chance.
"""

from collections.abc import Iterable
from dataclasses import replace

from .effects import Effect, Say
from .memory import RUNNING_STATES, Memory, ProcessMemory, process_state, target_of
from .names import Health, Membership, Policy, Severity, State
from .paths import covers
from .quorum import shortfall
from .reports import Target

DOWN = (State.INITIAL, State.ABSENT)


def fail(memory: Memory, now: float, reason: str, kind: str = "failed") -> None:
    """The command in force will end without success: nothing more is commanded, each member stays where it is."""
    goal = memory.goal
    if goal is None or not goal.active:
        return
    if goal.failing:
        goal.further_failures += 1
        return
    goal.failing, goal.failing_kind, goal.failing_s = reason, kind, now
    goal.goal = replace(goal.goal, targets=hold(goal.goal.targets, goal.goal.scope))


def hold(targets: Iterable[Target], scope: str) -> tuple[Target, ...]:
    """The targets with everything in `scope` told to stay where it is."""
    return aim(targets, Target(scope, None))


def aim(targets: Iterable[Target], target: Target) -> tuple[Target, ...]:
    """The targets with one more, which replaces those that it covers."""
    return (*(old for old in targets if not covers(target.path, old.path)), target)


def fault(
    memory: Memory, now: float, process: ProcessMemory, reason: str, was: State, lost: bool = False
) -> list[Effect]:
    """Notes that `process`, which was in state `was`, is not well, and decides what follows."""
    if process.membership is Membership.OUT_BY_PERSON or (process.fault and process.fault == reason):
        return []
    known = bool(process.fault)
    process.fault, process.lost = reason, lost
    goal = memory.goal
    target = target_of(goal.goal, process.path) if goal is not None else None
    down = target is not None and target.state in DOWN
    if down and not lost:
        process.escalated = True
    short = shortfall(memory, process.role)
    if short is None or down:
        process.membership = Membership.OUT_BY_FAULT
    memory.tell(now, process.path, f"{'out: ' if process.membership is not Membership.IN else ''}{reason}")
    effects: list[Effect] = [] if known else [Say(Severity.ERROR, process.path, reason)]
    if short is None or down:
        return effects
    # A fault during the start fails the start, and the operator decides; once data is taken the policy does.
    if was in RUNNING_STATES and was is not State.STARTING and process.role.policy is Policy.STOP_RUN:
        memory.stop_run_wanted = memory.stop_run_wanted or reason
    if goal is not None and goal.active and covers(goal.goal.scope, process.path):
        fail(memory, now, reason)
    return effects


def heal(memory: Memory, now: float, process: ProcessMemory) -> None:
    """Takes a process back that is seen well where it should be."""
    if not process.fault or process.in_flight is not None or process.membership is Membership.OUT_BY_PERSON:
        return
    goal = memory.goal
    target = target_of(goal.goal, process.path) if goal is not None else None
    state = process_state(memory, process)
    if state in (State.UNKNOWN, State.ABSENT) and (target is None or target.state is not State.ABSENT):
        return
    if process.lost and not _well(process, state):
        process.lost = False  # it is heard again, and what is wrong now is another matter
        return
    arrived = target is not None and target.state is state
    held = target is None or target.state is None
    if _well(process, state) and (arrived or held or process.lost):
        memory.tell(now, process.path, f"well again: {state}")
        _clear(process)


def _well(process: ProcessMemory, state: State) -> bool:
    report = process.report
    return state in DOWN or report is None or (report.failure is None and report.health is not Health.ERROR)


def _clear(process: ProcessMemory) -> None:
    process.fault = ""
    process.lost = process.escalated = False
    if process.membership is Membership.OUT_BY_FAULT:
        process.membership = Membership.IN


def forgive(memory: Memory, scope: str) -> None:
    """A new upward command: every faulty member in scope gets another chance."""
    memory.stop_run_wanted = ""
    for process in memory.processes.values():
        if covers(scope, process.path):
            process.escalated = False
            if process.fault and not process.lost:
                _clear(process)
