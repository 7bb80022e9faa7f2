"""Opening a farm's database: the right settings on every connection, the schema brought to this version.

`open_database` takes a SQLAlchemy address (`sqlite:////data/farm/grange.db`, `postgresql+psycopg://…`). Everything
after that goes through two doors: `writing(engine)`, a transaction with the write lock from its first statement, and
`reading(engine)`, which waits for no writer.

SQLite runs with a write-ahead log and `synchronous=FULL`: what was committed is there after a power cut. Writers begin
with BEGIN IMMEDIATE, so that two of them queue at the beginning instead of failing at the end; Python's own implicit
transactions are switched off.

The log's index (`…-shm`) is mapped into memory and written by readers too, and a page that cannot be written there ends
the program by SIGBUS. So each transaction asks first whether it may be written, and is told away when it may not.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from .errors import DatabaseAway, DatabaseDamaged, DatabaseRefused
from .storage import network_file_system
from .tables import VERSION
from .trouble import explained
from .version import version_of

Database = Engine  # what programs outside of this package call it

BUSY_TIMEOUT_S = 5.0  # how long a SQLite writer waits for another one


def open_database(url: str) -> Engine:
    """The engine of a database whose schema is up to date; creates the schema (for SQLite, the file too) if need be.

    Raises `DatabaseRefused` for an address that makes no sense, a network file system or a database that a newer grange
    has changed, `DatabaseDamaged` for what is none, and `DatabaseAway` when it cannot be used just now. The caller
    disposes of the engine.
    """
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise DatabaseRefused(f'"{url}" is not a database address; write sqlite:////absolute/path') from error
    _refuse_network_file_system(address)
    try:
        engine = _create_engine(address)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseRefused(f"there is no driver for {address.drivername}: {error}; install it") from error
    try:
        _bring_up_to_date(engine)
    except DBAPIError as error:
        engine.dispose()
        raise explained(address, error) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def _bring_up_to_date(engine: Engine) -> None:
    with engine.connect().execution_options(grange_read_only=True) as connection:
        if version_of(connection) == VERSION:
            return
    # Here, for Alembic takes a tenth of a second to load, and a farm controller that is started again needs none of it.
    from .migrate import upgrade  # noqa: PLC0415

    upgrade(engine)


def sqlite_url(path: Path) -> str:
    """The address of a SQLite file."""
    return URL.create("sqlite", database=str(path.absolute())).render_as_string()


def _refuse_network_file_system(address: URL) -> None:
    if address.get_backend_name() != "sqlite" or not address.database or address.database == ":memory:":
        return
    path = Path(address.database)
    if kind := network_file_system(path):
        raise DatabaseRefused(
            f"{path} lies on a network file system ({kind}), where SQLite's locks cannot be trusted; "
            "choose a home on a local disk, or use PostgreSQL"
        )
    if not path.parent.is_dir():
        raise DatabaseRefused(f"the folder of {path} does not exist; create it first")


def _create_engine(address: URL) -> Engine:
    if address.get_backend_name() != "sqlite":
        # a connection that died while it lay in the pool is found out before it is used
        return create_engine(address, pool_pre_ping=True)
    engine = create_engine(address, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _set_up_sqlite)
    if address.database and address.database != ":memory:":
        event.listen(engine, "begin", partial(_demand_index, os.path.realpath(address.database) + "-shm"))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin when `_begin_sqlite` says so
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _demand_index(path: str, _connection: Connection) -> None:
    """Raises `DatabaseAway` for an index that is there and cannot be written, by root either (immutable)."""
    if not os.access(path, os.W_OK) and os.path.exists(path):
        raise DatabaseAway(
            f"database index {path} cannot be written; see whether it is read-only or immutable (lsattr)"
        )


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("grange_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write: committed at the end, rolled back if an error leaves it."""
    with _translated(engine), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads, on one consistent snapshot; it waits for no writer."""
    with _translated(engine), engine.connect() as connection:
        yield connection.execution_options(grange_read_only=True)


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if is_away(error):
            raise explained(engine.url, error) from error
        raise
    except PoolTimeoutError as error:
        raise DatabaseAway(f"database {engine.url.render_as_string()}: all connections are in use") from error


def is_away(error: BaseException) -> bool:
    """Whether the database, not what was asked of it, is at fault: gone, locked, full, damaged."""
    if isinstance(error, DBAPIError):
        asked_wrong = isinstance(error, IntegrityError | DataError | ProgrammingError)
        return error.connection_invalidated or not asked_wrong
    return isinstance(error, PoolTimeoutError | DatabaseAway | DatabaseDamaged)
