"""What becomes of a process that is not well: out or in, and what its role's policy asks for.

A faulty process goes out-by-fault when its role's quorum holds without it, and the step or run goes on degraded.
Otherwise it stays in, so that no parent can claim more than is so, and the step fails; on the way down the others are
brought down first. A process comes back by itself when it is seen well: at once where it should be, otherwise it is
*returning* and gets the steps that it lacks. A new command gives every faulty process that can take part in it another
chance.

One that hangs while it is out is ended after its role's `hung_timeout_s`, unless it is heard again before. It stays out
until somebody brings it back, as one that has died does. It is ended at once when others of its part of the data flow
are at their stop: what they have sent it is not confirmed, and no end of its data comes, as long as it holds its
connections; so each rank in turn would wait for it until its own limit, and be what the stop waits for.

A process whose node cannot be heard is *lost*: it may be taking data, so its policy does not stop the run. When the
node is heard again and it is dead, `review` asks the policy (docs/decisions/0008).
"""

from dataclasses import replace

from .aggregate import ceiling, claim
from .durations import duration_words
from .effects import Effect, Say
from .goals import DOWN, goes_down, hold, in_scope, is_addressed, target_of
from .memory import (
    DATA_STATES,
    RUNNING_STATES,
    GoalMemory,
    Memory,
    ProcessMemory,
    aim_of,
    has_arrived,
    process_state,
)
from .names import Command, Health, Membership, Policy, Severity, State
from .paths import join
from .quorum import shortfall
from .reports import Target
from .state import STEADY, sources

DOWN_STEPS = (Command.STOP, Command.UNCONFIGURE, Command.UNLOAD, Command.SHUTDOWN, Command.TEARDOWN)


def fail(memory: Memory, now: float, reason: str, kind: str = "failed") -> None:
    """The command in force will end without success: nothing more is commanded, each member stays where it is."""
    goal = memory.goal
    if goal is None or not goal.active:
        return
    if goal.failing:
        goal.further_failures += 1
        return
    goal.failing, goal.failing_kind, goal.failing_s = reason, kind, now
    goal.goal = replace(goal.goal, targets=hold(goal.goal))


def descends(was: State, target: Target) -> bool:
    """Whether a process in state `was` is on its way down to `target`."""
    if target.step is not None:
        return target.step in DOWN_STEPS
    return target.state is not None and was is not State.UNKNOWN and ceiling(was) > claim(target.state)


def fault(
    memory: Memory, now: float, process: ProcessMemory, reason: str, was: State, lost: bool = False
) -> list[Effect]:
    """Notes that `process`, which was in state `was`, is not well, and decides what follows."""
    if process.fault and process.fault == reason and not process.mending:
        return []
    mending = process.mending
    known = bool(process.fault) and not mending
    note(process, reason, lost)
    held = memory.goal
    target = target_of(held.goal, process.path) if held is not None else None
    if process.membership is Membership.OUT_BY_PERSON:
        memory.tell(now, process.path, reason)
        if held is not None and is_addressed(held.goal, process.path):
            fail(memory, now, reason)
        return []
    down = held is not None and goes_down(held.goal, target)
    short = shortfall(memory, process.role)
    gone = not lost and not down and _is_gone(process)
    if gone and process.role.policy is Policy.RESTART:
        again_s = _restart(process, now)
        if again_s is not None:
            process.membership = Membership.OUT_BY_FAULT  # unless its role falls short without it: review
            times = f"restart {len(process.restarts)} of at most {process.role.restart.most}"
            text = f"{reason}; {times} {f'in {duration_words(again_s)}' if again_s else 'at once'}"
            memory.tell(now, process.path, f"out: {text}")
            return [Say(Severity.WARNING, process.path, text)]
        reason = process.fault = f"{reason}; given up after {process.role.restart.most} restarts"
    if gone and process.role.policy is Policy.EXCLUDE_NODE:
        _withdraw_node(memory, now, process)
    if short is None or down:
        process.membership = Membership.OUT_BY_FAULT
    elif mending:
        process.membership = Membership.IN  # it did not come back, and without it nothing may be claimed
    memory.tell(now, process.path, f"{'out: ' if process.membership is not Membership.IN else ''}{reason}")
    effects: list[Effect] = [] if known else [Say(Severity.ERROR, process.path, reason)]
    if process.membership is Membership.OUT_BY_FAULT:
        return effects
    # A fault during the start fails the start, and the operator decides; once data is taken the policy does.
    was_in_run = was in RUNNING_STATES and was is not State.STARTING
    if was_in_run and not lost and process.role.policy is not Policy.IGNORE and not takes_data(process):
        memory.stop_run_wanted = memory.stop_run_wanted or reason
    if held is not None and held.active and in_scope(held.goal, process.path):
        named = f"{short}: {reason}" if short is not None else reason
        if target is not None and descends(was, target):
            held.casualty = held.casualty or named
        else:
            fail(memory, now, named)
    return effects


