"""Who calls, as this process's user: what the records show until callers have credentials."""

import getpass
import os


def user_name() -> str:
    """The user's name in ASCII, which is what gRPC's metadata takes."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a uid without an entry, as in some containers
        name = f"uid {os.getuid()}"
    return name.encode("ascii", "replace").decode()
