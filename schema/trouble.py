"""What a database driver's error means for people: away or damaged, who is in the way, what to try.

SQLite's errors have names; those of a server have a text that says all there is to be said. Who holds a SQLite file's
locks is read from /proc/locks: to ask by opening the file would give up the locks that this very process holds.
"""

import os
from pathlib import Path

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from .errors import TRY_AGAIN, DatabaseAway, DatabaseDamaged

_HOLDERS_SHOWN_MAX = 3
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")  # extended names begin with these
_LOCKED = ("SQLITE_BUSY", "SQLITE_LOCKED")
_WHAT_TO_TRY = {
    ("SQLITE_FULL", "SQLITE_IOERR"): "Make room on the disk where it lies, or see what ails that: dmesg",
    ("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH"): (
        "See whether its files or their disk are read-only or immutable (ls -l, mount, lsattr)"
    ),
    ("SQLITE_CANTOPEN",): "See whether its folder is there, can be written and has room",
}
_SERVER = "See whether its server runs and can be reached from here"


def explained(address: URL, error: DBAPIError) -> DatabaseAway | DatabaseDamaged:
    """The error to raise for a database that could not be used, of which the driver says `error`."""
    where, name = address.render_as_string(hide_password=True), getattr(error.orig, "sqlite_errorname", "")
    if name.startswith(_DAMAGED):
        return DatabaseDamaged(f"database {where} is damaged: {error.orig}")
    if name.startswith(_LOCKED):
        if held := ", ".join(_holders(Path(address.database or ""))):
            reason = f"database {where} cannot be used now: {error.orig} by {held}"
            return DatabaseAway(reason, "Wait until that one is done with it, or end it")
        return DatabaseAway(
            f"database {where} cannot be used now: {error.orig}", f"See who has it: fuser -v {address.database}"
        )
    known = (words for names, words in _WHAT_TO_TRY.items() if name.startswith(names))
    what_to_try = next(known, TRY_AGAIN if name else _SERVER)
    return DatabaseAway(f"database {where} cannot be used now: {error.orig}", what_to_try)


def _holders(database: Path) -> list[str]:
    """Who else has locked a SQLite database for writing, as far as the kernel tells: `sqlite3 (process 4711)`."""
    pids: list[int] = []
    for file in (database, database.with_name(f"{database.name}-shm")):
        try:
            status = os.stat(file)
            lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for fields in map(str.split, lines):
            if fields[1:2] == ["POSIX"] and fields[3:4] == ["WRITE"] and fields[5] == place:
                pids.append(int(fields[4]))
    others = [pid for pid in dict.fromkeys(pids) if pid not in (0, os.getpid())]  # 0: out of our sight
    return [f"{_program(pid)} (process {pid})" for pid in others[:_HOLDERS_SHOWN_MAX]]


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a program"
