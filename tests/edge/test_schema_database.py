"""The database itself: how it is opened, upgraded, refused."""

import itertools
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Boolean, Column, Connection, Engine, MetaData, Table, Text, create_engine, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import StaticPool

from grange.schema import database, storage, tables
from grange.schema.database import open_database, reading, sqlite_url, writing
from grange.schema.errors import DatabaseAway, DatabaseDamaged, DatabaseRefused
from grange.schema.migrate import head, upgrade
from grange.schema.snapshot import dump
from grange.schema.version import version_of

RELEASED = Path(__file__).parents[1] / "released"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(sqlite_url(tmp_path / "farm.db"))
    yield engine
    engine.dispose()


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))


def test_a_fresh_database_gets_the_newest_schema(engine: Engine) -> None:
    with reading(engine) as connection:
        assert version_of(connection) == head()
        assert differences(connection) == []


def test_the_version_that_the_tables_say_they_have_is_the_newest_of_the_migrations() -> None:
    assert head() == tables.VERSION


def test_opening_again_changes_nothing(engine: Engine) -> None:
    again = open_database(str(engine.url))
    try:
        with reading(again) as connection:
            assert version_of(connection) == head()
    finally:
        again.dispose()


def test_programs_that_open_a_fresh_database_together_all_succeed(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "farm.db")
    together = threading.Barrier(4)
    outcomes: list[object] = []

    def open_it() -> None:
        together.wait(timeout=10)
        try:
            open_database(url).dispose()
            outcomes.append("opened")
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert outcomes == ["opened"] * 4


def test_an_index_that_cannot_be_written_is_a_database_away_before_it_is_a_crash(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, access = f"{engine.url.database}-shm", os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != index and access(path, mode))
    for transaction in (reading, writing):
        with pytest.raises(DatabaseAway, match=r"farm\.db-shm cannot be written"), transaction(engine) as connection:
            connection.execute(select(tables.goal_table))
    monkeypatch.undo()
    with writing(engine) as connection:
        assert connection.execute(select(tables.goal_table)).all() == []


def test_a_path_may_hold_characters_that_mean_something_in_an_address(tmp_path: Path) -> None:
    path = tmp_path / "100% of #1? farm.db"
    open_database(sqlite_url(path)).dispose()
    assert path.exists()


def test_a_database_of_a_later_version_is_refused_with_both_versions(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(DatabaseRefused, match=f"schema version 0999, this grange knows versions up to {head()}"):
        open_database(str(engine.url))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("not an address", "is not a database address"),
        ("sqlite:////nowhere/at/all/farm.db", "does not exist; create it first"),
        ("oracel://farm", "no driver for oracel"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(url: str, why: str) -> None:
    with pytest.raises(DatabaseRefused, match=why):
        open_database(url)


def test_a_file_that_is_no_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    path.write_text("these are notes, not a database\n" * 100)
    with pytest.raises(DatabaseDamaged, match="file is not a database"):
        open_database(sqlite_url(path))


def test_every_connection_has_the_durable_settings(engine: Engine) -> None:
    with reading(engine) as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


def test_a_reader_waits_for_no_writer_and_sees_one_moment(engine: Engine) -> None:
    names = select(tables.sequence_table.c.name)
    with writing(engine) as writer:
        writer.execute(insert(tables.sequence_table), {"name": "a", "value": 1})
        with reading(engine) as reader:
            assert reader.execute(names).all() == []
    with reading(engine) as reader:
        assert reader.execute(names).scalars().all() == ["a"]


def test_a_second_writer_is_told_that_the_database_is_away(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.0)
    impatient = open_database(str(engine.url))
    try:
        with writing(engine), pytest.raises(DatabaseAway, match="database is locked"), writing(impatient):
            pass
    finally:
        impatient.dispose()


def test_an_error_rolls_the_whole_transaction_back(engine: Engine) -> None:
    row = {"name": "a", "value": 1}

    def insert_twice() -> None:
        with writing(engine) as connection:
            connection.execute(insert(tables.sequence_table), row)
            connection.execute(insert(tables.sequence_table), row)

    with pytest.raises(IntegrityError):
        insert_twice()
    with reading(engine) as connection:
        assert connection.execute(select(tables.sequence_table)).all() == []


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw - nfs4 server:/home rw
31 30 8:2 / /home/local\\040disk rw - xfs /dev/sdb rw
32 22 0:41 / /data rw shared:2 master:1 - fuse.sshfs host:/ rw
33 22 0:42 / /scratch rw - lustre mgs:/scratch rw
34 22 0:43 / /scratch rw - tmpfs tmpfs rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind", "shared"),
    [
        ("/var/farm.db", "ext4", False),
        ("/home/ada/farm.db", "nfs4", True),
        ("/homestead/farm.db", "ext4", False),
        ("/home/local disk/farm.db", "xfs", False),
        ("/data/farm.db", "fuse.sshfs", True),
        ("/scratch/farm.db", "tmpfs", False),
    ],
)
def test_the_innermost_and_latest_mount_says_where_a_file_lies(path: str, kind: str, shared: bool) -> None:
    assert storage.file_system_of(Path(path), MOUNTS) == kind
    assert storage.is_network(kind) is shared


def test_a_network_file_system_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "network_file_system", lambda path: "nfs4")
    with pytest.raises(DatabaseRefused, match=r"network file system \(nfs4\).*local disk, or use PostgreSQL"):
        open_database(sqlite_url(tmp_path / "farm.db"))
    assert not (tmp_path / "farm.db").exists()


