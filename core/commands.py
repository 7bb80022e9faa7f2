"""Commands: judging them when they come, knowing what is still waited for, and giving each exactly one outcome."""

from collections.abc import Iterator
from dataclasses import replace

from .aggregate import ceiling, claim, fold_state
from .effects import Accept, Answer, Effect, Persist, Refuse
from .events import CancelGiven, CommandGiven
from .faults import aim, fail, forgive, hold
from .links import expect, overdue
from .memory import (
    OUTCOMES_KEPT,
    RUNNING_STATES,
    ChildMemory,
    GoalMemory,
    Memory,
    ProcessMemory,
    child_state,
    command_under_way,
    included,
    leaf_states,
    process_state,
    target_of,
)
from .names import Command, Membership, State
from .paths import covers, join, nearest
from .plan import StepLimits
from .quorum import shortfalls
from .reports import Goal, Target
from .revision import adopt, known_paths
from .state import LADDER, ROWS, STEADY, Refusal, move, possible, sources, steps

_UP_STEPS = (Command.SETUP, Command.BOOT, Command.LOAD, Command.CONFIGURE, Command.START, Command.RESUME)
_ORDERED = (Command.START, Command.STOP, Command.PAUSE, Command.RESUME)
_SUPERSEDING = (Command.STOP, Command.SHUTDOWN)


# ---- accepting ------------------------------------------------------------------------------------------------------


def give(memory: Memory, now: float, event: CommandGiven) -> list[Effect]:
    """Accepts or refuses a command. A refusal changes nothing."""
    if event.command_id in memory.outcomes:
        return _again(memory, event)
    refusal = _judge(memory, now, event)
    if refusal is not None:
        return [refusal]
    effects: list[Effect] = []
    if memory.goal is not None and memory.goal.active:
        effects += end(memory, now, "superseded", f"superseded by {doing(event)} of {event.person}")
    target = event.target if event.target is not None else ROWS[_step(event)].to
    way = _way(memory, event)
    previous = memory.goal.goal if memory.goal is not None else Goal()
    adopted = adopt(memory, event.selected, way[0] if way else None)
    setting_up = Command.SETUP in way
    goal = Goal(
        command_id=event.command_id,
        scope=event.path,
        targets=aim(previous.targets, Target(event.path, target, event.step)),
        revision=memory.revision,
        run_number=memory.run.number if memory.run is not None else 0,
        set_up=previous.set_up or setting_up,
        setting_up=setting_up,
        person=event.person,
        doing=doing(event),
        out_by_person=previous.out_by_person,
    )
    limit_s = event.timeout_s or default_limit_s(memory, way)
    effects.append(
        Persist(
            "command_recorded",
            f"command/{event.command_id}",
            {
                "id": event.command_id,
                "digest": event.digest,
                "person": event.person,
                "what": goal.doing,
                "path": event.path,
            },
        )
    )
    memory.outcomes[event.command_id] = (event.digest, None)
    while len(memory.outcomes) > OUTCOMES_KEPT:
        memory.outcomes.pop(next(iter(memory.outcomes)))
    memory.tell(now, event.path, f"{goal.doing} commanded by {event.person}")
    if adopted:
        memory.tell(now, memory.path, f"configuration {memory.revision[:12]} taken")
    take(memory, now, goal, limit_s, way)
    assert memory.goal is not None
    memory.goal.comment, memory.goal.run_type, memory.goal.run_mode = event.comment, event.run_type, event.run_mode
    return [*effects, goal_record(memory), Accept(event.command_id, way)]


def take(memory: Memory, now: float, goal: Goal, limit_s: float, way: tuple[Command, ...] = ()) -> None:
    """Puts a goal in force; with no time given it is kept to, but no command waits for it."""
    memory.goal = GoalMemory(goal, now, now + limit_s, active=limit_s > 0, steps=way, step_since_s=now)
    target = target_of(goal, goal.scope) or next(iter(goal.targets), None)
    if limit_s > 0 and target is not None and target.state is not None:
        upward = target.state not in (State.INITIAL, State.ABSENT) if target.step is None else target.step in _UP_STEPS
        if upward and (target.step in (None, Command.BOOT, Command.SETUP)):
            forgive(memory, goal.scope)
        memory.stop_run_wanted = ""
    if goal.setting_up:
        for link in memory.links.values():
            if covers(goal.scope, join(memory.path, link.name)) or covers(join(memory.path, link.name), goal.scope):
                expect(link, now, 0.0)


