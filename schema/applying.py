"""From a record to rows: what each kind changes in the database, exactly once.

Every record is applied in a transaction that also keeps its idempotency key; a key that is already there means that the
record is, too. Records come in the order in which they were put, except that a time stamp once set stays.
"""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Update, delete, func, insert, select, update
from sqlalchemy import case as sql_case

from grange.core.addressing import canonical_json
from grange.core.names import Membership
from grange.core.run_members import KEPT_IN

from .audit import note, note_command, note_end
from .control import superseded_by
from .records import (
    AuditNoted,
    CommandEnded,
    CommandRecorded,
    GoalSet,
    LeaseSet,
    MembershipSet,
    MessageSent,
    Record,
    RunDegraded,
    RunEnded,
    RunMemberMoved,
    RunRunning,
    RunStopAsked,
)
from .statements import add_row_once, put_row
from .tables import (
    applied_table,
    command_table,
    goal_table,
    lease_table,
    membership_table,
    message_table,
    run_counter_table,
    run_file_table,
    run_member_table,
    run_table,
)

COMMANDS_KEPT_S = 86_400  # a client may ask for the outcome of its command for a day
KEYS_KEPT_S = 7 * 86_400  # only to look at: a key is needed no longer than its record can be in an outbox
_SECOND_NS = 1_000_000_000


# What says how the farm is. The others tell what has happened, which stays so whoever has the farm since.
_OF_THE_PRESENT = (
    GoalSet,
    LeaseSet,
    MembershipSet,
    RunRunning,
    RunStopAsked,
    RunDegraded,
    RunMemberMoved,
    RunEnded,
)


class Superseded(Exception):
    """A record of a controller that another has taken the farm from since: that one says how the farm is."""


class NothingToChange(Exception):
    """A record about a run or command that the database does not know; it can never be applied."""


def apply_once(connection: Connection, key: str, record: Record, now_ns: int, incarnation: int) -> bool:
    """Apply a record of a controller unless its key says that it was; whether it was applied now.

    Raises `NothingToChange`; and `Superseded` for one that would change what a later controller has taken over.
    """
    if not add_row_once(connection, applied_table, {"key": key, "at_ns": now_ns}):
        return False
    if isinstance(record, _OF_THE_PRESENT) and (later := superseded_by(connection, incarnation)):
        raise Superseded(f"incarnation {later} has the farm since; this is of incarnation {incarnation}")
    _apply(record, connection)
    return True


def forget_old(connection: Connection, now_ns: int) -> None:
    """Delete ended commands and keys that nobody needs any more; only to be called when no record waits."""
    ended = command_table.c.ended_at_ns
    connection.execute(delete(command_table).where(ended < now_ns - COMMANDS_KEPT_S * _SECOND_NS))
    connection.execute(delete(applied_table).where(applied_table.c.at_ns < now_ns - KEYS_KEPT_S * _SECOND_NS))


def _apply(record: Record, connection: Connection) -> None:
    match record:
        case CommandRecorded():
            _apply_command(record, connection)
        case CommandEnded():
            ended = {"outcome": record.outcome, "reason": record.reason, "ended_at_ns": record.at_ns}
            command = command_table.c.id == record.command_id
            note_end(connection, record)
            _must_change(connection, update(command_table).where(command).values(ended), f"command {record.command_id}")
        case GoalSet():
            content = canonical_json(record.goal)
            put_row(connection, goal_table, {"farm": record.farm, "content": content, "at_ns": record.at_ns})
        case LeaseSet():
            put_row(connection, lease_table, asdict(record))
        case AuditNoted():
            note(connection, record)
        case MembershipSet():
            _apply_membership(record, connection)
        case MessageSent():
            _apply_message(record, connection)
        case RunRunning():
            _change_run(connection, record.run, running_at_ns=_first(run_table.c.running_at_ns, record.at_ns))
        case RunStopAsked():
            asked = _first(run_table.c.stop_asked_at_ns, record.at_ns)
            _change_run(connection, record.run, stop_asked_at_ns=asked, end_reason=record.reason)
        case RunDegraded():
            reason = sql_case((run_table.c.degraded, run_table.c.degraded_reason), else_=record.reason)
            _change_run(connection, record.run, degraded=True, degraded_reason=reason)
        case RunMemberMoved():
            _apply_move(record.run, record.path, record.membership, record.reason, record.at_ns, connection)
        case RunEnded():
            _apply_run_end(record, connection)


