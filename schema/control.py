"""What a farm controller must remember beyond its own life: its claim, its goal, commands, members out, the lease.

A claim is a controller's hold on its farm. It is fresh while it has been refreshed within `fresh_s`; a second
controller is then refused, unless it runs on the same host since the same boot and holds the home's lock, which proves
that the first is dead. Taking a claim allots the farm's next incarnation, by which whoever was before is fenced. A
claim whose holder's clock is ahead counts as just refreshed.

Goal, commands, memberships and lease are written through the outbox (`records.py`) and read here. A controller that has
just started lets its writer drain the outbox first (`Writer.flush`): what a crash left there is newer than the tables.
Then it begins: what any controller before it has left in an outbox elsewhere is older than what it reads, and refused.
"""

import json
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.engine import RowMapping

from grange.core.names import Membership

from .database import reading
from .errors import ClaimHeld, ClaimLost
from .requests import Request
from .runs import RUN_NUMBER_SEQUENCE
from .statements import last_number, next_number, put_row, raise_number
from .tables import claim_table, command_table, goal_table, lease_table, membership_table

_SECOND_NS = 1_000_000_000
INCARNATIONS_UNSEEN = 1000  # beyond the highest that a node has seen: of controllers that came and went meanwhile
_BEGUN = "begun"  # the sequence of incarnations that have taken the farm back: the highest of them

T = TypeVar("T")


def _claim(connection: Connection, farm: str) -> RowMapping | None:
    # locked until the transaction ends where the engine can (PostgreSQL); SQLite's writers are alone anyway
    query = select(claim_table).where(claim_table.c.farm == farm).with_for_update()
    return connection.execute(query).mappings().one_or_none()


def _demand(connection: Connection, farm: str, incarnation: int) -> None:
    """Raises `ClaimLost` unless the claim is this incarnation's; it stays so until the transaction ends."""
    held = _claim(connection, farm)
    if held is None or held["incarnation"] != incarnation:
        holder, later = (held["holder"], held["incarnation"]) if held is not None else ("nobody", 0)
        raise ClaimLost(farm, incarnation, holder, later)


@dataclass(frozen=True, slots=True)
class TakeClaim:
    """Request: the farm, for this controller; the answer is its incarnation. Raises `ClaimHeld`.

    `same_host_lock_held`: the caller holds the home's lock, so a claim from this host and boot is a dead one's.
    """

    farm: str
    holder: str
    host: str
    boot_id: str
    pid: int
    now_ns: int
    fresh_s: float
    same_host_lock_held: bool = False

    def carry_out(self, connection: Connection) -> int:
        # first of all, for its lock: whoever else wants a farm that has no claim to lock yet waits here
        incarnation = next_number(connection, f"incarnation:{self.farm}")
        held = _claim(connection, self.farm)
        if held is not None and self._is_mine(held):
            return int(held["incarnation"])  # asked again, because the first answer was lost
        if held is not None and not held["released"] and not self._is_dead(held):
            age_s = max(0, self.now_ns - held["refreshed_at_ns"]) / _SECOND_NS
            if age_s < self.fresh_s:
                raise ClaimHeld(self.farm, held["holder"], held["host"], held["pid"], age_s)
        row = {
            "farm": self.farm,
            "incarnation": incarnation,
            "holder": self.holder,
            "host": self.host,
            "boot_id": self.boot_id,
            "pid": self.pid,
            "taken_at_ns": self.now_ns,
            "refreshed_at_ns": self.now_ns,
            "released": False,
        }
        put_row(connection, claim_table, row)
        return incarnation

    def _is_mine(self, held: RowMapping) -> bool:
        mine = (self.host, self.boot_id, self.pid, self.now_ns)
        return (held["host"], held["boot_id"], held["pid"], held["taken_at_ns"]) == mine

    def _is_dead(self, held: RowMapping) -> bool:
        same_boot = held["host"] == self.host and held["boot_id"] == self.boot_id
        return self.same_host_lock_held and same_boot


@dataclass(frozen=True, slots=True)
class GoOnFrom:
    """Request: numbers that others know to have been given are not given again; whether the database knew of them.

    Asked before the claim is taken: a database that is older than its farm would give numbers a second time, and the
    farm's nodes refuse a controller with a lower incarnation.
    """

    farm: str
    incarnation: int  # the highest that a node has seen
    run: int

    def carry_out(self, connection: Connection) -> bool:
        incarnations = f"incarnation:{self.farm}"
        knew = last_number(connection, incarnations) >= self.incarnation
        if not knew:
            raise_number(connection, incarnations, self.incarnation + INCARNATIONS_UNSEEN)
        knew = last_number(connection, RUN_NUMBER_SEQUENCE) >= self.run and knew
        raise_number(connection, RUN_NUMBER_SEQUENCE, self.run)
        return knew


@dataclass(frozen=True, slots=True)
class RefreshClaim:
    """Request: the claim stays fresh. Raises `ClaimLost` when a later controller has the farm."""

    farm: str
    incarnation: int
    now_ns: int

    def carry_out(self, connection: Connection) -> None:
        _demand(connection, self.farm, self.incarnation)
        mine = update(claim_table).where(claim_table.c.farm == self.farm)
        connection.execute(mine.values(refreshed_at_ns=self.now_ns, released=False))