def doing(event: CommandGiven) -> str:
    """What a command does, for people: "configure", "go running"."""
    if event.step is not None:
        return event.step.value
    return f"go {'running' if event.target is State.TAKING else event.target}"


def _step(event: CommandGiven) -> Command:
    assert event.step is not None  # a command is a step or has a target
    return event.step


def _again(memory: Memory, event: CommandGiven) -> list[Effect]:
    digest, answer = memory.outcomes[event.command_id]
    if digest != event.digest:
        reason = f"command id {event.command_id} was used for another command; choose a new one"
        return [Refuse(event.command_id, "same-id", reason)]
    accept = Accept(event.command_id, (), attached=True)
    return [accept] if answer is None else [accept, answer]


def _judge(memory: Memory, now: float, event: CommandGiven) -> Refuse | None:
    goal = memory.goal
    superseding = event.target is not None or event.step in _SUPERSEDING
    if goal is not None and goal.active and not superseding:
        reason = (
            f"{goal.goal.doing} of {goal.goal.person} has been under way for {now - goal.since_s:.0f} s; "
            f"wait for it, or cancel it: grange cancel"
        )
        return Refuse(event.command_id, "busy", reason, ("stop", "shutdown", "cancel", "go"))
    if memory.farm is None and event.selected is None and memory.root:
        reason = "there is no configuration yet: grange config import FILE"
        return Refuse(event.command_id, "revision", reason)
    paths = known_paths(memory, event.selected)
    if event.path not in paths:
        close = nearest(event.path, paths)
        return Refuse(event.command_id, "unknown-member", f"there is no member {event.path!r}", (), close)
    if event.step is not None:
        refusal = _judge_step(memory, event.path, event.step, goal is not None and goal.active)
        if refusal is not None:
            return Refuse(event.command_id, "state", refusal.reason, tuple(map(str, refusal.possible)))
    way = _way(memory, event)
    trouble = adopt(memory, event.selected, way[0] if way else None, only_try=True)
    return Refuse(event.command_id, "revision", trouble) if isinstance(trouble, str) and trouble else None


def _judge_step(memory: Memory, scope: str, step: Command, superseding: bool) -> Refusal | None:
    """Whether any member in scope can take the step; the reason when none can."""
    leaves = leaf_states(memory, scope) or {State.ABSENT}
    if step is Command.SHUTDOWN or leaves & sources(step):
        return None
    if superseding and step is Command.STOP and leaves & RUNNING_STATES:
        return None
    state = scope_state(memory, scope)
    verdict = move(state, step)
    if isinstance(verdict, Refusal):
        return verdict
    return Refusal(f"{step} is not possible: no member of {scope or memory.name} is in a state for it", possible(state))


def scope_state(memory: Memory, scope: str) -> State:
    """The state of the member at `scope`, as far down as this controller sees."""
    if covers(scope, memory.path):
        states = included(memory)
        return fold_state(states, command_under_way(memory, states))
    for child in memory.children.values():
        if child.path == scope:
            return child_state(memory, child)
    return fold_state(leaf_states(memory, scope))


def _way(memory: Memory, event: CommandGiven) -> tuple[Command, ...]:
    """The steps that will be taken, as far as can be told from here."""
    if event.step is not None:
        return (event.step,)
    assert event.target is not None
    leaves = {state for state in leaf_states(memory, event.path) or {State.ABSENT} if state in STEADY}
    if not leaves:
        return ()
    down = all(LADDER.index(state) >= LADDER.index(event.target) for state in leaves)
    start = max(leaves, key=claim) if down else min(leaves, key=claim)
    return steps(start, event.target)


def default_limit_s(memory: Memory, way: tuple[Command, ...]) -> float:
    """The time that a command gets when nobody says: the sum of its steps' longest limits, rank by rank where ordered."""
    roles = [role for sub_farm in memory.farm.sub_farms for role in sub_farm.roles] if memory.farm is not None else []
    total_s = 10.0
    for step in way or (Command.SHUTDOWN,):
        if step in (Command.SETUP, Command.TEARDOWN):
            total_s += 2 * memory.limits.enrol_wait_s
            continue
        limits = [float(getattr(role.limits, f"{step}_timeout_s")) for role in roles]
        limits = limits or [float(getattr(StepLimits(), f"{step}_timeout_s"))]
        ranks = len({role.rank for role in roles}) if step in _ORDERED else 1
        total_s += max(limits) * max(1, ranks)
    return total_s


