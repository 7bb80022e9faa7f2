"""Between the values of core and the messages of the tree's link, in both directions, for controllers.

Times: core knows ages and remaining times on a monotonic clock, the wire tells moments since 1970 where people read
them. `wall_s` is the present in those, given by the caller.
"""

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

from google.protobuf.struct_pb2 import Struct

from grange.core.causes import Cause
from grange.core.effects import Order
from grange.core.names import Health, Kind, Membership, Ready, Repairing, State
from grange.core.plan import DataLink, ProcessSpec, StepLimits
from grange.core.reports import (
    Busy,
    ControllerReport,
    Count,
    Exclusion,
    Failure,
    Figures,
    Goal,
    MembershipChange,
    OutputFile,
    ProcessReport,
    Repair,
    RepairReport,
    Row,
    Target,
)
from grange.core.spawning import Probing, SpawnOptions

from . import common_pb2, tree_pb2
from .words import command_from_wire, from_wire, to_wire

FAILURE_KINDS = {
    "never started": tree_pb2.FAILURE_NEVER_STARTED,
    "died while starting": tree_pb2.FAILURE_DIED_STARTING,
    "too slow": tree_pb2.FAILURE_TOO_SLOW,
    "hung": tree_pb2.FAILURE_HUNG,
    "refused": tree_pb2.FAILURE_REFUSED,
    "died while running": tree_pb2.FAILURE_DIED_RUNNING,
}
_FAILURE_NAMES: dict[int, str] = {int(value): name for name, value in FAILURE_KINDS.items()}


# ---- agents ---------------------------------------------------------------------------------------------------------


def process_report_from_wire(message: tree_pb2.ProcessReport, now_s: float) -> ProcessReport:
    """Ages in the report become moments of the receiver's monotonic clock, on which it is `now_s`."""
    return ProcessReport(
        path=message.path,
        state=from_wire(message.state, State.UNKNOWN),
        instance=message.instance,
        health=from_wire(message.health, Health.ERROR),
        status=message.status,
        pid=message.pid,
        order_id=message.order_id,
        order_done=message.order_done,
        order_ok=message.order_ok,
        failure=failure_from_wire(message.failure) if message.HasField("failure") else None,
        counters=dict(message.counters),
        files=tuple(file_from_wire(file) for file in message.files),
        counted_run=message.counted_run,
        run_number=message.run_number,
        figures=figures_from_wire(message.figures) if message.HasField("figures") else None,
        restarts=message.restarts,
        restarted_s=tuple([now_s - age_s for age_s in message.restart_ages_s]) if message.restarts else (),
    )


def failure_from_wire(message: tree_pb2.Failure) -> Failure:
    return Failure(_FAILURE_NAMES.get(message.kind, "failed"), message.reason, tuple(message.last_lines))


def figures_from_wire(message: common_pb2.ProcessFigures) -> Figures:
    return Figures(
        message.cpu_percent,
        message.rss_bytes,
        message.threads,
        message.open_files,
        message.read_bytes,
        message.written_bytes,
        message.age_s,
    )


def figures_to_wire(figures: Figures) -> common_pb2.ProcessFigures:
    return common_pb2.ProcessFigures(
        cpu_percent=figures.cpu_percent,
        rss_bytes=figures.rss_bytes,
        threads=figures.threads,
        open_files=figures.open_files,
        read_bytes=figures.read_bytes,
        written_bytes=figures.written_bytes,
        age_s=figures.age_s,
    )


def order_to_wire(order: Order, limits: StepLimits) -> tree_pb2.ProcessOrder:
    return tree_pb2.ProcessOrder(
        order_id=order.order_id,
        path=order.path,
        command=to_wire(order.command),
        limit_s=order.limit_s,
        run_number=order.run_number,
        spec=spec_to_wire(order.spec, limits) if order.spec is not None else None,
        because=order.because,
        restart=order.restart,
    )


def spec_to_wire(spec: ProcessSpec, limits: StepLimits) -> tree_pb2.ProcessSpec:
    return tree_pb2.ProcessSpec(
        path=spec.path,
        role=spec.role,
        argv=spec.argv,
        actor=spec.actor,
        ready=spec.ready.value,
        settle_time_s=spec.settle_time_s,
        working_directory=spec.working_directory,
        environment=spec.environment,
        heartbeat_timeout_s=spec.heartbeat_timeout_s,
        parameters=struct(spec.parameters),
        inputs=[_link(link) for link in spec.inputs],
        outputs=[_link(link) for link in spec.outputs],
        terminate_timeout_s=limits.terminate_timeout_s,
        kill_timeout_s=limits.kill_timeout_s,
        limits=spec.options.limits,
        cpus=spec.options.cpus,
        nice=spec.options.nice,
        template=spec.options.template,
        probe=spec.probing.ready,
        probe_interval_s=spec.probing.interval_s,
        probe_timeout_s=spec.probing.timeout_s,
        alive_probe=spec.probing.alive,
        alive_interval_s=spec.probing.alive_interval_s,
        alive_misses=spec.probing.alive_misses,
        watchdog_timeout_s=spec.probing.watchdog_timeout_s,
    )