@dataclass(frozen=True, slots=True)
class Begin:
    """Request: from now on the farm's goal is this incarnation's to say. Raises `ClaimLost`.

    Asked before the goal is read, and after the home's own outbox was drained: what a crash has left there is this
    farm's. What waits in an outbox elsewhere, of a controller of before, must not change what is read here; it is
    refused (`superseded_by`).
    """

    farm: str
    incarnation: int

    def carry_out(self, connection: Connection) -> None:
        _demand(connection, self.farm, self.incarnation)
        raise_number(connection, _BEGUN, self.incarnation)


@dataclass(frozen=True, slots=True)
class Holding(Generic[T]):
    """Request: another one, carried out only while the claim is this incarnation's. Raises `ClaimLost`."""

    farm: str
    incarnation: int
    request: Request[T]

    def carry_out(self, connection: Connection) -> T:
        _demand(connection, self.farm, self.incarnation)
        return self.request.carry_out(connection)


def superseded_by(connection: Connection, incarnation: int) -> int:
    """The later incarnation that has taken the farm back since `incarnation` had it; 0 for none."""
    begun = last_number(connection, _BEGUN)
    return begun if begun > incarnation else 0


@dataclass(frozen=True, slots=True)
class ReleaseClaim:
    """Request: the claim ends now, if it is still this incarnation's; the answer says whether it was."""

    farm: str
    incarnation: int

    def carry_out(self, connection: Connection) -> bool:
        mine = update(claim_table).where(claim_table.c.farm == self.farm, claim_table.c.incarnation == self.incarnation)
        return connection.execute(mine.values(released=True)).rowcount == 1


def last_sign_of_life(engine: Engine, farm: str) -> int | None:
    """When the farm's controller was alive last, by its claim; asked before that is taken. None: there was none."""
    with reading(engine) as connection:
        query = select(claim_table.c.refreshed_at_ns).where(claim_table.c.farm == farm)
        found: int | None = connection.execute(query).scalar_one_or_none()
        return found


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One command as recorded; `outcome` is None while it is under way."""

    id: str
    digest: str
    person: str
    what: str
    path: str
    accepted_at_ns: int
    outcome: str | None
    reason: str
    ended_at_ns: int | None


@dataclass(frozen=True, slots=True)
class MembershipRow:
    """A member's last recorded membership."""

    path: str
    membership: Membership
    reason: str
    person: str
    at_ns: int


_COMMAND_COLUMNS = [command_table.c[name] for name in CommandRow.__dataclass_fields__]


def command_of(engine: Engine, command_id: str) -> CommandRow | None:
    """A command by its id; None when it is unknown or was forgotten (a day after its end)."""
    with reading(engine) as connection:
        row = connection.execute(select(*_COMMAND_COLUMNS).where(command_table.c.id == command_id)).one_or_none()
        return CommandRow(*row) if row is not None else None


def commands(engine: Engine, limit: int = 100) -> list[CommandRow]:
    """The latest commands, newest first."""
    order = (command_table.c.accepted_at_ns.desc(), command_table.c.id)
    with reading(engine) as connection:
        return [CommandRow(*row) for row in connection.execute(select(*_COMMAND_COLUMNS).order_by(*order).limit(limit))]


def unfinished_commands(engine: Engine) -> list[CommandRow]:
    """Commands without an outcome, oldest first: after a crash, the ones that a new controller must settle."""
    query = select(*_COMMAND_COLUMNS).where(command_table.c.outcome.is_(None))
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(command_table.c.accepted_at_ns, command_table.c.id))
        return [CommandRow(*row) for row in rows]


def goal(engine: Engine, farm: str) -> dict[str, Any] | None:
    """The farm's goal as it was last set; None when it never was."""
    with reading(engine) as connection:
        content = connection.execute(select(goal_table.c.content).where(goal_table.c.farm == farm)).scalar_one_or_none()
    if content is None:
        return None
    found: dict[str, Any] = json.loads(content)
    return found


def memberships(engine: Engine) -> dict[str, MembershipRow]:
    """All recorded memberships by path; who is not there is in."""
    columns = [membership_table.c[name] for name in MembershipRow.__dataclass_fields__]
    with reading(engine) as connection:
        rows = connection.execute(select(*columns).order_by(membership_table.c.path))
        return {
            path: MembershipRow(path, Membership(word), reason, person, at_ns)
            for path, word, reason, person, at_ns in rows
        }


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """The right to command, as it was recorded last; holder "" is nobody."""

    holder: str
    at_ns: int
    until_ns: int
    comment: str


def lease(engine: Engine, farm: str) -> LeaseRow | None:
    """Who holds the right to command, by the records: its time may be over. None while nobody does."""
    columns = [lease_table.c[name] for name in LeaseRow.__dataclass_fields__]
    with reading(engine) as connection:
        row = connection.execute(select(*columns).where(lease_table.c.farm == farm)).one_or_none()
        return LeaseRow(*row) if row is not None and row.holder else None
