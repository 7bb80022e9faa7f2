"""Which farm is meant: `--home`, else GRANGE_HOME, else `grange/default` in the user's XDG state directory."""

import os
from collections.abc import Mapping
from pathlib import Path

from grange.core.home import Home


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
