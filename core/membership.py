"""Who counts, and what a person does with single members: exclude, include, restart, recover.

None of them waits for the command under way, and none ends it: a member that keeps everybody waiting is taken out, and
the others go on. An exclusion is part of the goal, so it is kept, handed down and taken back like the goal itself. An
excluded member is left as it is: commands pass it by, unless they name it or take it down, and no state, health or
quorum counts it. It is watched as before, and leaves a run with the others at the latest. Who is included again is
brought to where the others are (`repairing.py`).
"""

from dataclasses import replace

from . import repairing
from .commands import again, record, take
from .effects import Accept, Effect, Refuse, Say
from .events import MemberCommandGiven
from .goals import DOWN, exclusion_of, goes_down, target_of
from .judging import default_limit_s, judge_paths
from .links import give_up
from .memory import ChildMemory, Memory, leaf_states
from .names import Command, MemberCommand, Membership, Repairing, Severity
from .outcomes import NOTES_KEPT, answer, goal_record
from .paths import covers, join, lies_in
from .quorum import short_by_exclusion
from .reports import Exclusion, Goal, Repair
from .revision import is_process

_ROUND = (Command.SHUTDOWN, Command.BOOT, Command.LOAD, Command.CONFIGURE, Command.START)  # the longest way back
_REPAIRS = {
    MemberCommand.INCLUDE: Repairing.RECOVER,
    MemberCommand.RESTART: Repairing.RESTART,
    MemberCommand.RECOVER: Repairing.RECOVER,
}


def give(memory: Memory, now: float, event: MemberCommandGiven) -> list[Effect]:
    """Accepts or refuses what a person wants done with members. A refusal changes nothing."""
    if event.command_id in memory.outcomes:
        return again(memory, event)
    refusal = _judge(memory, event)
    if refusal is not None:
        return [refusal]
    held = memory.goal or take(memory, now, Goal(revision=memory.revision), 0.0)
    effects: list[Effect] = [record(memory, event, event.command.value), Accept(event.command_id, ())]
    for path in event.paths:
        comment = f": {event.comment}" if event.comment else ""
        memory.tell(now, path, f"{event.command} commanded by {event.person}{comment}")
    if event.command is MemberCommand.EXCLUDE:
        held.goal = replace(held.goal, excluded=_with(held.goal, event))
        apply(memory, now)
        if memory.run is not None:
            memory.run.degraded = True
        say = [Say(Severity.WARNING, path, _why(event)) for path in event.paths]
        specs = memory.farm.sub_farms if memory.farm is not None else (memory.spec,) if memory.spec is not None else ()
        notes = tuple(short_by_exclusion(held.goal, specs, event.paths))[:NOTES_KEPT]
        return [
            *effects,
            *say,
            goal_record(memory),
            *answer(memory, event.command_id, "done", "", event.paths, 0.0, notes),
        ]
    excluded = held.goal.excluded
    if event.command is MemberCommand.INCLUDE:
        kept = (out for out in excluded if not lies_in(out.path, event.paths))
        held.goal = replace(held.goal, excluded=tuple(kept))
        apply(memory, now)
    limit_s = event.timeout_s or default_limit_s(memory, now, _ROUND)
    kind, doing = _REPAIRS[event.command], event.command.value
    repair = Repair(event.command_id, kind, event.paths, event.person, limit_s, doing=doing)
    held.goal = replace(held.goal, repairs=(*held.goal.repairs, repair))
    repairing.take(memory, now)
    if held.goal.excluded != excluded:
        memory.repairs[repair.id].touched = True
    return [*effects, goal_record(memory)]


def apply(memory: Memory, now: float) -> None:
    """Makes everybody's membership what the goal in force says of it."""
    if memory.goal is None:
        return
    goal = memory.goal.goal
    for link in memory.links.values():
        path = join(memory.path, link.name)
        out = exclusion_of(goal, path)
        if out is not None and out.gone and not link.attached and not (link.vacant and not link.expected):
            give_up(memory, link)
            memory.tell(now, path, f"given up: {out.why}")
    for child in memory.children.values():
        if exclusion_of(goal, child.path) is not None:
            child.membership = Membership.OUT_BY_PERSON
        elif child.membership is Membership.OUT_BY_PERSON:
            child.membership = Membership.IN
    told: set[str] = set()
    rejoin = repairing.where_all_are(memory)
    for process in memory.processes.values():
        out = exclusion_of(goal, process.path)
        if out is not None:
            if process.membership is not Membership.OUT_BY_PERSON and out.path not in told and not memory.root:
                told.add(out.path)  # once for all that lies there; at the root whoever commanded it has been told of
                memory.tell(now, out.path if covers(memory.path, out.path) else memory.path, f"out: {out.why}")
            process.membership = Membership.OUT_BY_PERSON
            process.renewing = process.returning = False
            process.restart_at_s = None
        elif process.membership is Membership.OUT_BY_PERSON:
            process.membership = Membership.OUT_BY_FAULT if process.fault else Membership.IN
            repairing.mend(memory, now, process, Repairing.RECOVER, "included again", rejoin)