# ---- waiting --------------------------------------------------------------------------------------------------------


def waiting(memory: Memory) -> Iterator[tuple[str, float]]:
    """The members that the command in force still waits for, and since when (monotonic seconds)."""
    held = memory.goal
    assert held is not None
    goal = held.goal
    for process in memory.processes.values():
        if covers(goal.scope, process.path) and _process_pending(memory, process, target_of(goal, process.path)):
            yield process.path, process.in_flight.sent_s if process.in_flight else held.since_s
    for link in memory.links.values():
        path = join(memory.path, link.name)
        target = target_of(goal, path)
        if target is None or target.state is None or not covers(goal.scope, path):
            continue
        if target.state is State.ABSENT:
            if link.expected:
                yield path, held.since_s
        elif link.expected and not link.enrolled and link.name not in memory.children and not link.trouble:
            yield path, held.since_s
    for child in memory.children.values():
        if covers(goal.scope, child.path) or covers(child.path, goal.scope):
            if child.membership is Membership.IN and not _child_settled(memory, child):
                yield child.path, held.since_s


def _process_pending(memory: Memory, process: ProcessMemory, target: Target | None) -> bool:
    if process.in_flight is not None:
        return True
    if target is None or target.state is None or process.membership is Membership.OUT_BY_PERSON:
        return False
    if process.fault:
        return process.escalated and process_state(memory, process) not in (State.INITIAL, State.ABSENT)
    state = process_state(memory, process)
    if target.step is None:
        return state is not target.state
    if target.step is Command.SHUTDOWN:
        return state not in (State.INITIAL, State.ABSENT)
    return state in sources(target.step) or state not in STEADY


def _child_settled(memory: Memory, child: ChildMemory) -> bool:
    goal = memory.goal
    assert goal is not None
    target = target_of(goal.goal, child.path)
    link = memory.links[child.name]
    if target is not None and target.state is State.ABSENT:
        return not link.expected
    if not link.expected:
        return True
    report, sent = child.report, child.goal_sent
    if report is None or sent is None or not link.enrolled:
        return False
    answered = report.command_id == goal.goal.command_id and report.done
    return answered and sent.run_number == goal.goal.run_number and sent.targets == _sent_targets(goal.goal, child)


def _sent_targets(goal: Goal, child: ChildMemory) -> tuple[Target, ...]:
    return tuple(
        target for target in goal.targets if covers(target.path, child.path) or covers(child.path, target.path)
    )


# ---- ending ---------------------------------------------------------------------------------------------------------


def finish(memory: Memory, now: float) -> list[Effect]:
    """Ends the command in force when there is nothing more to wait for."""
    goal = memory.goal
    if goal is None or not goal.active:
        return []
    _time_steps(memory, now)
    if not goal.failing:
        for child in memory.children.values():
            report = child.report
            settled = report is not None and report.command_id == goal.goal.command_id and report.done
            if settled and report is not None and not report.ok and child.membership is Membership.IN:
                fail(memory, now, f"sub-farm {child.name}: {report.reason}")
    still = next(waiting(memory), None)
    if goal.failing:
        if still is None or now >= goal.failing_s + memory.limits.settle_s:
            more = f" (and {goal.further_failures} more)" if goal.further_failures else ""
            return end(memory, now, goal.failing_kind, goal.failing + more)
        return []
    if still is not None:
        if now >= goal.deadline_s:
            path, _ = max(waiting(memory), key=lambda waited: now - waited[1])
            fail(memory, now, f"not done within {goal.deadline_s - goal.since_s:.0f} s: still waiting for {path}")
        return []
    return _conclude(memory, now)


