"""Members on the wire, as observers see them: rows, counters, and why members are not well.

Core knows ages, the wire tells moments since 1970; `wall_s` is the present in those, given by the caller.
"""

from collections.abc import Iterable, Mapping

from grange.core.causes import Cause
from grange.core.names import Health, Kind, Membership, State
from grange.core.reports import (
    Busy,
    Count,
    Row,
)

from . import common_pb2
from .words import from_wire, to_wire


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


def counters_to_wire(counters: Mapping[str, Mapping[str, int]]) -> list[common_pb2.RoleCounters]:
    return [common_pb2.RoleCounters(role=role, counters=values) for role, values in counters.items()]


def causes_to_wire(causes: Iterable[Cause]) -> list[common_pb2.Cause]:
    return [common_pb2.Cause(reason=one.reason, members=one.members, example=one.example) for one in causes]
