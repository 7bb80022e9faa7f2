"""Enrolment: which child programs should be there, which are, and when to start one (again).

A launch is harmless when the program runs already, because each admits only one of its kind; so the only question is
when. At setup at once; a child that is lost has `relaunch_wait_s` to dial in again by itself (a controller
`relaunch_controller_wait_s`), then its program is started anew, with a back-off that doubles.

A link is given up only when nothing is left at its other end. One that cannot be heard may lead to anything, so it
stays expected: a command that goes down waits for it until it is overdue, then it is *unaccounted*, and what it owes is
carried out when it dials in. Only a link that is *vacant* is known to lead nowhere: its program was to be started from
nothing, and none has ever dialled in. Even that one is waited for while its program is on the way: launched, not
failed, and not overdue. A controller that is started again knows by its parent's `set_up` that something
was there before it.
"""

from dataclasses import replace

from .effects import Effect, Launch, Release, SendDocument, SendGoal
from .faults import clear
from .goals import part_for, target_of
from .memory import ChildMemory, LinkMemory, Memory, child_state, is_excluded, process_state
from .names import Health, Kind, Membership, State
from .paths import covers, join
from .reports import Goal

SHORTEST_S = 0.1  # given to a child when no time is left: it answers at once, and names who is late


def expect(link: LinkMemory, now: float, wait_s: float) -> None:
    """From now on the child should be there; its program is started after `wait_s` unless it dials in before."""
    if link.expected:
        return
    link.expected = True
    link.releasing = False
    link.trouble = ""
    link.unaccounted = False
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
        link.unaccounted = False


def launch_again(memory: Memory, link: LinkMemory, now: float) -> None:
    """A program ended before it ever dialled in: the first time another need not wait, and is given its own time."""
    if link.vacant and link.launches == 1 and link.launch_at_s is not None:
        link.missing_since_s = now
        link.launch_at_s = now + memory.limits.relaunch_controller_wait_s


def lose(memory: Memory, link: LinkMemory, now: float) -> None:
    """The child's stream ended."""
    link.attached = link.enrolled = False
    if link.releasing:
        give_up(memory, link)
    elif link.expected:
        link.missing_since_s = now
        link.launches = 0
        limits = memory.limits
        # An agent is started again by its keeper, which gets the time for it; a controller by nobody else.
        wait_s = limits.relaunch_wait_s if link.kind is Kind.NODE else limits.relaunch_controller_wait_s
        link.launch_at_s = now + wait_s


def _forget(memory: Memory, link: LinkMemory) -> None:
    """What lay behind a link that was given up is no more; its faults are history."""
    for process in memory.processes.values():
        if process.spec.node == link.name:
            process.report, process.heard_s, process.in_flight, process.owes_shutdown = None, None, None, False
            clear(process)
    child = memory.children.get(link.name)
    if child is not None:
        child.report, child.heard_s, child.goal_sent = None, None, None
        if child.membership is Membership.OUT_BY_FAULT:
            child.membership = Membership.IN


def give_up(memory: Memory, link: LinkMemory) -> None:
    """A person says that what lies behind a silent link is gone for good: nothing is waited for there any more."""
    link.expected = link.releasing = link.unaccounted = False
    link.missing_since_s = link.launch_at_s = None
    link.vacant = True
    link.trouble = ""
    _forget(memory, link)


def attach(link: LinkMemory, now: float, incarnation: int) -> None:
    """The child's stream is open."""
    link.first_incarnation = incarnation if link.vacant else link.first_incarnation
    link.first_heard = incarnation if link.vacant or not link.first_heard else link.first_heard
    link.incarnation = incarnation
    link.vacant = link.unaccounted = False
    link.attached = True
    link.enrolled = False
    link.heard_s = link.attached_s = now
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
    return link.expected and since is not None and now >= since + patience_s(memory, link)