def _conclude(memory: Memory, now: float) -> list[Effect]:
    """Nothing is waited for: did enough members get where they should?"""
    goal = memory.goal
    assert goal is not None
    target = next((target for target in goal.goal.targets if covers(goal.goal.scope, target.path)), None)
    if target is None or target.state is None:
        return end(memory, now, "done", "")
    aimed, step = target.state, target.step
    apart = [
        process
        for process in memory.processes.values()
        if covers(goal.goal.scope, process.path) and process_state(memory, process) is not aimed
    ]
    notes = [
        f"{process.path} took no part: it is {process_state(memory, process)}"
        + (f" ({process.fault})" if process.fault else "")
        for process in apart
    ]
    for child in memory.children.values():
        if child.report is not None and child.report.command_id == goal.goal.command_id:
            notes += child.report.notes
        if child.membership is Membership.OUT_BY_FAULT:
            notes.append(f"{child.path} is unaccounted for: its part is carried out when it dials in")
    goal.notes = tuple(notes)
    if step in _UP_STEPS or (step is None and aimed not in (State.INITIAL, State.ABSENT)):
        short = [
            found
            for found in shortfalls(memory, lambda memory, process: process_state(memory, process) is aimed)
            if any(covers(goal.goal.scope, process.path) for process in found.missing)
        ]
        if short:
            first = short[0].missing[0]
            why = first.fault or f"{first.path} is {process_state(memory, first)}"
            if step is not None:
                verdict = move(process_state(memory, first), step)
                why = first.fault or (verdict.reason if isinstance(verdict, Refusal) else why)
            return end(memory, now, "failed", f"{short[0]}: {first.path}: {why}")
    elif step is not None and step is not Command.SHUTDOWN and apart and len(apart) == len(memory.processes):
        verdict = move(process_state(memory, apart[0]), step)
        if isinstance(verdict, Refusal):
            return end(memory, now, "failed", f"no member took part: {apart[0].path}: {verdict.reason}")
    return end(memory, now, "done", "")


def end(memory: Memory, now: float, kind: str, reason: str) -> list[Effect]:
    """Gives the command in force its one outcome."""
    goal = memory.goal
    assert goal is not None
    if kind == "done":
        _time_steps(memory, now, last=True)
    goal.active = False
    goal.ok = kind == "done"
    duration_s = now - goal.since_s
    if not goal.ok:
        goal.goal = replace(goal.goal, targets=hold(goal.goal.targets, goal.goal.scope))
        verb = "failed" if kind == "failed" else f"was {kind}"
        reason = f"{goal.goal.doing} {verb} after {duration_s:.1f} s: {reason}"
    goal.reason = reason
    if (
        memory.root
        and memory.goal is not None
        and State.ABSENT in {target.state for target in goal.goal.targets if target.path == memory.path}
    ):
        goal.goal = replace(goal.goal, set_up=any(link.expected for link in memory.links.values()))
    memory.tell(now, goal.goal.scope, reason or f"{goal.goal.doing} done in {duration_s:.2f} s")
    if not memory.root:
        return []
    answer = Answer(
        command_id=goal.goal.command_id,
        kind=kind,
        reason=reason,
        state=scope_state(memory, goal.goal.scope),
        run_number=goal.goal.run_number,
        duration_s=duration_s,
        notes=goal.notes,
        steps=tuple(goal.step_times),
    )
    known = memory.outcomes.get(answer.command_id)
    memory.outcomes[answer.command_id] = (known[0] if known else "", answer)
    ended = Persist(
        "command_ended",
        f"command-ended/{answer.command_id}",
        {"id": answer.command_id, "outcome": kind, "reason": reason},
    )
    return [goal_record(memory), ended, answer]


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
    leaves = leaf_states(memory, goal.goal.scope) - {State.UNKNOWN}
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


def goal_record(memory: Memory) -> Persist:
    """The goal as the database keeps it; the newest replaces the one before."""
    held = memory.goal
    assert held is not None
    goal = held.goal
    memory.sequence += 1
    return Persist(
        "goal_set",
        f"goal/{memory.fence[-1] if memory.fence else 0}/{memory.sequence}",
        {
            "command_id": goal.command_id,
            "scope": goal.scope,
            "targets": [{"path": target.path, "state": target.state, "step": target.step} for target in goal.targets],
            "revision": goal.revision,
            "run_number": goal.run_number,
            "set_up": goal.set_up,
            "person": goal.person,
            "doing": goal.doing,
            "out_by_person": list(goal.out_by_person),
            "active": held.active,
            "remaining_s": held.deadline_s - held.since_s if held.active else 0.0,
        },
    )


def watch_links(memory: Memory, now: float) -> list[str]:
    """Names of links whose child has been missing for too long."""
    return [link.name for link in memory.links.values() if overdue(memory, link, now)]
