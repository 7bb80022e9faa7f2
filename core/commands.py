"""Taking commands: a command is judged, recorded, and becomes the goal in force.

The same id a second time attaches to the command that has it, and gets its outcome again; with other content it is
refused. One command is in force: `go`, `stop` and `shutdown` take the place of another, which ends as superseded.
"""

from dataclasses import asdict

from .effects import Accept, Effect, Persist, Refuse
from .events import CommandGiven, MemberCommandGiven
from .faults import DOWN_STEPS, forgive
from .goals import DOWN, aim, own_target, scope_name, touches_scope
from .judging import default_limit_s, first_step, judge, longest_way, target_state, unheard, way
from .links import expect, hurry
from .memory import OUTCOMES_KEPT, GoalMemory, Memory, is_excluded
from .names import Command, Membership, State
from .outcomes import end_superseded, goal_record
from .paths import join
from .repairing import supersede
from .reports import Goal, Target
from .revision import adopt, untaken
from .runkeeping import stop_asked


def give(memory: Memory, now: float, event: CommandGiven) -> list[Effect]:
    """Accepts or refuses a command. A refusal changes nothing."""
    if event.command_id in memory.outcomes:
        return again(memory, event)
    refusal = judge(memory, now, event)
    if refusal is not None:
        return [refusal]
    ahead, state = way(memory, event), target_state(memory, event)
    unknown = unheard(memory, event)
    limit_s = event.timeout_s or default_limit_s(memory, now, longest_way(ahead, state) if unknown else ahead)
    by = f"{doing(event)} of {event.person}"
    effects = end_superseded(memory, now, by)
    if state in DOWN:
        supersede(memory, event.paths, by)
    previous = memory.goal.goal if memory.goal is not None else Goal()
    adopted = adopt(memory, event.selected, first_step(ahead))
    run = memory.run
    goal = Goal(
        command_id=event.command_id,
        scopes=event.paths,
        targets=aim(previous.targets, *(Target(path, state, event.step) for path in event.paths)),
        revision=memory.revision,
        # A run whose stop was asked for is over: what still takes data stops first, and a start gets a new number.
        run_number=run.number if run is not None and not run.stop_asked else 0,
        set_up=previous.set_up or Command.SETUP in ahead or any(link.attached for link in memory.links.values()),
        setting_up=Command.SETUP in ahead,
        person=event.person,
        doing=doing(event),
        excluded=previous.excluded,
        repairs=previous.repairs,
    )
    effects.append(record(memory, event, goal.doing))
    memory.tell(now, scope_name(goal), f"{goal.doing} commanded by {event.person}")
    if adopted:
        memory.tell(now, memory.path, f"configuration {memory.revision[:12]} taken")
    held = take(memory, now, goal, limit_s, ahead)
    held.terms = event.terms
    if state not in DOWN and event.step not in DOWN_STEPS:
        held.untaken = untaken(memory, event.selected, state)
    effects += stop_asked(memory, event)
    return [*effects, goal_record(memory), Accept(event.command_id, ahead, unheard=unknown)]


def record(memory: Memory, event: CommandGiven | MemberCommandGiven, what: str) -> Persist:
    """Remembers that a command was accepted, here and in the records."""
    memory.outcomes[event.command_id] = (event.digest, None)
    while len(memory.outcomes) > OUTCOMES_KEPT:
        ended = (known for known, (_, outcome) in memory.outcomes.items() if outcome is not None)
        memory.outcomes.pop(next(ended, event.command_id))
    data = {
        "id": event.command_id,
        "digest": event.digest,
        "person": event.person,
        "what": what,
        "path": " ".join(event.paths),
        "comment": event.terms.comment if isinstance(event, CommandGiven) else event.comment,
        "origin": asdict(event.origin),
    }
    return Persist("command_recorded", f"command/{event.command_id}", data)


def take(memory: Memory, now: float, goal: Goal, limit_s: float, ahead: tuple[Command, ...] = ()) -> GoalMemory:
    """Puts a goal in force; with no time given it is kept to, but no command waits for it."""
    held = GoalMemory(goal, now, now + limit_s, active=limit_s > 0, steps=ahead, step_since_s=now)
    memory.goal = held
    if not held.active:
        return held
    forgive(memory, held)
    target = own_target(goal)
    upward = target is not None and target.state is not None and target.state not in DOWN
    upward = upward and target is not None and target.step not in DOWN_STEPS
    for link in memory.links.values():
        path = join(memory.path, link.name)
        if not touches_scope(goal, path) or (link.vacant and is_excluded(memory, path)):
            continue
        if goal.setting_up:
            expect(link, now, 0.0)
        if goal.setting_up or upward:
            hurry(link, now)
            child = memory.children.get(link.name)
            if child is not None and child.membership is Membership.OUT_BY_FAULT:
                child.membership = Membership.IN
    return held


def doing(event: CommandGiven) -> str:
    """What a command does, for people: "configure", "go running"."""
    if event.step is not None:
        return event.step.value
    return f"go {'running' if event.target is State.TAKING else event.target}"


def again(memory: Memory, event: CommandGiven | MemberCommandGiven) -> list[Effect]:
    """A command id that is known: whoever asks is told what became of it, unless he asks for something else."""
    digest, answer = memory.outcomes[event.command_id]
    if digest and digest != event.digest:  # what was taken back from the records may come without its digest
        reason = f"command id {event.command_id} was used for another command; choose a new one"
        return [Refuse(event.command_id, "same-id", reason)]
    accept = Accept(event.command_id, (), attached=True)
    return [accept] if answer is None else [accept, answer]
