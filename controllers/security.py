"""Security, as the farm controller serves it: the lease, who is about, and the audit trail.

The lease is core's (`core/lease.py`): here it becomes an event, and words on the wire.
"""

from collections.abc import Callable

from grange.core import lease
from grange.core.durations import duration_words
from grange.core.errors import GrangeError, InvalidInput, Refused
from grange.core.events import LeaseCommandGiven
from grange.core.names import LeaseAction
from grange.core.problems import Problem
from grange.core.wording import comment_problems
from grange.proto import security_pb2
from grange.proto.gate import Caller, Gate
from grange.schema import audit
from grange.schema.errors import SchemaError

from .audit_messages import entry_message, list_audit, origin_message
from .database_errors import translated
from .leasing import FORCE, lease_message
from .runtime import Runtime
from .store import Store
from .trail import Trail

_NS = 1e-9


class SecurityService:
    """The handlers of Security."""

    def __init__(
        self,
        runtime: Callable[[], Runtime],
        store: Store,
        gate: Gate,
        trail: Trail,
        access_trouble: Callable[[], str],
    ) -> None:
        self._runtime, self._store, self._gate, self._trail = runtime, store, gate, trail
        self._access_trouble = access_trouble

    async def take_lease(
        self, request: security_pb2.TakeLeaseRequest, caller: Caller
    ) -> security_pb2.TakeLeaseResponse:
        action = LeaseAction.FORCE if request.force else LeaseAction.TAKE
        life_s = request.duration_s or lease.LEASE_LIFE_S
        if not 0 < life_s <= lease.LEASE_LONGEST_S:
            longest = duration_words(lease.LEASE_LONGEST_S)
            problem = Problem("for", f"{duration_words(life_s)} is not between nothing and {longest}")
            raise self._refused(caller, action, InvalidInput([problem]), request.comment)
        if problems := comment_problems("comment", request.comment):
            raise self._refused(caller, action, InvalidInput(problems), request.comment)
        before = lease_message(self._runtime())
        self._give(LeaseCommandGiven(action, caller.person, life_s, request.comment), caller)
        response = security_pb2.TakeLeaseResponse(lease=lease_message(self._runtime()))
        if before is not None and before.holder != caller.person:
            response.before.CopyFrom(before)
        return response

    async def release_lease(
        self, request: security_pb2.ReleaseLeaseRequest, caller: Caller
    ) -> security_pb2.ReleaseLeaseResponse:
        self._give(LeaseCommandGiven(LeaseAction.RELEASE, caller.person), caller)
        return security_pb2.ReleaseLeaseResponse()

    def _give(self, event: LeaseCommandGiven, caller: Caller) -> None:
        runtime = self._runtime()
        before = lease.held(runtime.controller.memory, runtime.now())
        reason = lease.judge(runtime.controller.memory, runtime.now(), event)
        if reason:
            what_to_try = FORCE if before is not None else ""
            raise self._refused(caller, event.action, Refused(reason, what_to_try=what_to_try), event.comment)
        runtime.post(event)
        taken_from = f"from {before.holder}" if before is not None and before.holder != event.person else ""
        self._trail.done(caller, f"lease {event.action}", taken_from, comment=event.comment)

    def _refused(self, caller: Caller, action: LeaseAction, error: GrangeError, comment: str) -> GrangeError:
        self._trail.refused(caller, f"lease {action}", error, comment=comment)
        return error

    async def who(self, request: security_pb2.WhoRequest, caller: Caller) -> security_pb2.WhoResponse:
        runtime = self._runtime()
        response = security_pb2.WhoResponse(
            lease=lease_message(runtime),
            visitors=[
                security_pb2.Visitor(
                    person=visitor.caller.person,
                    access=str(visitor.caller.access),
                    origin=origin_message(visitor.caller.origin),
                    last_unix_s=visitor.last_s,
                    streams=visitor.streams,
                )
                for visitor in self._gate.visitors()
            ],
            you=caller.person,
            access=str(caller.access),
            access_trouble=self._access_trouble(),
        )
        try:
            await self._store.caught_up()
            last = await self._store.read(audit.entries, most=1, taken=True)
        except SchemaError:
            last = []  # who is about matters, with or without a database
        if last:
            response.last.CopyFrom(entry_message(last[0]))
        return response

    async def list_audit(
        self, request: security_pb2.ListAuditRequest, caller: Caller
    ) -> security_pb2.ListAuditResponse:
        await self._store.caught_up()
        with translated():
            response = await self._store.read(list_audit, request)
        response.behind = self._store.behind()
        return response