def spec_from_wire(spec: tree_pb2.ProcessSpec) -> ProcessSpec:
    """Without its parameters. Raises ValueError for a way to be ready that is unknown here."""
    return ProcessSpec(
        path=spec.path,
        role=spec.role,
        argv=tuple(spec.argv),
        actor=spec.actor,
        ready=Ready(spec.ready or Ready.ACTOR.value),
        settle_time_s=spec.settle_time_s,
        working_directory=spec.working_directory,
        environment=dict(spec.environment),
        heartbeat_timeout_s=spec.heartbeat_timeout_s,
        options=SpawnOptions(dict(spec.limits), tuple(spec.cpus), spec.nice, spec.template),
        probing=_probing_from_wire(spec),
        inputs=tuple(DataLink(link.role, tuple(link.peers), link.feedback) for link in spec.inputs),
        outputs=tuple(DataLink(link.role, tuple(link.peers), link.feedback) for link in spec.outputs),
    )


def _probing_from_wire(spec: tree_pb2.ProcessSpec) -> Probing:
    """Times and numbers that are not given (0) have core's defaults."""
    default = Probing()
    return Probing(
        ready=tuple(spec.probe),
        interval_s=spec.probe_interval_s or default.interval_s,
        timeout_s=spec.probe_timeout_s or default.timeout_s,
        alive=tuple(spec.alive_probe),
        alive_interval_s=spec.alive_interval_s or default.alive_interval_s,
        alive_misses=spec.alive_misses or default.alive_misses,
        watchdog_timeout_s=spec.watchdog_timeout_s,
    )


def _link(link: DataLink) -> tree_pb2.DataLink:
    return tree_pb2.DataLink(role=link.role, peers=link.peers, feedback=link.feedback)


def struct(values: Mapping[str, Any]) -> Struct:
    """Parameters as the wire's structure; numbers become doubles there."""
    message = Struct()
    message.update(values)
    return message


def file_from_wire(message: common_pb2.OutputFile) -> OutputFile:
    return OutputFile(message.member, message.path, message.size_bytes, message.sha256)


def file_to_wire(file: OutputFile) -> common_pb2.OutputFile:
    return common_pb2.OutputFile(member=file.member, path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)


# ---- rows -----------------------------------------------------------------------------------------------------------


def row_to_wire(row: Row, wall_s: float) -> common_pb2.MemberRow:
    return common_pb2.MemberRow(
        path=row.path,
        kind=to_wire(row.kind),
        name=row.name,
        state=to_wire(row.state),
        health=to_wire(row.health),
        status=row.status,
        membership=to_wire(row.membership),
        busy=busy_to_wire(row.busy, wall_s) if row.busy is not None else None,
        counts=[
            common_pb2.Count(
                role=count.role,
                state=to_wire(count.state),
                health=to_wire(count.health),
                processes=count.processes,
                out=count.out,
            )
            for count in row.counts
        ],
        heard_unix_s=0.0 if row.heard_age_s is None else wall_s - row.heard_age_s,
        role=row.role,
        pid=row.pid,
        instance=row.instance,
        run_number=row.run_number,
        revision=row.revision,
        returning=row.returning,
        unaccounted=row.unaccounted,
    )


def row_from_wire(message: common_pb2.MemberRow, wall_s: float) -> Row:
    """Health that is not told is an error: never claim that a member is well when it did not say so."""
    return Row(
        path=message.path,
        kind=from_wire(message.kind, Kind.PROCESS),
        name=message.name,
        state=from_wire(message.state, State.UNKNOWN),
        health=from_wire(message.health, Health.ERROR),
        status=message.status,
        membership=from_wire(message.membership, Membership.IN),
        busy=_busy_from_wire(message.busy, wall_s) if message.HasField("busy") else None,
        counts=tuple(
            Count(
                count.role,
                from_wire(count.state, State.UNKNOWN),
                from_wire(count.health, Health.ERROR),
                count.processes,
                count.out,
            )
            for count in message.counts
        ),
        heard_age_s=wall_s - message.heard_unix_s if message.heard_unix_s else None,
        role=message.role,
        pid=message.pid,
        instance=message.instance,
        run_number=message.run_number,
        revision=message.revision,
        returning=message.returning,
        unaccounted=message.unaccounted,
    )


def busy_to_wire(busy: Busy, wall_s: float) -> common_pb2.Busy:
    return common_pb2.Busy(
        command_id=busy.command_id,
        doing=busy.doing,
        person=busy.person,
        since_unix_s=wall_s - busy.elapsed_s,
        remaining_s=busy.remaining_s,
        done=busy.done,
        total=busy.total,
        slowest=busy.slowest,
    )


def _busy_from_wire(message: common_pb2.Busy, wall_s: float) -> Busy:
    return Busy(
        message.command_id,
        message.doing,
        message.person,
        wall_s - message.since_unix_s,
        message.remaining_s,
        message.done,
        message.total,
        message.slowest,
    )


# ---- controllers ----------------------------------------------------------------------------------------------------


def counters_to_wire(counters: Mapping[str, Mapping[str, int]]) -> list[common_pb2.RoleCounters]:
    return [common_pb2.RoleCounters(role=role, counters=values) for role, values in counters.items()]


def causes_to_wire(causes: Iterable[Cause]) -> list[common_pb2.Cause]:
    return [common_pb2.Cause(reason=one.reason, members=one.members, example=one.example) for one in causes]


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