def patience_s(memory: Memory, link: LinkMemory) -> float:
    """How long a missing child is waited for: one that is being started for the first time may be slow, not lost."""
    limits = memory.limits
    starting = link.vacant and not link.trouble
    return max(limits.enrol_wait_s, limits.launch_wait_s) if starting else limits.enrol_wait_s


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
            # One that is there, left from before, is taken up again. A controller below is there because it is set up.
            # Nothing is started for one that a person has taken out, unless something may be there already.
            wanted = goal.goal.set_up or not memory.root
            if link.attached or (wanted and not (link.vacant and is_excluded(memory, path))):
                expect(link, now, wait_s)
        elif not link.vacant and not link.expected and not link.attached:
            expect(link, now, memory.limits.relaunch_wait_s)  # what was there before this program has to be heard first
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
    if target is None or target.state is not State.ABSENT:
        return False
    return all(below.state is State.ABSENT for below in goal.targets if covers(path, below.path))


def is_empty(memory: Memory, link: LinkMemory) -> bool:
    """Whether nothing is left at the other end that would keep the child from ending."""
    if not link.attached:
        # What was launched and has not failed is about to dial in: it must not find nobody who would let it go.
        return link.vacant and (not link.launches or bool(link.trouble))
    if link.kind is not Kind.NODE:
        child = memory.children[link.name]
        # One that has failed to take everything down is not let go: it is the one that knows what is left.
        succeeded = child.report is not None and child.report.ok and not holds_on(memory, link)
        return _has_said_all(memory, link) and succeeded and child_state(memory, child) is State.ABSENT
    return link.enrolled and all(
        process_state(memory, process) is State.INITIAL and process.in_flight is None
        for process in memory.processes.values()
        if process.spec.node == link.name
    )


def holds_on(memory: Memory, link: LinkMemory) -> bool:
    """Whether a controller below has done all that it can, and has to stay for members that it cannot account for."""
    child = memory.children.get(link.name)
    report = child.report if child is not None else None
    return report is not None and _has_said_all(memory, link) and report.ok and report.row.health is not Health.OK


def _has_said_all(memory: Memory, link: LinkMemory) -> bool:
    """Whether a controller below is through with the goal in force."""
    report = memory.children[link.name].report
    return link.enrolled and report is not None and report.done and _goal_id(memory) == report.command_id


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
        told = goal.goal, run_number_for(memory, goal.goal), link.incarnation, link.first_incarnation
        if child.goal_sent is not None and child.told == told:
            continue  # asked after every event: nothing has changed of what its part is made of
        part, child.told = goal_for(memory, child, now), told
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
    held, link = memory.goal, memory.links[child.name]
    assert held is not None
    part = part_for(held.goal, child.path)
    known = {report.id for report in child.report.repairs} if child.report is not None else set()
    return replace(
        part,
        run_number=run_number_for(memory, held.goal),
        # To the program that found nothing there before it nothing can be lost; to a later one it can.
        set_up=link.incarnation != link.first_incarnation,
        limit_s=max(SHORTEST_S, held.deadline_s - now - memory.limits.hop_s) if held.active else 0.0,
        repairs=tuple(
            replace(
                one,
                begun=one.begun or one.id in known,
                limit_s=max(SHORTEST_S, memory.repairs[one.id].deadline_s - now - memory.limits.hop_s),
            )
            for one in part.repairs
            if one.id in memory.repairs
        ),
    )


def run_number_for(memory: Memory, goal: Goal) -> int:
    """The run that members below may start in: at the root, none once it has ended."""
    return 0 if memory.root and memory.run is None else goal.run_number


def same(one: Goal, other: Goal) -> bool:
    """Whether two goals ask for the same; the time that is left, and what has begun by them, do not matter."""
    if one.targets != other.targets or [repair.id for repair in one.repairs] != [repair.id for repair in other.repairs]:
        return False
    return replace(one, limit_s=other.limit_s, repairs=other.repairs) == other