def _is_gone(process: ProcessMemory) -> bool:
    """Whether a process is dead, or as good as dead: hung, or nobody knows where. One that refuses a step is not."""
    report = process.report
    return report is None or report.state in (State.INITIAL, State.UNKNOWN) or report.health is Health.ERROR


def _withdraw_node(memory: Memory, now: float, first: ProcessMemory) -> None:
    """Takes the whole node out and down, as the policy of the process's role wants."""
    memory.tell(now, join(memory.path, first.spec.node), f"out: {first.fault}")
    for process in memory.processes.values():
        if process.spec.node != first.spec.node or process.membership is Membership.OUT_BY_PERSON:
            continue
        if process is not first:
            note(process, f"{process.spec.slot} is out with its node: {first.fault}")
            process.cause = first.path
        process.withdrawn = True
        if shortfall(memory, process.role) is None:
            process.membership = Membership.OUT_BY_FAULT


def _restart(process: ProcessMemory, now: float) -> float | None:
    """Plans a restart by the role's policy, and says in how many seconds; None: it has died too often."""
    policy = process.role.restart
    again_s = policy.again_in_s(process.restarts, now)
    if again_s is not None:
        process.restarts = (*policy.recent(process.restarts, now), now + again_s)
        process.restart_at_s = now + again_s
    return again_s


def note(process: ProcessMemory, reason: str, lost: bool = False) -> None:
    """Writes down why a process is not well, and what it said of itself then: another word may end it."""
    report = process.report
    process.fault, process.lost = reason, lost
    process.renewing = process.returning = process.withdrawn = process.restarting = False
    process.restart_at_s, process.cause = None, ""
    process.fault_seen = (report.state, report.health) if report is not None else None


def takes_data(process: ProcessMemory) -> bool:
    """Whether a process is in a run and well in it, by its own word."""
    report = process.report
    return report is not None and report.state in DATA_STATES and report.health is not Health.ERROR


def review(memory: Memory, now: float) -> list[Effect]:
    """Looks at the faults there are once more, as what follows from them depends on the others too.

    One that is on its way back is in, so that nobody claims more than is so, if its role falls short without it. One
    that was kept in goes out when its role's quorum holds without it, because others have come back; one that was out
    counts again when it does not hold any more, because a person has excluded another. One that is still in is one
    whose role is short: where it should be taking data, its policy asks for the run's stop, also when all that happened
    while the controller was away and not under its eyes. One that hangs is ended when it has been out for long enough.
    """
    held = memory.goal
    settled = held is not None and not held.active and held.ok
    known: dict[str, bool] = {}  # which roles are short; whether faulty ones are in or out does not change that
    for process in memory.processes.values():
        if not process.fault or process.membership is Membership.OUT_BY_PERSON:
            continue
        if process.role.name not in known:
            known[process.role.name] = shortfall(memory, process.role) is not None
        short = known[process.role.name]
        if process.mending:
            process.membership = Membership.IN if short else Membership.OUT_BY_FAULT
            continue
        if process.membership is Membership.OUT_BY_FAULT:
            if not short or not _is_missed(memory, process):
                continue
            process.membership = Membership.IN
            memory.tell(now, process.path, f"counts again, for its role falls short without it: {process.fault}")
        if not short:
            process.membership = Membership.OUT_BY_FAULT
            memory.tell(now, process.path, "out: the quorum of its role holds without it")
        elif held is not None and settled and not process.lost and process.role.policy is not Policy.IGNORE:
            target = target_of(held.goal, process.path)
            if target is not None and target.state in DATA_STATES and not takes_data(process):
                memory.stop_run_wanted = memory.stop_run_wanted or process.fault
    return end_hung(memory, now)


def end_hung(memory: Memory, now: float) -> list[Effect]:
    """Ends those that hang, are out and have been for long enough; at once those that the stop of others waits for."""
    ill = [process for process in memory.processes.values() if process.fault or process.end_at_s is not None]
    return [effect for process in ill for effect in _end_hung(memory, now, process)]


def _end_hung(memory: Memory, now: float, process: ProcessMemory) -> list[Effect]:
    """Ends a process that hangs and is out, once its time to come back by itself is over.

    Nothing of it may go on holding memory, processors and sockets of a node on which others work. Its log is kept.
    """
    patience_s = process.role.hung_timeout_s
    if not patience_s or not _hangs(memory, process):
        process.end_at_s = None
        return []
    why = f"it was not heard again within {duration_words(patience_s)}"
    if _is_drained_for(memory, process):
        why, process.end_at_s = "the stop of the others was waiting for it", now
    elif process.membership is not Membership.OUT_BY_FAULT:
        process.end_at_s = None
        return []
    elif process.end_at_s is None:
        process.end_at_s = now + patience_s
    if now < process.end_at_s:
        return []
    process.end_at_s = None
    note(process, f"{process.fault}; ended, for {why}")
    process.withdrawn = True
    memory.tell(now, process.path, f"is being ended: {why}")
    return [Say(Severity.WARNING, process.path, process.fault)]


