"""Who may command, who is about, who did what: the part of the client that asks `Security`."""

from abc import ABC, abstractmethod

from grange.proto import security_pb2
from grange.proto.login import Login
from grange.proto.stub import Stubs

from . import reading
from .asking import asking
from .values import AuditEntry, Lease, Origin, Taken, Visitor, Who


class Security(ABC):
    """The calls of `AsyncFarm` about persons."""

    deadline_s: float

    @property
    @abstractmethod
    def _stubs(self) -> Stubs:
        """The farm's own."""

    async def take_lease(self, duration_s: float = 0.0, *, comment: str = "", force: bool = False) -> Taken:
        """Takes the right to command, for 12 hours unless another time is given; the holder may take it anew.

        Raises `Refused`, which names the holder, when somebody else has it: `force` takes it from him.
        """
        request = asking(security_pb2.TakeLeaseRequest, duration_s=duration_s, comment=comment, force=force)
        response = await self._stubs.security.take_lease(request, self.deadline_s)
        before = reading.read_lease(response.before) if response.HasField("before") else None
        return Taken(reading.read_lease(response.lease), before)

    async def release_lease(self) -> None:
        """Gives the right to command back. Raises `Refused` when one does not have it."""
        await self._stubs.security.release_lease(security_pb2.ReleaseLeaseRequest(), self.deadline_s)

    async def lease(self) -> Lease | None:
        """Who holds the right to command; None when nobody does. Raises nothing but what every call does."""
        return (await self.who()).lease

    async def who(self) -> Who:
        """Who holds the lease, who has called lately, who commanded last. Raises nothing but what every call does."""
        response = await self._stubs.security.who(security_pb2.WhoRequest(), self.deadline_s)
        return Who(
            reading.read_lease(response.lease) if response.HasField("lease") else None,
            tuple(
                Visitor(seen.person, seen.access, read_origin(seen.origin), seen.last_unix_s, seen.streams)
                for seen in response.visitors
            ),
            read_audit_entry(response.last) if response.HasField("last") else None,
            response.you,
            response.access,
            response.access_trouble,
        )

    async def audit(self, most: int = 50, *, since_unix_s: float = 0.0, person: str = "") -> tuple[AuditEntry, ...]:
        """The newest commands and refusals, newest first. Raises nothing but what every call does."""
        request = asking(security_pb2.ListAuditRequest, most=most, since_unix_s=since_unix_s, person=person)
        response = await self._stubs.security.list_audit(request, self.deadline_s)
        return tuple(read_audit_entry(entry, response.behind) for entry in response.entries)

    async def login(self) -> Login:
        """Who the controller says we are, and the token that our calls carry."""
        return await self._stubs.login(self.deadline_s)


def read_origin(origin: security_pb2.Origin) -> Origin:
    return Origin(origin.uid, origin.host, origin.pid, origin.program, origin.label)


def read_audit_entry(entry: security_pb2.AuditEntry, behind: str = "") -> AuditEntry:
    return AuditEntry(
        entry.at_unix_s,
        entry.person,
        read_origin(entry.origin),
        entry.what,
        entry.members,
        entry.comment,
        entry.outcome,
        entry.reason,
        entry.command_id,
        behind,
    )
