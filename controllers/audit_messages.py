"""The audit trail, from the database to the wire: for the service, and for readers without a controller."""

from dataclasses import asdict

from grange.core.access import Origin
from grange.proto import security_pb2
from grange.schema import audit
from grange.schema.database import Database

_NS = 1e-9
_LISTED = 50  # when nobody says how many
_LISTED_MOST = 10_000


def list_audit(database: Database, request: security_pb2.ListAuditRequest) -> security_pb2.ListAuditResponse:
    """The newest entries, as asked for."""
    most, since_ns = min(request.most or _LISTED, _LISTED_MOST), max(0, round(request.since_unix_s / _NS))
    found = audit.entries(database, most, since_ns, request.person)
    return security_pb2.ListAuditResponse(entries=[entry_message(entry) for entry in found])


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
