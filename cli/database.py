"""Carries out `grange db …`."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer

from grange.client.home import demand_farm, resolve_home
from grange.controllers.traces import was_there
from grange.core.errors import AddressInUse, GrangeError, InvalidInput, Refused
from grange.core.home import Home
from grange.core.problems import Problem
from grange.proto.sockets import SocketLock
from grange.schema.backup import back_up, restore
from grange.schema.database import open_database, sqlite_url
from grange.schema.errors import SchemaError
from grange.schema.outbox import Outbox
from grange.schema.soundness import check
from grange.schema.version import version_at

from .exits import Exit
from .leftovers import leftovers
from .shell import print_json, say, tell
from .text import size

_DOWN_FIRST = "Take all of it down first: grange down --all"
_NOBODY_TO_ASK = "; where no farm controller can be started: grange down --kill"


def check_database(given: Path | None, *, as_json: bool) -> None:
    home = _home(given)
    with _reported():
        engine = open_database(sqlite_url(Path(home.database)))
        try:
            found = check(engine)
        finally:
            engine.dispose()
    if as_json:
        print_json(asdict(found))
    else:
        for fault in found.faults:
            say(fault)
        amounts = f"schema {found.version}, {found.revisions} revisions, {found.objects} objects, {found.runs} runs"
        tell(f"{home.database} is {'not sound' if found.faults else 'sound'}: {amounts}")
    if found.faults:
        if not as_json:
            say("Put a backup in its place: grange db restore FILE")
        raise typer.Exit(Exit.FAILED)


def back_up_database(given: Path | None, file: Path | None, *, as_json: bool) -> None:
    home = _home(given)
    to = file or Path(home.root, "backup", f"grange-{_stamp()}.db")
    if file is None:
        to.parent.mkdir(mode=0o700, exist_ok=True)
    with _reported():
        count = back_up(Path(home.database), to)
    if as_json:
        print_json({"file": str(to), "size_bytes": count})
        return
    tell(f"backed up: {to} ({size(count)})")


def restore_database(given: Path | None, file: Path, *, as_json: bool) -> None:
    home = resolve_home(given)
    with _alone(home), _reported():
        stamp = _stamp()
        outbox = _outbox_aside(home, stamp)
        try:
            done = restore(Path(home.database), file, stamp, is_lost=bool(was_there(home)))
        except BaseException:
            if outbox is not None:
                os.rename(outbox, home.outbox)
            raise
    if as_json:
        kept = [str(path) for path in (done.kept, outbox) if path is not None]
        print_json({"kept": kept, "lost_runs": list(done.lost_runs), "skipped": done.skipped})
        return
    tell(f"restored: {home.database} from {file}")
    if done.kept is not None:
        tell(f"what was there is kept in {done.kept}")
    if outbox is not None:
        tell(f"records that waited for it are kept in {outbox}")
    if done.lost_runs:
        tell(f"runs that the backup does not know: {', '.join(map(str, done.lost_runs))}")
    if done.skipped:
        why = (
            "what was there could not be read"
            if done.kept is not None
            else "which numbers were given since is not known"
        )
        tell(f"{why}: run numbers go on {done.skipped} further, so that none is given twice")


def upgrade_database(given: Path | None, *, as_json: bool) -> None:
    home = _home(given)
    with _reported():
        before = version_at(Path(home.database))
        engine = open_database(sqlite_url(Path(home.database)))
        try:
            after = check(engine).version
        finally:
            engine.dispose()
    if as_json:
        print_json({"before": before, "after": after})
        return
    tell(f"schema {after} is in place" if before == after else f"upgraded from schema {before} to {after}")


def _home(given: Path | None) -> Home:
    home = resolve_home(given)
    demand_farm(home)
    if not os.path.exists(home.database):  # looking makes none
        what = f"there is no database in {home.root}"
        raise InvalidInput([Problem("home", what)], "One is made by: grange config import FILE")
    return home


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Nobody has the database open or is of this farm, and nobody comes in between."""
    try:
        lock = SocketLock(home.farm_socket)
    except AddressInUse as error:
        raise Refused(f"the farm is up (process {error.pid})", (), _DOWN_FIRST) from None
    with lock:
        if left := [one for one in leftovers(home) if one.startswith("process ")]:
            raise Refused(
                f"of this farm {len(left)} processes run, such as {left[0]}", (), _DOWN_FIRST + _NOBODY_TO_ASK
            )
        yield


def _outbox_aside(home: Home, stamp: str) -> Path | None:
    """What waited for the replaced database is about what the restored one does not know."""
    outbox = Path(home.outbox)
    if not outbox.exists():
        return None
    opened = Outbox(outbox)
    waiting = opened.waiting
    opened.close()
    if not waiting:
        return None
    kept = outbox.with_name(f"outbox.before-{stamp}")
    os.rename(outbox, kept)
    return kept


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise GrangeError(str(error), error.what_to_try) from error


def _stamp() -> str:
    return time.strftime("%Y-%m-%dT%H%M%S")
