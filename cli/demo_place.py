"""Where the demonstration may live: a home of its own, one that is named and free for it, or a fresh one.

Nothing of anybody's is changed or removed: a home with another farm, or with a farm that is up, is refused.
"""

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from grange.client.home import resolve_home
from grange.client.values import Revision
from grange.core.errors import AddressInUse, GrangeError, InvalidInput, Refused
from grange.core.home import Home
from grange.core.problems import Problem
from grange.proto.sockets import SocketLock

from .offline import open_store

MESSAGE = "grange demo"  # of its configuration, by which it knows a home of its own


@contextmanager
def place(given: Path | None, *, fresh: bool) -> Iterator[Home]:
    """Where the farm is to live; a fresh home goes afterwards, unless there is a farm in it that is up.

    Raises `InvalidInput` for a fresh home that is named: what would be removed might be somebody's.
    """
    if not fresh:
        yield _home(given)
        return
    if given is not None:
        what = f"a fresh home is one that is made and removed, and {given} is named"
        raise InvalidInput([Problem("--fresh", what)], "Give either --fresh or --home")
    where = Home(tempfile.mkdtemp(prefix="grange-"))
    try:
        yield where
    finally:
        if not _controller(where):
            shutil.rmtree(where.root, ignore_errors=True)


def _home(given: Path | None) -> Home:
    if given is not None:
        return resolve_home(given)
    if os.environ.get("GRANGE_HOME"):
        return resolve_home()
    return Home(str(Path(resolve_home().root).parent / "demo"))


def demand_room(home: Home) -> None:
    """Raises `Refused` when the home has a farm that is up, or another farm than this, before anything is changed."""
    elsewhere = "Choose an empty directory: grange demo --home DIRECTORY"
    if not Path(home.database).exists():
        return
    if up := _controller(home):
        with suppress(GrangeError):  # whoever does not answer is not ended on a guess
            if _is_own(_current(home)):
                elsewhere += f"; or end that demonstration: {ending(home)}"
        raise Refused(f"the farm of {home.root} is up ({up})", (), elsewhere)
    current = _current(home)
    if current is not None and not _is_own(current):
        named = f"revision {current.hash[:10]}" + (f", {current.message!r}" if current.message else "")
        raise Refused(f"{home.root} has a farm of another configuration ({named})", (), elsewhere)


def _controller(home: Home) -> str:
    """The farm controller of that home, for people; empty when there is none."""
    try:
        SocketLock(home.farm_socket, shared=True).release()
    except AddressInUse as error:
        return f"process {error.pid}"
    return ""


def ending(home: Home) -> str:
    """What ends a farm and its controller, for the shell."""
    return f"grange --home {shlex.quote(home.root)} down --all"


def _current(home: Home) -> Revision | None:
    with open_store(Path(home.root)) as store:
        return next((revision for revision in store.config_list() if "current" in revision.tags), None)


def _is_own(revision: Revision | None) -> bool:
    return revision is not None and revision.message == MESSAGE
