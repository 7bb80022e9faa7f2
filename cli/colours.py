"""Whether there are colours: as `--color` says, else as NO_COLOR and FORCE_COLOR say, else at a terminal only.

The choice is one for the whole program, made once before any command runs, as the environment's is.
"""

import os
from enum import StrEnum
from typing import TextIO


class Colour(StrEnum):
    """What a person may ask for."""

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


_chosen = [Colour.AUTO]


def choose(colour: Colour) -> None:
    """What `--color` says."""
    _chosen[0] = colour


def wanted(stream: TextIO) -> bool:
    """Whether what is written to `stream` is coloured; an empty NO_COLOR or FORCE_COLOR says nothing."""
    if _chosen[0] is not Colour.AUTO:
        return _chosen[0] is Colour.ALWAYS
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()
