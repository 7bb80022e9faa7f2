"""Exact texts of what goes wrong with the database, the outbox and what is kept in them.

Part of the catalogue of errors: tests/packaging/test_error_catalogue.py asks whether a text is missing.
"""

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, update
from sqlalchemy.exc import OperationalError

from grange.core.configuration import Configuration
from grange.core.configuration_text import from_document
from grange.schema import database, revisions, tables
from grange.schema.control import RefreshClaim
from grange.schema.database import open_database, reading, sqlite_url, writing
from grange.schema.errors import DatabaseAway, DatabaseDamaged, SchemaError
from grange.schema.migrate import head
from grange.schema.outbox import Outbox, RecordClass
from grange.schema.trouble import explained
from grange.schema.writer import Writer

LIMIT_S = 30.0


def farm() -> Configuration:
    return from_document(
        {
            "farm": {"name": "small"},
            "sub_farms": {"sf01": {"nodes": ["n1"], "roles": ["psa"]}},
            "roles": {"psa": {"command": ["psa"], "ready": "settle"}},
        }
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "grange.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    opened = open_database(sqlite_url(path))
    yield opened
    opened.dispose()


def said(act: Callable[[], Any]) -> str:
    with pytest.raises((SchemaError, ValueError)) as caught:
        act()
    return str(caught.value)


# ---- the database ---------------------------------------------------------------------------------------------------


def test_an_address_that_makes_no_sense() -> None:
    assert said(lambda: open_database("nonsense")) == (
        '"nonsense" is not a database address; write sqlite:////absolute/path'
    )
    assert said(lambda: open_database("sqlite:////nowhere/farm.db")) == (
        "the folder of /nowhere/farm.db does not exist; create it first"
    )
    assert said(lambda: open_database("oracel://farm")) == (
        "there is no driver for oracel: Can't load plugin: sqlalchemy.dialects:oracel; install it"
    )


def test_a_network_file_system(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "network_file_system", lambda path: "nfs4")
    assert said(lambda: open_database(sqlite_url(path))) == (
        f"{path} lies on a network file system (nfs4), where SQLite's locks cannot be trusted; "
        "choose a home on a local disk, or use PostgreSQL"
    )


def test_a_database_of_a_later_version(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0999'")
    assert said(lambda: open_database(str(engine.url))) == (
        f"the database has schema version 0999, this grange knows versions up to {head()}; "
        "use the grange that upgraded it, or a newer one"
    )


def test_a_database_that_is_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.0)
    engine, other = open_database(sqlite_url(path)), sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    def write() -> None:
        with writing(engine):
            pass

    assert said(write) == f"database sqlite:///{path} cannot be used now: database is locked"
    other.close()
    engine.dispose()


class FromSqlite(Exception):
    """An error of a driver, with the name that SQLite has for it."""

    sqlite_errorname = ""


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        (
            "SQLITE_BUSY",
            DatabaseAway,
            "database sqlite:////farm/grange.db cannot be used now: it says why. "
            "See who has it: fuser -v /farm/grange.db",
        ),
        (
            "SQLITE_FULL",
            DatabaseAway,
            "database sqlite:////farm/grange.db cannot be used now: it says why. "
            "Make room on the disk where it lies, or see what ails that: dmesg",
        ),
        (
            "SQLITE_IOERR_WRITE",
            DatabaseAway,
            "database sqlite:////farm/grange.db cannot be used now: it says why. "
            "Make room on the disk where it lies, or see what ails that: dmesg",
        ),
        (
            "SQLITE_READONLY_DBMOVED",
            DatabaseAway,
            "database sqlite:////farm/grange.db cannot be used now: it says why. "
            "See whether its files or their disk are read-only or immutable (ls -l, mount, lsattr)",
        ),
        (
            "SQLITE_CANTOPEN",
            DatabaseAway,
            "database sqlite:////farm/grange.db cannot be used now: it says why. "
            "See whether its folder is there, can be written and has room",
        ),
        (
            "SQLITE_INTERRUPT",
            DatabaseAway,
            "database sqlite:////farm/grange.db cannot be used now: it says why. "
            "Try again; whether records wait for the database says: grange status",
        ),
        (
            "",
            DatabaseAway,
            "database sqlite:////farm/grange.db cannot be used now: it says why. "
            "See whether its server runs and can be reached from here",
        ),
        (
            "SQLITE_NOTADB",
            DatabaseDamaged,
            "database sqlite:////farm/grange.db is damaged: it says why. "
            "Put its backup in its place, or name another farm with --home",
        ),
        (
            "SQLITE_CORRUPT_INDEX",
            DatabaseDamaged,
            "database sqlite:////farm/grange.db is damaged: it says why. "
            "Put its backup in its place, or name another farm with --home",
        ),
    ],
)
def test_only_a_damaged_database_is_to_be_replaced_by_its_backup(name: str, kind: type[SchemaError], text: str) -> None:
    error = FromSqlite("it says why")
    error.sqlite_errorname = name
    found = explained(make_url("sqlite:////farm/grange.db"), OperationalError("BEGIN", None, error))
    assert (type(found), f"{found}. {found.what_to_try}") == (kind, text)


