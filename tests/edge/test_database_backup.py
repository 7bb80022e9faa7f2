"""Checking, backing up and restoring a farm's database: a copy is whole, and no number is ever given twice."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert, select, update

from grange.core.configuration import Configuration
from grange.core.configuration_text import from_document
from grange.schema import revisions, tables
from grange.schema.backup import SKIPPED, back_up, restore
from grange.schema.database import open_database, reading, sqlite_url, writing
from grange.schema.errors import DatabaseAway, DatabaseDamaged, DatabaseRefused
from grange.schema.soundness import check
from grange.schema.statements import next_number


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "grange.db"


@pytest.fixture
def engine(database: Path) -> Iterator[Engine]:
    engine = open_database(sqlite_url(database))
    revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    yield engine
    engine.dispose()


def farm(count: int = 1) -> Configuration:
    return from_document(
        {
            "farm": {"name": "demo"},
            "sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["psa"]}},
            "roles": {"psa": {"command": ["psa"], "count": count}},
        }
    )


def start_run(engine: Engine) -> int:
    with writing(engine) as connection:
        number = next_number(connection, "run_number")
        values = {
            "number": number,
            "command_id": f"c-{number}",
            "type": "test",
            "mode": "",
            "revision": revisions.tagged(engine, "current"),
            "person": "ada",
            "comment": "",
            "start_asked_at_ns": 7,
            "end_reason": "",
            "degraded": False,
            "degraded_reason": "",
            "undrained": False,
        }
        connection.execute(insert(tables.run_table), values)
    return number


def next_run(database: Path) -> int:
    engine = open_database(sqlite_url(database))
    try:
        return start_run(engine)
    finally:
        engine.dispose()


# ---- whether it is sound --------------------------------------------------------------------------------------------


def test_a_sound_database_is_told_with_what_it_has(engine: Engine) -> None:
    start_run(engine)
    found = check(engine)
    assert (found.version, found.revisions, found.objects, found.runs) == (tables.VERSION, 1, 5, 1)
    assert found.faults == ()


def test_what_was_changed_or_is_gone_is_told_by_the_revisions_that_need_it(engine: Engine) -> None:
    short = revisions.find_revision(engine).short
    role = tables.object_table.c.kind == "role"
    with reading(engine) as connection:
        key = connection.execute(select(tables.object_table.c.hash).where(role)).scalar_one()
    with writing(engine) as connection:
        connection.execute(update(tables.object_table).where(role).values(content="{}"))
    assert check(engine).faults == (f"revision {short} cannot be loaded: the stored role {key[:10]} was changed",)
    with writing(engine) as connection:
        connection.execute(delete(tables.object_table).where(role))
        connection.execute(update(tables.revision_table).values(author="eve"))
    assert check(engine).faults == (
        f"revision {short}: what it says of itself was changed",
        f"revision {short} cannot be loaded: object {key[:10]} is missing",
    )


def test_a_row_that_points_at_nothing_is_told(database: Path, engine: Engine) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("INSERT INTO tag VALUES ('lost', 'nowhere')")
        connection.commit()
    assert check(engine).faults == ("row 2 of tag points at a revision that does not exist",)


# ---- backup ---------------------------------------------------------------------------------------------------------


def test_a_backup_is_one_whole_file_although_the_database_is_in_use(
    database: Path, engine: Engine, tmp_path: Path
) -> None:
    to = tmp_path / "copy.db"
    with writing(engine) as connection:
        next_number(connection, "run_number")  # not committed, so not in the copy
        size = back_up(database, to)
    assert size == to.stat().st_size
    assert {path.name for path in tmp_path.glob("copy*")} == {"copy.db"}
    copy = open_database(sqlite_url(to))
    try:
        assert check(copy).faults == ()
        assert revisions.load_configuration(copy)[1] == farm()
        assert start_run(copy) == 1
    finally:
        copy.dispose()


def test_a_backup_never_takes_the_place_of_a_file(database: Path, engine: Engine, tmp_path: Path) -> None:
    to = tmp_path / "copy.db"
    to.write_text("somebody's")
    with pytest.raises(DatabaseRefused) as caught:
        back_up(database, to)
    assert str(caught.value) == f"{to} exists; name a new file"
    assert to.read_text() == "somebody's"


def test_a_database_that_is_not_sound_gives_no_backup(database: Path, engine: Engine, tmp_path: Path) -> None:
    with writing(engine) as connection:
        connection.execute(update(tables.revision_table).values(author="eve"))
    to = tmp_path / "copy.db"
    with pytest.raises(DatabaseDamaged) as caught:
        back_up(database, to)
    short = revisions.find_revision(engine).short
    assert str(caught.value) == (
        f"the copy of {database} is not sound: revision {short}: what it says of itself was changed"
    )
    assert list(tmp_path.glob("copy*")) == []


def test_a_place_that_is_not_there_is_told(database: Path, engine: Engine, tmp_path: Path) -> None:
    to = tmp_path / "nowhere" / "copy.db"
    with pytest.raises(DatabaseAway) as caught:
        back_up(database, to)
    assert str(caught.value) == f"{database} could not be copied to {to}: unable to open database file"
    assert caught.value.what_to_try == f"See whether {to.parent} is there, can be written and has room"


# ---- restore --------------------------------------------------------------------------------------------------------


def test_after_a_restore_configurations_are_as_they_were_and_run_numbers_go_on(
    database: Path, engine: Engine, tmp_path: Path
) -> None:
    start_run(engine)
    back_up(database, tmp_path / "copy.db")
    revisions.import_configuration(engine, farm(count=2), "ada", "more", now_ns=6)
    start_run(engine)
    start_run(engine)
    with writing(engine) as connection:
        goal = {"farm": "farm", "content": "{}", "at_ns": 5}
        connection.execute(insert(tables.goal_table), goal)
    engine.dispose()
    done = restore(database, tmp_path / "copy.db", "then")
    assert (done.kept, done.lost_runs, done.skipped) == (tmp_path / "grange.db.before-then", (2, 3), 0)
    restored = open_database(sqlite_url(database))
    try:
        assert revisions.load_configuration(restored)[1] == farm()
        with reading(restored) as connection:
            assert connection.execute(select(tables.goal_table)).all() == []
    finally:
        restored.dispose()
    assert next_run(database) == 4
    assert done.kept is not None
    assert next_run(done.kept) == 4  # the replaced one is whole, and was not touched


def test_what_can_no_longer_be_read_is_replaced_and_its_numbers_are_passed_by(
    database: Path, engine: Engine, tmp_path: Path
) -> None:
    start_run(engine)
    back_up(database, tmp_path / "copy.db")
    engine.dispose()
    database.write_bytes(b"nothing that a database begins with, and long enough" * 100)
    done = restore(database, tmp_path / "copy.db", "then")
    assert (done.lost_runs, done.skipped) == ((), SKIPPED)
    assert next_run(database) == SKIPPED + 2


def test_what_a_restore_has_kept_is_never_overwritten(database: Path, engine: Engine, tmp_path: Path) -> None:
    back_up(database, tmp_path / "copy.db")
    engine.dispose()
    (tmp_path / "grange.db.before-then").write_text("of another restore")
    with pytest.raises(DatabaseRefused) as caught:
        restore(database, tmp_path / "copy.db", "then")
    assert str(caught.value) == f"{tmp_path / 'grange.db.before-then'} exists; try again"
    assert next_run(database) == 1


def test_a_backup_is_restored_where_there_was_no_database(database: Path, engine: Engine, tmp_path: Path) -> None:
    back_up(database, tmp_path / "copy.db")
    place = tmp_path / "elsewhere" / "grange.db"
    place.parent.mkdir()
    assert restore(place, tmp_path / "copy.db", "then").kept is None
    assert next_run(place) == 1
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.db"]


def test_a_file_that_is_no_backup_changes_nothing(database: Path, engine: Engine, tmp_path: Path) -> None:
    engine.dispose()
    before = database.read_bytes()
    with pytest.raises(DatabaseRefused) as refused:
        restore(database, tmp_path / "nowhere.db", "then")
    assert str(refused.value) == f"{tmp_path / 'nowhere.db'} is no file; name a backup, as grange db backup makes them"
    odd = tmp_path / "odd.db"
    odd.write_text("a letter to my aunt, who likes databases\n" * 100)
    with pytest.raises(DatabaseDamaged) as damaged:
        restore(database, odd, "then")
    assert str(damaged.value) == f"{odd} is damaged: file is not a database"
    assert damaged.value.what_to_try == "Name another backup; nothing has changed"
    assert database.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grange.db", "odd.db"]


def test_a_backup_in_the_place_of_a_lost_database_passes_by_the_numbers_given_since_and_the_log_that_was_left(
    database: Path, engine: Engine, tmp_path: Path
) -> None:
    start_run(engine)
    back_up(database, tmp_path / "copy.db")
    engine.dispose()
    database.unlink()
    log = tmp_path / "grange.db-wal"
    log.write_bytes(b"of the lost one")
    done = restore(database, tmp_path / "copy.db", "then", is_lost=True)
    assert (done.kept, done.lost_runs, done.skipped) == (None, (), SKIPPED)
    assert (tmp_path / "grange.db.before-then-wal").read_bytes() == b"of the lost one"
    assert next_run(database) == SKIPPED + 2
