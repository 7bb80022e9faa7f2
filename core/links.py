"""Enrolment: which child programs should be there, which are, and when to start one (again).

A launch is harmless when the program runs already, because each admits only one of its kind; so the only question is
when. At setup at once; a child that is lost has `relaunch_wait_s` to dial in again by itself, then its program is
started anew, with a back-off that doubles.
"""

from dataclasses import replace

from .effects import Effect, Launch, Release, SendDocument, SendGoal
from .memory import ChildMemory, LinkMemory, Memory, child_state, process_state, target_of
from .names import Kind, State
from .paths import covers, join
from .reports import Goal, Target

SHORTEST_S = 0.1  # given to a child when no time is left: it answers at once, and names who is late


def expect(link: LinkMemory, now: float, wait_s: float) -> None:
    """From now on the child should be there; its program is started after `wait_s` unless it dials in before."""
    if link.expected:
        return
    link.expected = True
    link.releasing = False
    link.trouble = ""
    link.launches = 0
    if not link.attached:
        link.missing_since_s = now
        link.launch_at_s = now + wait_s


def hurry(link: LinkMemory, now: float) -> None:
    """A new upward command: a child that should be there and is not is launched at once, and gets its time anew."""
    if link.expected and not link.attached:
        link.missing_since_s = link.launch_at_s = now
        link.launches = 0
        link.trouble = ""


def lose(memory: Memory, link: LinkMemory, now: float) -> None:
    """The child's stream ended."""
    link.attached = link.enrolled = False
    if link.releasing:
        link.expected = link.releasing = False
        link.missing_since_s = link.launch_at_s = None
    elif link.expected:
        link.missing_since_s = now
        link.launches = 0
        link.launch_at_s = now + memory.limits.relaunch_wait_s


def attach(link: LinkMemory, now: float) -> None:
    """The child's stream is open."""
    link.attached = True
    link.enrolled = False
    link.heard_s = now
    link.missing_since_s = link.launch_at_s = None
    link.launches = 0
    link.trouble = ""


def launches(memory: Memory, now: float) -> list[Effect]:
    """The programs to start now."""
    effects: list[Effect] = []
    for link in memory.links.values():
        if link.launch_at_s is None or link.attached or now < link.launch_at_s:
            continue
        limits = memory.limits
        pause_s = min(limits.relaunch_longest_s, limits.enrol_wait_s / 2 * 2**link.launches)
        link.launches += 1
        link.launch_at_s = now + pause_s
        effects.append(Launch(link.name))
    return effects


def is_overdue(memory: Memory, link: LinkMemory, now: float) -> bool:
    """Whether a child that should be there has been missing for too long."""
    since = link.missing_since_s
    return link.expected and since is not None and now >= since + memory.limits.enrol_wait_s


def plan_links(memory: Memory, now: float) -> list[Effect]:
    """What the goal asks of the links: expect them, release them."""
    goal = memory.goal
    if goal is None:
        return []
    effects: list[Effect] = []
    wait_s = 0.0 if goal.goal.setting_up else memory.limits.relaunch_wait_s
    for link in memory.links.values():
        path = join(memory.path, link.name)
        if not is_to_leave(goal.goal, path):
            if goal.goal.set_up or link.attached:  # one that is there, left from before, is taken up again
                expect(link, now, wait_s)
        elif (link.expected or link.attached) and not link.releasing and is_empty(memory, link):
            link.releasing = True
            if link.attached:
                memory.sequence += 1
                effects.append(Release(link.name, memory.fence, memory.sequence, "teardown"))
            else:
                lose(memory, link, now)
    return effects + launches(memory, now)


def is_to_leave(goal: Goal, path: str) -> bool:
    """Whether the child at `path` is to end: it is to be absent, and so is all that lies below."""
    target = target_of(goal, path)
    below = (other for other in goal.targets if covers(path, other.path))
    return target is not None and target.state is State.ABSENT and all(one.state is State.ABSENT for one in below)


def is_empty(memory: Memory, link: LinkMemory) -> bool:
    """Whether nothing is left at the other end that would keep the child from ending."""
    if not link.attached:
        return True
    if link.kind is not Kind.NODE:
        child = memory.children[link.name]
        report = child.report
        settled = report is not None and report.done and _goal_id(memory) == report.command_id
        return settled and child_state(memory, child) is State.ABSENT
    return link.enrolled and all(
        process_state(memory, process) is State.INITIAL and process.in_flight is None
        for process in memory.processes.values()
        if process.spec.node == link.name
    )


def _goal_id(memory: Memory) -> str:
    """The command of the goal in force."""
    return memory.goal.goal.command_id if memory.goal is not None else ""


def plan_children(memory: Memory, now: float) -> list[Effect]:
    """The goal of each controller below that does not have it yet, with the document that it needs."""
    goal = memory.goal
    if goal is None:
        return []
    effects: list[Effect] = []
    for child in memory.children.values():
        link = memory.links[child.name]
        if not link.attached:
            continue
        part = goal_for(memory, child, now)
        if child.goal_sent is not None and same(child.goal_sent, part):
            continue
        if part.revision and child.document_held != part.revision:
            effects.append(SendDocument(child.name, part.revision))
            child.document_held = part.revision
        child.goal_sent = part
        memory.sequence += 1
        effects.append(SendGoal(child.name, memory.fence, memory.sequence, part))
    return effects


def goal_for(memory: Memory, child: ChildMemory, now: float) -> Goal:
    """The child's part of the goal in force."""
    held = memory.goal
    assert held is not None
    return replace(
        held.goal,
        targets=targets_for(held.goal, child),
        limit_s=max(SHORTEST_S, held.deadline_s - now - memory.limits.hop_s) if held.active else 0.0,
        out_by_person=tuple(path for path in held.goal.out_by_person if covers(child.path, path)),
    )


def targets_for(goal: Goal, child: ChildMemory) -> tuple[Target, ...]:
    """Those targets of a goal that concern a child: what lies above it, and what lies in it."""
    return tuple(
        target for target in goal.targets if covers(target.path, child.path) or covers(child.path, target.path)
    )


def same(one: Goal, other: Goal) -> bool:
    """Whether two goals ask for the same; the time that is left does not matter."""
    return replace(one, limit_s=0.0) == replace(other, limit_s=0.0)
