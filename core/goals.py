"""What a goal says of a member: where it is to be, whether the goal's command is about it, whether it is out of it.

A command has one or several members as its scope. A member that a person has excluded is left alone by all commands but
those that name it, or something in it, and those that take it down: shutdown reaches every process ever started.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from .names import Command, Repairing, State
from .paths import FARM, covers, lies_in, meet
from .reports import Exclusion, Goal, Repair, Target

DOWN = (State.INITIAL, State.ABSENT)  # no process of a member here exists
SCOPES_NAMED = 5  # members of a goal that are told by name


def in_scope(goal: Goal, path: str) -> bool:
    """Whether the member at `path` is what the goal's command is about, or lies in it."""
    return lies_in(path, goal.scopes)


def touches_scope(goal: Goal, path: str) -> bool:
    """Whether the member at `path` is what the goal's command is about, lies in it, or has it below itself."""
    return any(meet(scope, path) for scope in goal.scopes)


def scope_name(goal: Goal) -> str:
    """The scope in a word, as a member of the story; several have what they share."""
    return goal.scopes[0] if len(goal.scopes) == 1 else FARM


def in_words(goal: Goal) -> str:
    """The goal for people: what its command asked for and, unless that was the whole farm, of whom."""
    if not goal.command_id:
        return "no goal"
    named = [scope for scope in goal.scopes if scope != FARM]
    more = f" and {len(named) - SCOPES_NAMED} more" if named[SCOPES_NAMED:] else ""
    return f"goal {goal.doing}" + (f" for {', '.join(named[:SCOPES_NAMED])}{more}" if named else "")


def exclusion_of(goal: Goal, path: str) -> Exclusion | None:
    """By which exclusion the member at `path` is out; None when it is in."""
    return next((out for out in goal.excluded if covers(out.path, path)), None)


def is_addressed(goal: Goal, path: str) -> bool:
    """Whether the goal's command is about the member at `path`: an excluded one has to be named."""
    out = exclusion_of(goal, path) if goal.excluded else None
    if out is None:
        return in_scope(goal, path)
    return any(covers(out.path, scope) and covers(scope, path) for scope in goal.scopes)


def target_of(goal: Goal, path: str) -> Target | None:
    """Where the member at `path` is to be: the last target that covers it; None when nothing was ever said."""
    out = exclusion_of(goal, path) if goal.excluded else None
    for target in reversed(goal.targets):
        if target.path and not covers(target.path, path):
            continue
        if out is None or covers(out.path, target.path) or target.state in DOWN:
            return target
    return None


def own_target(goal: Goal) -> Target | None:
    """What a goal's command asks of the members in its scope; None when it says nothing of them."""
    return target_of(goal, goal.scopes[0]) if goal.scopes else None


def goes_down(goal: Goal, target: Target | None) -> bool:
    """Whether a member is to end up without processes; a command that sets up reaches `initial` from below."""
    return target is not None and target.state in DOWN and not goal.setting_up


def aim(targets: Iterable[Target], *more: Target) -> tuple[Target, ...]:
    """The targets with more of them, which replace those that they cover."""
    kept = (old for old in targets if not lies_in(old.path, (target.path for target in more)))
    return (*kept, *more)


def hold(goal: Goal) -> tuple[Target, ...]:
    """The targets with everything in the scope told to stay where it is."""
    return aim(goal.targets, *(Target(scope, None) for scope in goal.scopes))


def part_for(goal: Goal, path: str) -> Goal:
    """What a goal says of the member at `path` and of all below it: what a controller there has to know.

    The scopes that are its own come first: what the command asks of them is what it asks there (`own_target`).
    """
    return Goal(
        command_id=goal.command_id,
        scopes=tuple(sorted(goal.scopes, key=lambda scope: not meet(scope, path))),
        targets=tuple(target for target in goal.targets if meet(target.path, path)),
        revision=goal.revision,
        run_number=goal.run_number,
        setting_up=goal.setting_up,
        person=goal.person,
        doing=goal.doing,
        excluded=tuple(out for out in goal.excluded if meet(out.path, path)),
        repairs=tuple(repair for repair in goal.repairs if any(meet(one, path) for one in repair.paths)),
    )


def to_document(goal: Goal) -> dict[str, Any]:
    """A goal as the records keep it; `from_document` reads it, and what older versions wrote."""
    return {
        "command_id": goal.command_id,
        "scopes": list(goal.scopes),
        "targets": [{"path": target.path, "state": target.state, "step": target.step} for target in goal.targets],
        "revision": goal.revision,
        "run_number": goal.run_number,
        "set_up": goal.set_up,
        "setting_up": goal.setting_up,
        "person": goal.person,
        "doing": goal.doing,
        "excluded": [{"path": out.path, "why": out.why, "gone": out.gone} for out in goal.excluded],
        "repairs": [
            {
                "id": repair.id,
                "kind": repair.kind,
                "paths": list(repair.paths),
                "person": repair.person,
                "limit_s": repair.limit_s,
                "doing": repair.doing,
            }
            for repair in goal.repairs
        ],
    }


def from_document(document: Mapping[str, Any]) -> Goal:
    """The goal of a record."""
    older = [{"path": path, "why": "excluded"} for path in document.get("out_by_person", ())]
    return Goal(
        command_id=document["command_id"],
        scopes=tuple(document.get("scopes", (document.get("scope", FARM),))),
        targets=tuple(_target(target) for target in document["targets"]),
        revision=document["revision"],
        run_number=document["run_number"],
        set_up=document["set_up"],
        setting_up=document.get("setting_up", False),
        person=document["person"],
        doing=document["doing"],
        excluded=tuple(
            Exclusion(out["path"], out["why"], out.get("gone", False)) for out in document.get("excluded", older)
        ),
        repairs=tuple(
            Repair(
                repair["id"],
                Repairing(repair["kind"]),
                tuple(repair["paths"]),
                repair["person"],
                repair["limit_s"],
                doing=repair.get("doing", repair["kind"]),
            )
            for repair in document.get("repairs", ())
        ),
    )


def _target(document: Mapping[str, Any]) -> Target:
    state, step = document["state"], document["step"]
    return Target(
        document["path"], State(state) if state is not None else None, Command(step) if step is not None else None
    )
