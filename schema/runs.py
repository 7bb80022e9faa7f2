"""The run registry: run numbers that are never given twice, and what is known of each run.

A number is allotted in the same transaction that writes the run's row, so a number without a run cannot be, nor can a
crash lose one half; the sequence only rises, so a number is not reused even if rows are deleted. The start command's id
is unique in the table: asking again with the same id gives the same number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from grange.core.books import Books, audit
from grange.core.expansion import roles_in_order
from grange.core.names import Membership
from grange.core.problems import ConfigurationError

from .database import reading
from .errors import SchemaError, UnknownRun
from .records import RunCounter, RunFile
from .revisions import CURRENT, load_configuration, tags
from .statements import next_number
from .tables import run_counter_table, run_file_table, run_member_table, run_table

RUN_NUMBER_SEQUENCE = "run_number"
BEGINNING_LOST = "its record is not whole: the database was lost while it was open, and is older than it"


@dataclass(frozen=True, slots=True)
class AllotRunNumber:
    """Request: the number of a new run, from 1. Asked again with the same `command_id`, the same number."""

    command_id: str
    revision: str  # its whole hash, as it was loaded
    person: str
    now_ns: int  # kept as the time at which the start was asked for
    type: str = "test"  # or "production"
    mode: str = ""
    comment: str = ""
    ends_after_events: int = 0  # the run is to end by itself; 0: it is not
    ends_after_ns: int = 0  # so long after it is running

    def carry_out(self, connection: Connection) -> int:
        known = select(run_table.c.number).where(run_table.c.command_id == self.command_id)
        number = connection.execute(known).scalar_one_or_none()
        if number is not None:
            return int(number)
        number = next_number(connection, RUN_NUMBER_SEQUENCE)
        connection.execute(insert(run_table), self.row(number))
        return number

    def row(self, number: int) -> dict[str, Any]:
        """The run as it begins."""
        return {
            "number": number,
            "command_id": self.command_id,
            "type": self.type,
            "mode": self.mode,
            "revision": self.revision,
            "person": self.person,
            "comment": self.comment,
            "start_asked_at_ns": self.now_ns,
            "end_reason": "",
            "degraded": False,
            "degraded_reason": "",
            "undrained": False,
            "ends_after_events": self.ends_after_events,
            "ends_after_ns": self.ends_after_ns,
            "changes_left_out": 0,
        }


@dataclass(frozen=True, slots=True)
class AdoptRun:
    """Request: a run that has its number, and that the database is too old to know. Its revision is there.

    How it began is lost with the database that had it; what is still to be recorded of it gets a place.
    """

    number: int
    asked: AllotRunNumber  # as far as it is known

    def carry_out(self, connection: Connection) -> None:
        if connection.execute(select(run_table.c.number).where(run_table.c.number == self.number)).first():
            return
        degraded = {"degraded": True, "degraded_reason": BEGINNING_LOST}
        connection.execute(insert(run_table), {**self.asked.row(self.number), **degraded})


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Times are nanoseconds since 1970 UTC, None while the moment has not come."""

    number: int
    type: str
    mode: str
    revision: str
    person: str
    comment: str
    start_asked_at_ns: int
    running_at_ns: int | None
    stop_asked_at_ns: int | None
    stopped_at_ns: int | None
    end_reason: str
    degraded: bool
    degraded_reason: str
    undrained: bool
    ends_after_events: int = 0
    ends_after_ns: int = 0
    changes_left_out: int = 0
    last_seen_at_ns: int | None = None  # the last sign of life before an end that nobody saw


@dataclass(frozen=True, slots=True)
class RunMember:
    """A member that went out or came back during a run."""

    path: str
    membership: Membership
    reason: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A run with its counters, its books, its files and its members' comings and goings."""

    run: Run
    counters: tuple[RunCounter, ...]
    files: tuple[RunFile, ...]
    members: tuple[RunMember, ...]
    books: Books
    tags: tuple[str, ...] = ()  # that point at the run's revision now


_NUMBER_MAX = 2**63 - 1  # that can be asked for: no run ever has it
_RUN_COLUMNS = [run_table.c[name] for name in Run.__dataclass_fields__]


def runs(engine: Engine, limit: int = 20, before: int | None = None) -> list[Run]:
    """The latest runs, newest first; with `before`, those with lower numbers."""
    query = select(*_RUN_COLUMNS).order_by(run_table.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(run_table.c.number < before)
    with reading(engine) as connection:
        return [Run(*row) for row in connection.execute(query)]


def run_details(engine: Engine, number: int) -> RunDetails:
    """Everything about one run; its books as they come out. Raises `UnknownRun`."""
    with reading(engine) as connection:
        query = select(*_RUN_COLUMNS).where(run_table.c.number == min(number, _NUMBER_MAX))
        row = connection.execute(query).one_or_none()
        if row is None:
            last = connection.execute(select(run_table.c.number).order_by(run_table.c.number.desc()).limit(1)).scalar()
            there_is = f"the latest is {last}" if last else "there has been none yet"
            raise UnknownRun(f"there is no run {number}; {there_is}")
        counters = _rows_of(connection, number, run_counter_table, ("sub_farm", "role", "counter", "value"), 3)
        columns_of_file = ("sub_farm", "path", "size_bytes", "checksum", "member")
        files = _rows_of(connection, number, run_file_table, columns_of_file, 2)
        columns = [run_member_table.c[name] for name in ("path", "membership", "reason", "at_ns")]
        query = (
            select(*columns)
            .where(run_member_table.c.run == number)
            .order_by(run_member_table.c.at_ns, run_member_table.c.id)
        )
        members = [RunMember(path, Membership(word), why, at) for path, word, why, at in connection.execute(query)]
    run, counted = Run(*row), tuple(RunCounter(*row) for row in counters)
    return RunDetails(
        run,
        counted,
        tuple(RunFile(*row) for row in files),
        tuple(members),
        _books(engine, run, counted),
        tuple(name for name, revision in tags(engine).items() if revision == run.revision and name != CURRENT),
    )


def _books(engine: Engine, run: Run, counters: Sequence[RunCounter]) -> Books:
    """The books of each sub-farm, its roles in the order of the data flow that the run's configuration has."""
    counted: dict[str, dict[str, dict[str, int]]] = {}
    for counter in counters:
        counted.setdefault(counter.sub_farm, {}).setdefault(counter.role, {})[counter.counter] = counter.value
    if not counted:
        return Books()
    try:
        _, configuration = load_configuration(engine, run.revision)
    except (SchemaError, ConfigurationError):
        return audit(counted, {})  # the books balance or not, whatever the configuration of then means to this version
    return audit(counted, {name: roles_in_order(configuration, name) for name in configuration.sub_farms})


def _rows_of(connection: Connection, number: int, table: Any, names: Sequence[str], keys: int) -> list[Sequence[Any]]:
    """The named columns of a run's rows, ordered by the first `keys` of them."""
    columns = [table.c[name] for name in names]
    return list(connection.execute(select(*columns).where(table.c.run == number).order_by(*columns[:keys])))
