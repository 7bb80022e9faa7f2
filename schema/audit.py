"""The audit trail: who did what, from where, and what became of it. Rows are only ever added.

A command leaves two rows, one when it was accepted and one with its outcome, each in the transaction that records the
fact itself; so there is no command without its trail, also after a crash. What is no recorded command (a refusal,
another configuration, the lease) leaves one. Readers get one entry for each command.
"""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.engine import RowMapping

from grange.core.access import Origin

from .database import reading
from .records import AuditNoted, CommandEnded, CommandRecorded
from .tables import audit_table, command_table

ACCEPTED = "accepted"
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One deed; `outcome` is empty while its command is under way."""

    at_ns: int
    person: str
    origin: Origin
    what: str
    members: str
    comment: str
    outcome: str
    reason: str
    command_id: str


def note(connection: Connection, record: AuditNoted) -> None:
    row = asdict(record)
    connection.execute(insert(audit_table).values(**row.pop("origin"), **row, command_id=""))


def note_command(connection: Connection, record: CommandRecorded) -> None:
    """A command was accepted."""
    row = {
        "at_ns": record.at_ns,
        "person": record.person,
        **asdict(record.origin),
        "what": record.what,
        "members": record.path,
        "comment": record.comment,
        "outcome": ACCEPTED,
        "reason": "",
        "command_id": record.command_id,
    }
    connection.execute(insert(audit_table).values(**row))


def note_end(connection: Connection, record: CommandEnded) -> None:
    """A command has its outcome; nothing for one that is unknown."""
    command = select(command_table).where(command_table.c.id == record.command_id)
    found = connection.execute(command).mappings().one_or_none()
    if found is None:
        return
    row = {
        "at_ns": record.at_ns,
        "person": found["person"],
        **asdict(Origin()),
        "what": found["what"],
        "members": found["path"],
        "comment": "",
        "outcome": record.outcome,
        "reason": record.reason,
        "command_id": record.command_id,
    }
    connection.execute(insert(audit_table).values(**row))


def entries(
    engine: Engine, most: int = 50, since_ns: int = 0, person: str = "", *, taken: bool = False
) -> list[AuditEntry]:
    """The newest, newest first; with `taken` only commands that were accepted."""
    ends = audit_table.alias("ends")
    # of a command: its first row, with what the second says
    outer = audit_table.outerjoin(
        ends,
        (ends.c.command_id == audit_table.c.command_id)
        & (audit_table.c.command_id != "")
        & (ends.c.outcome != ACCEPTED),
    )
    query = select(audit_table, ends.c.outcome.label("end"), ends.c.reason.label("why")).select_from(outer)
    if taken:
        query = query.where(audit_table.c.outcome == ACCEPTED)
    else:
        query = query.where((audit_table.c.command_id == "") | (audit_table.c.outcome == ACCEPTED))
    query = query.where(audit_table.c.at_ns >= since_ns)
    if person:
        query = query.where(audit_table.c.person == person)
    query = query.order_by(audit_table.c.at_ns.desc(), audit_table.c.id.desc()).limit(most)
    with reading(engine) as connection:
        return [_entry(row) for row in connection.execute(query).mappings()]


def _entry(row: RowMapping) -> AuditEntry:
    accepted = row["outcome"] == ACCEPTED
    return AuditEntry(
        row["at_ns"],
        row["person"],
        Origin(row["uid"], row["host"], row["pid"], row["program"], row["label"]),
        row["what"],
        row["members"],
        row["comment"],
        (row["end"] or "") if accepted else row["outcome"],
        (row["why"] or "") if accepted else row["reason"],
        row["command_id"],
    )
