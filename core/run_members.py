"""Who went out of a run and came back, when and why: noted where it is seen, and recorded with the run at the root.

Nothing tells of a change of membership; each controller compares what it has noted with what is so after each event.
What happens and is undone within one event was no change. At the beginning of a run everybody counts as in, so that
who is out already is noted then. A controller notes the faults of its own members, the root also whom a person has
excluded, for it alone is told by whom. A faulty process that is kept in, because its role falls short without it, is
as much missing from the run as one that is out, and is noted with that.

Changes travel in the reports, always all of the run, so a lost report, a restarted parent or a new link loses none.
Each has an id of its own, given once, which makes recording it again harmless. At most `CHANGES_KEPT` of a run are
kept; how many more there were is told.
"""

from collections.abc import Iterator

from .effects import Effect, Persist
from .faults import takes_data
from .goals import exclusion_of
from .memory import DATA_STATES, ChildMemory, Memory, ProcessMemory, fence_text, process_state
from .names import Membership
from .reports import ControllerReport, MembershipChange

CHANGES_KEPT = 200  # of one run in one controller, in each of its reports: 20 kB
KEPT_IN = "kept in, for its role falls short without it: "  # how the reason of one that is missing and not out begins


def note(memory: Memory, now: float) -> list[Effect]:
    """Notes what has changed since the last time; at the root that becomes records of the run."""
    run_number, noted = _run_number(memory), memory.run_members
    if run_number != noted.run_number:
        noted.run_number, noted.left_out, noted.excluded = run_number, 0, {}
        noted.changes.clear()
        for member in _members(memory):
            member.noted_missing = False
    if not run_number:
        return []
    made = [change for member in _members(memory) if (change := _fault(memory, now, member)) is not None]
    made += _exclusions(memory, now) if memory.root else ()
    room = max(0, CHANGES_KEPT - len(noted.changes))
    noted.changes += made[:room]
    noted.left_out += len(made[room:])
    return [record(change, now) for change in made[:room]] if memory.root else []


def taken_over(memory: Memory, now: float, child: ChildMemory, report: ControllerReport) -> list[Effect]:
    """Records what a new report of a child tells of the open run, and what the one before has not told."""
    if not memory.root or memory.run is None:
        return []
    known = {change.id for change in child.report.changes} if child.report is not None else set()
    return [
        record(change, now)
        for change in report.changes
        if change.run_number == memory.run.number and change.id not in known
    ]


def all_changes(memory: Memory) -> tuple[tuple[MembershipChange, ...], int]:
    """What has changed in the run, here and below, in the order of time; and how many more changes there were."""
    noted = memory.run_members
    found, left_out = list(noted.changes), noted.left_out
    for child in memory.children.values():
        if child.report is not None:
            found += child.report.changes
            left_out += child.report.changes_left_out
    found.sort(key=lambda change: change.at_s)
    return tuple(found[:CHANGES_KEPT]), left_out + len(found[CHANGES_KEPT:])


def record(change: MembershipChange, now: float) -> Persist:
    data = {
        "number": change.run_number,
        "id": change.id,
        "path": change.path,
        "membership": change.membership,
        "reason": change.reason,
        "age_s": max(0.0, now - change.at_s),
    }
    return Persist("run_member", f"run_member/{change.run_number}/{change.id}", data)


def _run_number(memory: Memory) -> int:
    if memory.root:
        return memory.run.number if memory.run is not None else 0
    return memory.goal.goal.run_number if memory.goal is not None else 0


def _members(memory: Memory) -> Iterator[ProcessMemory | ChildMemory]:
    yield from memory.processes.values()
    yield from memory.children.values()


def is_missing(process: ProcessMemory) -> bool:
    """Whether a process is missing from the run by a fault: out, or kept in because its role falls short without it.

    The last word of one that cannot be heard says nothing of now.
    """
    if process.membership is Membership.IN:
        return bool(process.fault) and (process.lost or not takes_data(process))
    return process.membership is Membership.OUT_BY_FAULT


def why_degraded(memory: Memory) -> str:
    """The first member that was missing from the run, and why; one that a person took out only if no other was."""
    changes, _ = all_changes(memory)
    out, person = Membership.OUT_BY_FAULT, Membership.OUT_BY_PERSON
    by_fault = (one for one in changes if one.membership is out or one.reason.startswith(KEPT_IN))
    first = next(by_fault, next((one for one in changes if one.membership is person), None))
    return f"{first.path}: {first.reason.removeprefix(KEPT_IN)}" if first is not None else ""


def _fault(memory: Memory, now: float, member: ProcessMemory | ChildMemory) -> MembershipChange | None:
    """That a member is missing by a fault, or is back; whom a person has excluded is not looked at meanwhile.

    A process that gets another chance counts again at once, but it is back in the run when it takes data.
    """
    process = member if isinstance(member, ProcessMemory) else None
    out = member.membership is Membership.OUT_BY_FAULT
    missing = is_missing(process) if process is not None else out
    if missing is member.noted_missing or member.membership is Membership.OUT_BY_PERSON:
        return None
    if not missing and process is not None and process_state(memory, process) not in DATA_STATES:
        return None
    member.noted_missing = missing
    if missing and process is not None and not out:
        return _change(memory, now, member.path, Membership.IN, f"{KEPT_IN}{process.fault}")
    if missing:
        reason = process.fault if process is not None else "its controller cannot be heard"
        return _change(memory, now, member.path, Membership.OUT_BY_FAULT, reason)
    back = "takes data again" if process is not None else "its controller is heard again"
    return _change(memory, now, member.path, Membership.IN, back)


def _exclusions(memory: Memory, now: float) -> Iterator[MembershipChange]:
    noted, held = memory.run_members, memory.goal
    present = {out.path: out.why for out in held.goal.excluded} if held is not None else {}
    for path, why in present.items():
        if path not in noted.excluded:
            yield _change(memory, now, path, Membership.OUT_BY_PERSON, why)
    for path in sorted(noted.excluded.keys() - present.keys()):
        if held is None or exclusion_of(held.goal, path) is None:  # else it is out with what it lies in
            yield _change(memory, now, path, Membership.IN, "included again")
    noted.excluded = present


def _change(memory: Memory, now: float, path: str, membership: Membership, reason: str) -> MembershipChange:
    noted = memory.run_members
    noted.made += 1
    return MembershipChange(
        f"{memory.path}/{fence_text(memory)}/{noted.made}", path, membership, reason, now, noted.run_number
    )