def _apply_command(record: CommandRecorded, connection: Connection) -> None:
    row = {
        "id": record.command_id,
        "digest": record.digest,
        "person": record.person,
        "what": record.what,
        "path": record.path,
        "accepted_at_ns": record.at_ns,
        "outcome": None,
        "reason": "",
    }
    add_row_once(connection, command_table, row)
    note_command(connection, record)


def _apply_membership(record: MembershipSet, connection: Connection) -> None:
    row = {"path": record.path, "membership": record.membership.value, "reason": record.reason, "at_ns": record.at_ns}
    put_row(connection, membership_table, {**row, "person": record.person})
    if record.run is not None:
        _apply_move(record.run, record.path, record.membership, record.reason, record.at_ns, connection)


def _apply_move(run: int, path: str, membership: Membership, reason: str, at_ns: int, connection: Connection) -> None:
    """Keeps that a member went out of a run or came back, unless the run has that already.

    Everybody is in when a run begins. A controller that was restarted tells anew what it finds. One that is missing and
    is kept in, because its role falls short without it, is in as before: there the reason tells it.
    """
    columns = (run_member_table.c.membership, run_member_table.c.reason)
    moves = select(*columns).where(run_member_table.c.run == run, run_member_table.c.path == path)
    last = connection.execute(moves.order_by(run_member_table.c.id.desc()).limit(1)).one_or_none()
    was, why = last if last is not None else (Membership.IN.value, "")
    if (membership.value, reason.startswith(KEPT_IN)) != (was, why.startswith(KEPT_IN)):
        row = {"run": run, "path": path, "membership": membership.value, "reason": reason, "at_ns": at_ns}
        connection.execute(insert(run_member_table), row)


def _apply_message(record: MessageSent, connection: Connection) -> None:
    row = {
        "id": record.message_id,
        "severity": record.severity.value,
        "audience": record.audience,
        "who": record.who,
        "host": record.host,
        "run": record.run,
        "code": record.code,
        "text": record.text,
        "what_to_do": record.what_to_do,
        "first_at_ns": record.first_at_ns,
        "last_at_ns": record.last_at_ns,
        "repeats": record.repeats,
    }
    put_row(connection, message_table, row)


def _apply_run_end(record: RunEnded, connection: Connection) -> None:
    _change_run(
        connection,
        record.run,
        stopped_at_ns=_first(run_table.c.stopped_at_ns, record.at_ns),
        end_reason=record.reason or run_table.c.end_reason,
        undrained=record.undrained,
        changes_left_out=record.changes_left_out,
        last_seen_at_ns=record.last_seen_at_ns,
    )
    for counter in record.counters:
        put_row(connection, run_counter_table, {"run": record.run, **asdict(counter)})
    for file in record.files:
        put_row(connection, run_file_table, {"run": record.run, **asdict(file)})


def _first(column: Column[Any], at_ns: int) -> ColumnElement[Any]:
    """The time that the column has, or this one when it has none: a moment that was recorded stays."""
    return func.coalesce(column, at_ns)


def _change_run(connection: Connection, number: int, **values: Any) -> None:
    _must_change(connection, update(run_table).where(run_table.c.number == number).values(values), f"run {number}")


def _must_change(connection: Connection, statement: Update, what: str) -> None:
    if connection.execute(statement).rowcount == 0:
        raise NothingToChange(f"the database has no {what}")