def test_who_has_locked_a_database_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.0)
    engine = open_database(sqlite_url(path))
    lock = f"import sqlite3; c = sqlite3.connect({str(path)!r}); c.execute('BEGIN EXCLUSIVE'); print('.'); input()"
    with subprocess.Popen([sys.executable, "-c", lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        name = Path(f"/proc/{other.pid}/comm").read_text().strip()
        with pytest.raises(DatabaseAway) as caught, writing(engine):
            pass
        other.communicate(b"\n")
    assert f"{caught.value}. {caught.value.what_to_try}" == (
        f"database sqlite:///{path} cannot be used now: database is locked by {name} (process {other.pid}). "
        "Wait until that one is done with it, or end it"
    )
    engine.dispose()


def test_a_database_whose_index_cannot_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_database(sqlite_url(path))
    index = Path(f"{os.path.realpath(path)}-shm")
    index.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write every file that is not immutable

    def write() -> None:
        with writing(engine):
            pass

    assert said(write) == (
        f"database index {index} cannot be written; see whether it is read-only or immutable (lsattr)"
    )
    engine.dispose()


def test_connections_that_are_all_in_use(engine: Engine) -> None:
    engine.pool._timeout = 0.0  # type: ignore[attr-defined]
    held = [engine.connect() for _ in range(15)]  # of the pool, and those that it lends beside

    def read() -> None:
        with reading(engine):
            pass

    assert said(read) == f"database {engine.url}: all connections are in use"
    for connection in held:
        connection.close()


def test_a_writer_whose_database_gives_no_answer_and_one_that_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.0)
    engine, other = open_database(sqlite_url(path)), sqlite3.connect(path, isolation_level=None)
    outbox = Outbox(path.with_name("outbox"))
    writer = Writer(engine, outbox, retry_s=(0.01, 0.01))
    writer.start()
    other.execute("BEGIN EXCLUSIVE")
    request = RefreshClaim("small", 1, 1)
    assert said(lambda: writer.ask(request, 0.05).result(LIMIT_S)) == (
        f"the database gave no answer in time: database {engine.url} cannot be used now: database is locked"
    )
    other.close()
    writer.close(LIMIT_S)
    assert said(lambda: writer.ask(request, LIMIT_S).result(LIMIT_S)) == "the database writer is closed"
    outbox.close()
    engine.dispose()


# ---- revisions ------------------------------------------------------------------------------------------------------


def test_a_revision_that_nobody_knows(engine: Engine) -> None:
    assert said(lambda: revisions.load_configuration(engine)) == (
        "there is no configuration yet; import one first: grange config import FILE"
    )
    root = revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5).revision.root
    assert said(lambda: revisions.load_configuration(engine, "curent")) == (
        'there is no revision or tag "curent"; did you mean "current"?'
    )
    with writing(engine) as connection:
        for ending in "ab":
            row = {"root": root, "author": "ada", "created_at_ns": 6, "message": "", "hash": "1234567" + ending * 57}
            connection.execute(tables.revision_table.insert(), row)
    assert said(lambda: revisions.find_revision(engine, "123456")) == (
        '"123456" fits several revisions (1234567aaaaaaaaa, 1234567bbbbbbbbb…); give more digits'
    )


