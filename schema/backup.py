"""A copy of a farm's database, made while it is in use; and putting one in its place again.

A copy is made by SQLite's own backup, which sees one consistent state however many write, and is checked before it gets
its name: whoever finds the file finds a whole one.

What is put back is older than the farm. Numbers that are never given twice (runs, incarnations) therefore go on from
where the database stood that it replaces; if that one is lost or cannot be read any more, so far beyond that no number
can have been given. What the farm was to do is forgotten: nobody wants yesterday's command carried out. The replaced
database is kept beside it, under another name; so is the log that a lost one has left, which would be read as the
backup's own.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, update

from .database import open_database, sqlite_url, writing
from .errors import DatabaseAway, DatabaseDamaged, DatabaseRefused
from .soundness import check
from .statements import raise_number
from .tables import goal_table, sequence_table

SKIPPED = 10_000  # numbers, where nobody can say any more which were given
_FILES = ("", "-wal", "-shm")  # of a SQLite database


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did."""

    kept: Path | None  # where the replaced database is now; None: there was none
    lost_runs: tuple[int, ...]  # known to the replaced database and not to the one put back
    skipped: int  # numbers left out, because those given last are not known; 0: none


def back_up(database: Path, to: Path) -> int:
    """Copies a database into a new file; its size in bytes.

    Raises `DatabaseRefused` for a file that exists or cannot be written, `DatabaseDamaged` for a database, or a copy,
    that is not sound.
    """
    if to.exists():
        raise DatabaseRefused(f"{to} exists; name a new file")
    partial = to.with_name(f"{to.name}.part")
    try:
        with _reported(database, to):
            _copy(database, partial)
            _demand_sound(partial, f"the copy of {database}")
            _make_one_file(partial)
            os.link(partial, to)  # unlike a rename, never over a file that has come meanwhile
            _flush(to.parent)
    finally:
        for suffix in _FILES:
            partial.with_name(partial.name + suffix).unlink(missing_ok=True)
    return to.stat().st_size


def restore(database: Path, backup: Path, stamp: str, *, is_lost: bool = False) -> Restored:
    """Puts a backup in the place of a database that nobody has open. `stamp` becomes part of the kept one's name.

    `is_lost`: where there is none now there was one, which has given numbers since. Raises `DatabaseRefused` or
    `DatabaseDamaged` for a backup that cannot be used; then nothing has changed.
    """
    if not backup.is_file():
        raise DatabaseRefused(f"{backup} is no file; name a backup, as grange db backup makes them")
    partial = database.with_name(f"{database.name}.part")
    try:
        with _reported(backup, database):
            _demand_copy(backup, partial)
            replaced = database.exists()
            before = _numbers(database) if replaced else None
            lost = tuple(sorted(_runs(database) - _runs(partial))) if replaced else ()
            unknown = before is None and (replaced or is_lost)
            _go_on_from(partial, before or {}, SKIPPED if unknown else 0)
            _make_one_file(partial)
            kept = _put_aside(database, stamp)
            os.rename(partial, database)
            _flush(database.parent)
    finally:
        for suffix in _FILES:
            partial.with_name(partial.name + suffix).unlink(missing_ok=True)
    return Restored(kept, lost, SKIPPED if unknown else 0)


def _demand_copy(backup: Path, to: Path) -> None:
    """Copies a backup that is sound. Raises `DatabaseDamaged` for one that is not."""
    try:
        with _reported(backup, to):
            _copy(backup, to)
        _demand_sound(to, str(backup))
    except DatabaseDamaged as error:
        error.what_to_try = "Name another backup; nothing has changed"
        raise


def _copy(source: Path, to: Path) -> None:
    address = f"{source.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as reader, closing(sqlite3.connect(to)) as writer:
        reader.backup(writer)
    os.chmod(to, 0o600)


def _make_one_file(database: Path) -> None:
    """Without a log beside it, so that it can be copied like any file."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE").close()


@contextmanager
def _reported(source: Path, to: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            raise DatabaseDamaged(f"{source} is damaged: {error}") from error
        what_to_try = f"See whether {to.parent} is there, can be written and has room"
        raise DatabaseAway(f"{source} could not be copied to {to}: {error}", what_to_try) from error
    except OSError as error:
        raise DatabaseAway(f"{error.filename or to}: {error.strerror}", "Mend that and repeat the command") from error


def _demand_sound(path: Path, what: str) -> None:
    """Opening it brings it to this version's schema, or refuses a later one."""
    engine = open_database(sqlite_url(path))
    try:
        faults = check(engine).faults
    finally:
        engine.dispose()
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise DatabaseDamaged(f"{what} is not sound: {faults[0]}{more}")


def _numbers(database: Path) -> Mapping[str, int] | None:
    """The numbers given last by their sequences; None when that cannot be read."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return dict(connection.execute("SELECT name, value FROM sequence"))
    except sqlite3.Error:
        return None


def _runs(database: Path) -> set[int]:
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return {number for (number,) in connection.execute("SELECT number FROM run")}
    except sqlite3.Error:
        return set()


def _go_on_from(database: Path, before: Mapping[str, int], skipped: int) -> None:
    """Numbers go on behind the last one given, or so many further; and there is no goal."""
    engine = open_database(sqlite_url(database))
    try:
        with writing(engine) as connection:
            for name, value in before.items():
                raise_number(connection, name, value)
            if skipped:
                connection.execute(update(sequence_table).values(value=sequence_table.c.value + skipped))
            connection.execute(delete(goal_table))
    finally:
        engine.dispose()


def _put_aside(database: Path, stamp: str) -> Path | None:
    """Gives a database, with its log, another name beside its own; None where there is only a log, or nothing."""
    kept = database.with_name(f"{database.name}.before-{stamp}")
    if kept.exists():
        raise DatabaseRefused(f"{kept} exists; try again")
    log, index = (database.with_name(database.name + suffix) for suffix in ("-wal", "-shm"))
    if log.exists() and not log.stat().st_size:  # it has nothing that the database does not have
        log.unlink()
        index.unlink(missing_ok=True)
    for suffix in reversed(_FILES):  # its log first: without its database it is read by nobody
        file = database.with_name(database.name + suffix)
        if file.exists():
            os.rename(file, kept.with_name(kept.name + suffix))
    return kept if kept.exists() else None


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