def _is_drained_for(memory: Memory, process: ProcessMemory) -> bool:
    """Whether others that data connects with a process, in whatever step of the way, are at their stop."""
    role = process.role
    return any(
        other.in_flight is not None
        and other.in_flight.order.command is Command.STOP
        and other.role.component == role.component
        and other.role.rank != role.rank
        for other in memory.processes.values()
    )


def _hangs(memory: Memory, process: ProcessMemory) -> bool:
    """Whether a process hangs, by its agent's word, and nobody else is about to end it.

    While its keeper is silent its agent cannot tell, and nobody could end it.
    """
    held, link, report = memory.goal, memory.links[process.spec.node], process.report
    if held is None or report is None or process.membership is Membership.OUT_BY_PERSON:
        return False
    if process.in_flight is not None or process.mending or process.withdrawn or not _is_gone(process):
        return False
    heard = link.enrolled and not link.keeper_silent and not process.lost
    tried = process.unended == held.goal.command_id or goes_down(held.goal, target_of(held.goal, process.path))
    return heard and bool(report.instance) and bool(process.fault) and not tried


def _is_missed(memory: Memory, process: ProcessMemory) -> bool:
    """Whether one that is out by fault leaves its role short unseen: it is not to go down, and no other stands for it.

    One of its role that is kept in, or on its way back, shows already that the quorum does not hold.
    """
    held = memory.goal
    if held is None or goes_down(held.goal, target_of(held.goal, process.path)):
        return False
    others = (other for other in memory.processes.values() if other.role.name == process.role.name and other.fault)
    return not any(other.mending or other.membership is Membership.IN for other in others)


def heal(memory: Memory, now: float, process: ProcessMemory) -> None:
    """Takes a process back that is seen well, or begins to bring it to where it should be."""
    if not process.fault or process.in_flight is not None:
        return
    state = process_state(memory, process)
    held = memory.goal
    if process.renewing:
        if state not in DOWN:
            return
        process.renewing, process.returning = False, True
    target = aim_of(process, held.goal) if held is not None else None
    well = _is_well_again(process, state)
    if memory.links[process.spec.node].enrolled:
        process.lost = False  # it is heard again; what may be wrong now is another matter
    down = held is not None and goes_down(held.goal, target)
    if down:
        well = state in DOWN  # what it died of is history, and as long as it is there the ladder has it
    elif process.withdrawn:
        well = False
    if not well:
        return
    there = held is None or target is None or target.state is None or has_arrived(memory, process, held.goal, target)
    if there or down or process.membership is Membership.OUT_BY_PERSON:
        _take_back(memory, now, process, state)
    elif not process.returning:
        process.returning = True
        memory.tell(now, process.path, f"well again, but behind: {state}")


def _is_well_again(process: ProcessMemory, state: State) -> bool:
    """Whether its last word ends the fault: in a steady state, nothing wrong, and not what it said at the fault."""
    report = process.report
    if report is None:
        return process.lost and state is State.INITIAL  # its node is heard again, and nothing is there
    if state not in STEADY or report.health is Health.ERROR:
        return False
    return process.lost or process.returning or (report.state, report.health) != process.fault_seen


def _take_back(memory: Memory, now: float, process: ProcessMemory, state: State) -> None:
    memory.tell(now, process.path, f"well again: {state}")
    clear(process)


def clear(process: ProcessMemory) -> None:
    """Forgets the fault."""
    process.fault, process.fault_seen = "", None
    process.lost = process.renewing = process.returning = process.withdrawn = process.restarting = False
    process.rejoin = process.restart_at_s = None
    if process.membership is Membership.OUT_BY_FAULT:
        process.membership = Membership.IN


def forgive(memory: Memory, held: GoalMemory) -> None:
    """A new command: every faulty process in its scope that can take part in it gets another chance."""
    memory.stop_run_wanted = ""
    for process in memory.processes.values():
        if (
            not process.fault
            or process.renewing
            or process.restart_at_s is not None
            or not is_addressed(held.goal, process.path)
        ):
            continue
        target = target_of(held.goal, process.path)
        if target is None or target.state is None:
            continue
        if process.membership is Membership.OUT_BY_PERSON:
            if memory.links[process.spec.node].enrolled and can_take_part(target, process_state(memory, process)):
                clear(process)
        elif process.lost or not memory.links[process.spec.node].enrolled:
            # Waiting for it once more makes sense only where the command cannot succeed without it.
            if goes_down(held.goal, target):
                process.membership = Membership.OUT_BY_FAULT  # as if it were lost now: it is unaccounted for
            elif shortfall(memory, process.role) is not None:
                process.membership = Membership.IN  # back from a way down: without it nothing above may be claimed
            goes_up = held.goal.setting_up or (target.step is None and target.state not in DOWN)
            if goes_up and shortfall(memory, process.role) is not None:
                clear(process)
        elif can_take_part(target, process_state(memory, process)):
            clear(process)


def can_take_part(target: Target, state: State) -> bool:
    """Whether a process in `state` that was not well can be brought to its target: from anywhere on the way up."""
    if target.step is None:
        return target.state is not None and target.state not in DOWN
    return state in sources(target.step)