def test_a_tag_that_cannot_be_one(engine: Engine) -> None:
    revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    assert said(lambda: revisions.set_tag(engine, "beef", "current", "bob", now_ns=7)) == (
        'tag "beef" could be taken for the hash of a revision; use another letter in it'
    )
    assert said(lambda: revisions.set_tag(engine, "x" * 65, "current", "bob", now_ns=7)) == (
        '"xxxxxxxxxxxxxxxxxxxx…" is longer than 64 characters'
    )


def test_content_that_was_tampered_with(engine: Engine) -> None:
    revisions.import_configuration(engine, farm(), "ada", "first", now_ns=5)
    with writing(engine) as connection:
        role = tables.object_table.c.kind == "role"
        key = connection.execute(tables.object_table.select().where(role)).one().hash
        connection.execute(update(tables.object_table).where(role).values(content='{"command":["rm"]}'))
    assert said(lambda: revisions.load_configuration(engine)) == (
        f"the stored role {key[:10]} was changed; restore the database from a backup"
    )


# ---- the outbox -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_outbox(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.write_text("these are notes")
    assert said(lambda: Outbox(notes)) == (f"{notes} is not an outbox of this version; move it away if it may be lost")
    assert said(lambda: Outbox(tmp_path)) == f"outbox {tmp_path} cannot be opened: Is a directory"


def test_an_outbox_that_cannot_be_read_written_or_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outbox"

    def failing(number: int, *_: Any, **__: Any) -> int:
        raise OSError(number, os.strerror(number))

    refuse = partial(failing, errno.ENOSPC)
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "_read", refuse)
        assert said(lambda: Outbox(path)) == f"outbox {path} cannot be read: No space left on device"
    outbox = Outbox(path, limit_bytes=1000)
    outbox.append({"text": "x" * 600}, "sample", RecordClass.SAMPLE)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        assert said(lambda: outbox.append({}, "b", RecordClass.ESSENTIAL)) == (
            f"outbox {path}: a record could not be made durable (No space left on device); make room on the disk"
        )
    what_to_try = {
        errno.EPERM: "see whether the file or its disk is read-only or immutable (ls -l, mount, lsattr)",
        errno.EIO: "see what ails the disk: dmesg",
    }
    for number, to_try in what_to_try.items():
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", partial(failing, number))
            assert said(lambda: outbox.append({}, "b", RecordClass.ESSENTIAL)) == (
                f"outbox {path}: a record could not be made durable ({os.strerror(number)}); {to_try}"
            )
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        assert said(lambda: outbox.append({"text": "x" * 600}, "c", RecordClass.ESSENTIAL)) == (
            f"outbox {path} cannot be rewritten: No space left on device"
        )
    outbox.close()


def test_an_outbox_that_holds_too_much(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox", limit_bytes=1000)

    def fill() -> None:
        for number in range(9):
            outbox.append({"text": "x" * 400}, f"record{number}", RecordClass.ESSENTIAL)

    text = said(fill)
    held = text.split(" holds ")[1].split(" ")[0]
    assert text == (
        f"outbox {tmp_path}/outbox holds {held} bytes of essential records, for the database has been away too long; "
        "bring the database back, then give the command again"
    )
    outbox.close()
