"""Which farm is meant: `--home`, else GRANGE_HOME, else `grange/default` in the user's XDG state directory."""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from grange.core.errors import InvalidInput, NotAllowed
from grange.core.home import Home
from grange.core.problems import Problem


def resolve_home(given: str | os.PathLike[str] | None = None, environment: Mapping[str, str] = os.environ) -> Home:
    """The home that is meant; nothing is made or looked up. A leading `~` is the user's own directory.

    An XDG_STATE_HOME that is not absolute is ignored, as the XDG specification asks.
    """
    named = os.fspath(given) if given else environment.get("GRANGE_HOME", "")
    if named:
        return Home(os.path.abspath(Path(named).expanduser()))
    state = environment.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()
    return Home(os.path.abspath(base / "grange" / "default"))


def demand_farm(home: Home) -> None:
    """Raises `InvalidInput` when there is nothing of a farm in that directory, `NotAllowed` when it is closed to us."""
    if any(os.path.exists(path) for path in (home.farm_socket, home.database, home.outbox, home.farm_log)):
        return
    there = os.path.exists(home.root)
    if os.path.isdir(home.root) and not os.access(home.root, os.X_OK):
        raise NotAllowed(
            f"the directory {home.root} is not open to you", "Ask the farm's owner for its group (docs/security.md)"
        )
    why = "" if os.path.isdir(home.root) else ": that is a file" if there else ": there is no such directory"
    raise InvalidInput(
        [Problem("home", f"there is no farm in {home.root}{why}")],
        "Name its directory with --home or GRANGE_HOME, or make a farm there with: grange config import FILE",
    )


def demand_own(home: Home) -> None:
    """Raises `NotAllowed` when the home is another user's, for what sees and signals that user's processes."""
    owner_uid = os.stat(home.root).st_uid
    if os.geteuid() in (0, owner_uid):
        return
    try:
        owner = pwd.getpwuid(owner_uid).pw_name
    except KeyError:  # as in some containers
        owner = f"uid {owner_uid}"
    raise NotAllowed(
        f"the farm in {home.root} is {owner}'s: only {owner}, or root, can look at its processes and signal them",
        f"Repeat the command as {owner}",
    )