def _with(goal: Goal, event: MemberCommandGiven) -> tuple[Exclusion, ...]:
    """The exclusions with those of `event`, which replace those that they cover; what is out already stays so."""
    new = [path for path in event.paths if event.gone or exclusion_of(goal, path) is None]
    kept = (out for out in goal.excluded if not lies_in(out.path, new))
    return (*kept, *(Exclusion(path, _why(event), event.gone) for path in new))


def _why(event: MemberCommandGiven) -> str:
    gone = ", gone for good" if event.gone else ""
    return f"excluded by {event.person}{gone}{': ' if event.comment else ''}{event.comment}"


def _judge(memory: Memory, event: MemberCommandGiven) -> Refuse | None:
    """Why it is refused; None when it is accepted."""
    unknown = judge_paths(memory, event.command_id, event.paths, event.selected)
    if unknown is not None:
        return unknown
    reason = _why_not(memory, event)
    return Refuse(event.command_id, "state", reason) if reason else None


def _why_not(memory: Memory, event: MemberCommandGiven) -> str:
    goal = memory.goal.goal if memory.goal is not None else Goal()
    command, out = event.command, [exclusion_of(goal, path) for path in event.paths]
    who = _named(event.paths)
    if command is MemberCommand.EXCLUDE:
        if memory.path in event.paths:
            return "the farm as a whole cannot be excluded; name sub-farms, nodes or processes"
        if event.gone:
            return _why_not_gone(memory, event)
        first = out[0]
        return f"{who} is out already: {first.why}" if first is not None and None not in out else ""
    if command is MemberCommand.INCLUDE:
        for path, found in zip(event.paths, out, strict=True):
            if found is not None and found.path not in event.paths and path != found.path:
                return f"{path} is out with {found.path}, {found.why}; include that: grange include {found.path}"
        return ""
    first = out[0]
    if first is not None and None not in out:
        return f"{who} is out, {first.why}; include it first: grange include {first.path}"
    if not any(link.expected or link.attached for link in memory.links.values()):
        return f"there is nothing to {command}: {memory.name} is not set up; start it with: grange go running"
    down = all(goes_down(goal, target_of(goal, path)) or not goal.command_id for path in event.paths)
    if down and all(leaf_states(memory, path) <= set(DOWN) for path in event.paths):
        return f"there is nothing to {command}: {who} is down, and is meant to be; start it with: grange go running"
    return ""


def _why_not_gone(memory: Memory, event: MemberCommandGiven) -> str:
    """Only what cannot be heard may be given up, and only machines are gone: processes are where their node is."""
    for path in event.paths:
        if is_process(memory, path, event.selected):
            return f"{path} is a process: --gone is for a node or a sub-farm that will not come back"
        for link in memory.links.values():
            if link.attached and covers(path, join(memory.path, link.name)):
                return _answers(path)
        for child in memory.children.values():
            if covers(child.path, path) and path != child.path and (reason := _why_not_gone_below(memory, child, path)):
                return reason
    return ""


def _why_not_gone_below(memory: Memory, child: ChildMemory, path: str) -> str:
    """Whether what lies below a controller can be heard that controller alone knows: by its word, or not at all."""
    link = memory.links[child.name]
    if not link.expected and not link.attached:
        return ""
    if child.report is None or not link.enrolled:
        return f"whether {path} answers, only the controller of {child.path} knows, which does not: try again"
    return "" if lies_in(path, child.report.unheard) else _answers(path)


def _answers(path: str) -> str:
    return f"{path} answers, so it is not gone for good; to take it out: grange exclude {path}"


def _named(paths: tuple[str, ...]) -> str:
    first = paths[0] or "the farm"
    return first if len(paths) == 1 else f"{first} (and {len(paths) - 1} more)"
