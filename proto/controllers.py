"""Between two controllers on the wire: the goal that goes down, and the report that comes up.

Core knows ages and moments of a monotonic clock, the wire tells moments since 1970; `wall_s` is the present in those,
given by the caller.
"""

from itertools import zip_longest

from grange.core.causes import Cause
from grange.core.names import Membership, Repairing, State
from grange.core.reports import (
    ControllerReport,
    Exclusion,
    Goal,
    MembershipChange,
    Repair,
    RepairReport,
    Target,
)

from . import tree_pb2
from .processes import file_from_wire, file_to_wire
from .rows import causes_to_wire, counters_to_wire, row_from_wire, row_to_wire
from .words import command_from_wire, from_wire, to_wire


def controller_report_to_wire(report: ControllerReport, wall_s: float, now_s: float) -> tree_pb2.ControllerReport:
    """`now_s` is the present on the monotonic clock that moments in the report are of."""
    return tree_pb2.ControllerReport(
        row=row_to_wire(report.row, wall_s),
        command_id=report.command_id,
        done=report.done,
        ok=report.ok,
        reason=report.reason,
        notes=report.notes,
        exceptions=[row_to_wire(row, wall_s) for row in report.exceptions],
        causes=causes_to_wire(report.causes),
        counters=counters_to_wire(report.counters),
        files=[file_to_wire(file) for file in report.files],
        counted_run=report.counted_run,
        stop_run_wanted=report.stop_run_wanted,
        run_number=report.run_number,
        degraded=report.degraded,
        undrained=report.undrained,
        repairs=[
            tree_pb2.RepairReport(
                id=one.id,
                done=one.done,
                failures=one.failures,
                members=one.members,
                back=one.back,
                slowest=one.slowest,
                idle=one.idle,
            )
            for one in report.repairs
        ],
        changes=[_change_to_wire(change, wall_s - now_s) for change in report.changes],
        changes_left_out=report.changes_left_out,
        unheard=report.unheard,
    )


def _change_to_wire(change: MembershipChange, offset_s: float) -> tree_pb2.MembershipChange:
    return tree_pb2.MembershipChange(
        id=change.id,
        path=change.path,
        membership=to_wire(change.membership),
        reason=change.reason,
        at_unix_s=change.at_s + offset_s,
        run_number=change.run_number,
    )


def _change_from_wire(message: tree_pb2.MembershipChange, offset_s: float) -> MembershipChange:
    return MembershipChange(
        message.id,
        message.path,
        from_wire(message.membership, Membership.IN),
        message.reason,
        message.at_unix_s - offset_s,
        message.run_number,
    )


def controller_report_from_wire(message: tree_pb2.ControllerReport, wall_s: float, now_s: float) -> ControllerReport:
    """Moments in the report become those of the receiver's monotonic clock, on which it is `now_s`."""
    return ControllerReport(
        row=row_from_wire(message.row, wall_s),
        command_id=message.command_id,
        done=message.done,
        ok=message.ok,
        reason=message.reason,
        notes=tuple(message.notes),
        exceptions=tuple(row_from_wire(row, wall_s) for row in message.exceptions),
        causes=tuple(Cause(cause.reason, cause.members, cause.example) for cause in message.causes),
        counters={role.role: dict(role.counters) for role in message.counters},
        files=tuple(file_from_wire(file) for file in message.files),
        counted_run=message.counted_run,
        stop_run_wanted=message.stop_run_wanted,
        run_number=message.run_number,
        degraded=message.degraded,
        undrained=message.undrained,
        repairs=tuple(
            RepairReport(one.id, one.done, tuple(one.failures), one.members, one.back, one.slowest, one.idle)
            for one in message.repairs
        ),
        changes=tuple(_change_from_wire(change, wall_s - now_s) for change in message.changes),
        changes_left_out=message.changes_left_out,
        unheard=tuple(message.unheard),
    )


def goal_to_wire(goal: Goal, fence: tuple[int, ...], sequence: int) -> tree_pb2.Goal:
    targets = []
    for target in goal.targets:
        message = tree_pb2.MemberTarget(path=target.path)
        if target.state is not None:
            message.target = to_wire(target.state)
        if target.step is not None:
            message.step = to_wire(target.step)
        targets.append(message)
    return tree_pb2.Goal(
        fence=tree_pb2.Fence(incarnations=fence, sequence=sequence),
        command_id=goal.command_id,
        scope=goal.scopes[0] if len(goal.scopes) == 1 else "",
        scopes=goal.scopes,
        targets=targets,
        revision=goal.revision,
        run_number=goal.run_number,
        limit_s=goal.limit_s,
        set_up=goal.set_up,
        setting_up=goal.setting_up,
        person=goal.person,
        doing=goal.doing,
        out_by_person=[out.path for out in goal.excluded],
        out_reasons=[out.why for out in goal.excluded],
        gone=[out.path for out in goal.excluded if out.gone],
        repairs=[
            tree_pb2.Repair(
                id=repair.id,
                kind=to_wire(repair.kind),
                paths=repair.paths,
                person=repair.person,
                limit_s=repair.limit_s,
                begun=repair.begun,
                doing=repair.doing,
            )
            for repair in goal.repairs
        ],
    )


def goal_from_wire(message: tree_pb2.Goal) -> Goal:
    """A target that is not understood means: hold."""
    targets = []
    for target in message.targets:
        state = from_wire(target.target, State.UNKNOWN)
        aimed = None if state is State.UNKNOWN else state
        targets.append(Target(target.path, aimed, command_from_wire(target.step) if aimed is not None else None))
    return Goal(
        command_id=message.command_id,
        scopes=tuple(message.scopes) or (message.scope,),
        targets=tuple(targets),
        revision=message.revision,
        run_number=message.run_number,
        limit_s=message.limit_s,
        set_up=message.set_up,
        setting_up=message.setting_up,
        person=message.person,
        doing=message.doing,
        excluded=tuple(
            Exclusion(path, why, path in message.gone)
            for path, why in zip_longest(message.out_by_person, message.out_reasons, fillvalue="excluded")
        ),
        repairs=tuple(
            Repair(
                repair.id,
                from_wire(repair.kind, Repairing.RECOVER),
                tuple(repair.paths),
                repair.person,
                repair.limit_s,
                repair.begun,
                repair.doing,
            )
            for repair in message.repairs
        ),
    )
