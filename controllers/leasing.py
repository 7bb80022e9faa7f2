"""The lease at the edge: commands are held to it in core, what changes the farm beside them asks here."""

from grange.core import lease
from grange.core.errors import Refused
from grange.core.memory import LeaseMemory
from grange.proto import common_pb2

from .runtime import Runtime

FORCE = "Ask for it to be released, or take it: grange lease force"


def demand_lease(runtime: Runtime, person: str) -> None:
    """Raises `Refused` when somebody else holds the right to command."""
    reason = lease.why_not(runtime.controller.memory, runtime.now(), person)
    if reason:
        raise Refused(reason, what_to_try=FORCE)


def lease_message(runtime: Runtime) -> common_pb2.Lease | None:
    """Who alone may command at the moment."""
    held = lease.held(runtime.controller.memory, runtime.now())
    return _message(held, runtime.wall() - runtime.now()) if held is not None else None


def _message(held: LeaseMemory, offset_s: float) -> common_pb2.Lease:
    return common_pb2.Lease(
        holder=held.holder,
        since_unix_s=held.since_s + offset_s,
        until_unix_s=held.until_s + offset_s,
        comment=held.comment,
    )
