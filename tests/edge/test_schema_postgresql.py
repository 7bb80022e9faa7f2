"""Nothing in the store is for SQLite alone: all it says to a database is spelt for PostgreSQL too, without a server."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, Dialect, Engine, Table, event
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.dialects.sqlite.dml import Insert as SQLiteInsert
from sqlalchemy.schema import CreateIndex, CreateTable

from grange.core.configuration_text import from_document
from grange.core.names import Membership, Severity
from grange.schema import applying, control, records, revisions, runs, statements, tables
from grange.schema.database import open_database, sqlite_url, writing
from grange.schema.migrations.versions import (
    v0001_first,
    v0002_run_records,
    v0003_persons,
    v0004_unseen_end,
    v0005_configurations,
)
from grange.schema.requests import perform

SQLITE_ONLY = {"DATETIME", "BLOB", "REAL", "AUTOINCREMENT", "PRAGMA", "REPLACE", "ROWID"}


def postgresql() -> Dialect:
    return PGDialect()  # type: ignore[no-untyped-call]


def words_of(sql: str) -> set[str]:
    return set(sql.upper().replace(",", " ").replace("(", " ").replace(")", " ").split())


@pytest.mark.parametrize("table", tables.metadata.sorted_tables, ids=lambda table: table.name)
def test_postgresql_would_take_every_table(table: Table) -> None:
    sql = str(CreateTable(table).compile(dialect=postgresql()))
    assert not SQLITE_ONLY & words_of(sql)
    if table.name in ("run_member", "tag_history"):
        assert "id BIGSERIAL NOT NULL" in sql
    for index in table.indexes:
        assert str(CreateIndex(index).compile(dialect=postgresql())).startswith("CREATE INDEX")


def test_postgresql_would_take_the_migrations() -> None:
    written = io.StringIO()
    context = MigrationContext.configure(dialect=postgresql(), opts={"as_sql": True, "output_buffer": written})
    with Operations.context(context):
        v0001_first.upgrade()
        v0002_run_records.upgrade()
        v0003_persons.upgrade()
        v0004_unseen_end.upgrade()
        v0005_configurations.upgrade()
    sql = written.getvalue()
    assert sql.count("CREATE TABLE") == len(tables.metadata.sorted_tables)
    assert "id BIGSERIAL NOT NULL" in sql
    assert not SQLITE_ONLY & words_of(sql)


@pytest.mark.parametrize("dialect", [postgresql(), SQLiteDialect()], ids=lambda dialect: dialect.name)
def test_upserts_are_spelt_alike_for_both_engines(dialect: Dialect) -> None:
    def spelt(*changed: str) -> str:
        return str(statements.upsert(dialect, tables.goal_table, ["farm"], changed).compile(dialect=dialect))

    replacing = "ON CONFLICT (farm) DO UPDATE SET content = excluded.content, at_ns = excluded.at_ns"
    assert replacing in spelt("content", "at_ns")
    assert "ON CONFLICT (farm) DO NOTHING" in spelt()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(sqlite_url(tmp_path / "farm.db"))
    yield engine
    engine.dispose()


def test_postgresql_would_take_every_statement_of_the_store(engine: Engine) -> None:
    """Everything the store can do is done once, on SQLite, and each statement is spelt for PostgreSQL on its way."""
    spelt: set[str] = set()

    def listen(_connection: Connection, statement: Any, _many: Any, _row: Any, options: Mapping[str, Any]) -> None:
        if isinstance(statement, SQLiteInsert):  # an upsert: made for the dialect at hand, see above
            # where nothing is replaced, what matters is whether a row was added, and psycopg tells only if asked
            assert "DO NOTHING" not in str(statement.compile(dialect=SQLiteDialect())) or options["preserve_rowcount"]
            return
        compiled = statement.compile(dialect=postgresql())
        spelt.add(str(compiled))

    event.listen(engine, "before_execute", listen)
    farm = {"farm": {"name": "f"}, "sub_farms": {"s": {"nodes": ["n"], "roles": ["r"]}}}
    first = from_document({**farm, "roles": {"r": {"command": ["r"]}}})
    revision = revisions.import_configuration(engine, first, "ada", "first", now_ns=1).revision.hash
    second = from_document({**farm, "roles": {"r": {"command": ["r"], "count": 2}}})
    revisions.import_configuration(engine, second, "ada", "second", now_ns=2)
    revisions.load_configuration(engine, revision[:8])
    revisions.set_tag(engine, "test", "current", "ada", now_ns=3)
    revisions.log(engine)
    revisions.tags(engine)
    revisions.tag_history(engine, "test")
    perform(engine, runs.AllotRunNumber("c1", revision, "ada", 4))
    incarnation = perform(engine, control.TakeClaim("f", "x", "h", "b", 1, 5, 30.0))
    perform(engine, control.RefreshClaim("f", incarnation, 6))
    perform(engine, control.Begin("f", incarnation))
    perform(engine, control.Holding("f", incarnation, runs.AllotRunNumber("c1", revision, "ada", 4)))
    perform(engine, control.ReleaseClaim("f", incarnation))
    every_kind: list[records.Record] = [
        records.CommandRecorded("c1", "d", "ada", "start", "", 1),
        records.CommandEnded("c1", "done", "", 2),
        records.GoalSet("f", {"target": "running"}, 3),
        records.MembershipSet("s/n", Membership.IN, "", "ada", 4, run=1),
        records.LeaseSet("f", "ada", 6),
        records.RunRunning(1, 7),
        records.RunStopAsked(1, "enough", 8),
        records.RunDegraded(1, "r-1 died", 9),
        records.RunMemberMoved(1, "s/n/r-1", Membership.OUT_BY_FAULT, "died", 9, "1.1/1"),
        records.RunEnded(
            1, "", True, 10, (records.RunCounter("s", "r", "read", 5),), (records.RunFile("s", "/f", 9, "sha256:0"),)
        ),
        records.MessageSent("m", Severity.INFO, "expert", "s", "n", "c", "t", "w", 1, 1, 1, 1),
    ]
    with writing(engine) as connection:
        for number, record in enumerate(every_kind):
            applying.apply_once(connection, str(number), record, 11, incarnation)
        applying.forget_old(connection, 12)
    runs.runs(engine, before=9)
    runs.run_details(engine, 1)
    control.command_of(engine, "c1")
    control.commands(engine)
    control.unfinished_commands(engine)
    control.goal(engine, "f")
    control.memberships(engine)
    control.lease(engine, "f")
    assert len(spelt) > 25
    assert not any(SQLITE_ONLY & words_of(sql) for sql in spelt)
    assert any("FOR UPDATE" in sql for sql in spelt)  # PostgreSQL's writers wait for each other at the claim


def test_a_claim_takes_a_lock_before_it_looks_even_when_there_is_no_claim_to_lock_yet(engine: Engine) -> None:
    """Else two controllers of a farm that has never run could both see no claim, where writers do not queue."""
    order: list[str] = []

    def listen(_connection: Connection, statement: Any, *_: Any) -> None:
        order.append(str(statement.compile(dialect=SQLiteDialect())))

    event.listen(engine, "before_execute", listen)
    perform(engine, control.TakeClaim("f", "x", "h", "b", 1, 5, 30.0))
    locked = next(position for position, sql in enumerate(order) if sql.startswith("UPDATE sequence"))
    looked = next(position for position, sql in enumerate(order) if sql.startswith("SELECT claim"))
    assert locked < looked


def test_a_driver_that_does_not_tell_whether_a_row_was_added_is_found_out() -> None:
    """Else every record would pass for one that was applied before, and be lost."""

    class Silent:
        dialect = postgresql()

        def execute(self, *_: Any) -> Any:
            return SimpleNamespace(rowcount=-1)

    with pytest.raises(RuntimeError, match="driver of postgresql does not tell how many rows"):
        statements.add_row_once(cast(Connection, Silent()), tables.applied_table, {"key": "k", "at_ns": 1})