# What a row that was there before has in a column that a later version added; else nothing.
UPGRADED = {
    "run.ends_after_events": 0,
    "run.ends_after_ns": 0,
    "run.changes_left_out": 0,
    "run_file.member": "",
    "lease.until_ns": 0,
    "lease.comment": "",
    "revision.absent_parent": "",
}
VERSIONS = sorted(path.parent.name for path in RELEASED.glob("*/schema.sql"))


def released(version: str) -> str:
    return (RELEASED / version / "schema.sql").read_text(encoding="utf-8")


@pytest.fixture
def old(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database as a released version made it."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    connection: Any = engine.raw_connection()
    connection.executescript(released(request.param))
    yield engine
    engine.dispose()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_schema_that_was_released_is_still_what_its_migrations_make(version: str) -> None:
    """When it fails: a released schema never changes. Add a migration instead."""
    found = re.search(r"version_num\) VALUES \('(\d+)'\)", released(version))
    assert found is not None
    assert dump(found[1]) == released(version)


@pytest.mark.parametrize("old", VERSIONS, indirect=True)
def test_a_database_of_every_released_version_upgrades_to_this_one(old: Engine) -> None:
    upgrade(old)
    with old.connect() as connection:
        assert version_of(connection) == head()
        assert differences(connection) == []


def rows(connection: Connection, columns: Mapping[Table, Sequence[Column[Any]]]) -> dict[str, list[dict[str, Any]]]:
    """What is in each table, of these columns."""
    return {
        table.name: [dict(row) for row in connection.execute(select(*wanted)).mappings()]
        for table, wanted in columns.items()
    }


def a_row(table: Table, count: Iterator[int]) -> dict[str, Any]:
    """A value in each column, each another one; what points at another table points at its row."""
    numbers = {column.name: next(count) for column in table.columns}
    pointed = {column.name: key.column for column in table.columns for key in column.foreign_keys}
    return {
        name: select(pointed[name]).scalar_subquery()
        if name in pointed and pointed[name].table is not table
        else None
        if name in pointed
        else {Text: f"{name} {number}", Boolean: True}.get(type(table.c[name].type.as_generic()), number)
        for name, number in numbers.items()
    }


@pytest.mark.parametrize("old", VERSIONS, indirect=True)
def test_what_is_in_a_database_of_a_released_version_is_there_after_the_upgrade(old: Engine) -> None:
    there = MetaData()
    there.reflect(old)
    there.remove(there.tables["alembic_version"])
    count = itertools.count(1)
    with old.begin() as connection:
        for table in there.sorted_tables:
            connection.execute(insert(table).values(a_row(table, count)))
    columns = {table: tuple(table.columns) for table in there.sorted_tables}
    with old.connect() as connection:
        before = rows(connection, columns)
    assert {len(found) for found in before.values()} == {1}
    upgrade(old)
    with old.connect() as connection:
        assert rows(connection, columns) == before
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        added = {
            table: [column for column in table.columns if column.name not in there.tables[table.name].columns]
            for table in tables.metadata.sorted_tables
            if table.name in there.tables
        }
        for table, new in added.items():
            for column in new:
                assert connection.execute(select(column)).scalar() == UPGRADED.get(f"{table.name}.{column.name}")
