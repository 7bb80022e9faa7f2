"""Entries of the audit trail, from the database to the wire."""

from dataclasses import asdict

from grange.core.access import Origin
from grange.proto import security_pb2
from grange.schema import audit

_NS = 1e-9


def entry_message(entry: audit.AuditEntry) -> security_pb2.AuditEntry:
    """An entry of the audit trail on the wire."""
    return security_pb2.AuditEntry(
        at_unix_s=entry.at_ns * _NS,
        person=entry.person,
        origin=origin_message(entry.origin),
        what=entry.what,
        members=entry.members,
        comment=entry.comment,
        outcome=entry.outcome,
        reason=entry.reason,
        command_id=entry.command_id,
    )


def origin_message(origin: Origin) -> security_pb2.Origin:
    return security_pb2.Origin(**asdict(origin))
