"""How things look in a terminal: colours by state and health, times, sizes and revisions in few characters.

`colours.py` says whether there are colours. What goes to a file or a pipe is not cut to a width.
"""

import re
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from grange.client.values import Lease
from grange.core.names import Health, Membership, State
from grange.proto.log_lines import local_stamp

from . import colours
from .plain import in_one_line, plain

_FILLING = re.compile(r" +(?=\n)")
_PIPE_WIDTH = 10_000  # columns; wide enough that no sentence is broken
_STATE_STYLES = {
    State.TAKING: "bold green",
    State.PAUSED: "yellow",
    State.CONFIGURED: "cyan",
    State.LOADED: "cyan",
    State.BOOTED: "cyan",
    State.INITIAL: "",
    State.ABSENT: "dim",
    State.MIXED: "magenta",
    State.UNKNOWN: "bold magenta",
}
_HEALTH_STYLES = {Health.OK: "green", Health.DEGRADED: "yellow", Health.ERROR: "bold red"}


class _Trimmed:
    """A stream that gets no blanks at the ends of lines: columns are filled up for eyes, not for `diff` and `grep`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(_FILLING.sub("", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Console(Console):
    """A reader that goes away is `shell.py`'s business; rich would end the program with an error."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """All that is printed comes by here; what rich itself has to tell the terminal are control segments."""
        for segment in super().render(renderable, options):
            text = segment.text
            if segment.control or text.isprintable() or text == "\n":
                yield segment
            else:
                yield Segment(plain(text), segment.style)


def console(*, stderr: bool = False) -> Console:
    """A console for what is meant to be read; made when needed, so that it writes where the stream points then."""
    stream = sys.stderr if stderr else sys.stdout
    terminal, coloured = stream.isatty(), colours.wanted(stream)
    return _Console(
        file=stream if terminal else cast(TextIO, _Trimmed(stream)),
        width=None if terminal else _PIPE_WIDTH,
        force_terminal=terminal,
        color_system=("auto" if terminal else "standard") if coloured else None,
        no_color=not coloured,
        highlight=False,
        emoji=False,
        markup=False,
    )


def state(word: State) -> Text:
    return Text(word.value, style=_STATE_STYLES.get(word, "blue"))  # blue: on the way


def health(word: Health) -> Text:
    return Text(word.value, style=_HEALTH_STYLES[word])


def membership(word: Membership) -> str:
    """Nothing for a member that is in: that is the rule."""
    return "" if word is Membership.IN else word.value


def moment(unix_s: float) -> str:
    """To the second, in local time; a dash for what has not happened."""
    return local_stamp(unix_s, milliseconds=False) if unix_s else "-"


def lease_words(lease: Lease) -> str:
    """Who may command, since when and until when."""
    since, until = (
        datetime.fromtimestamp(unix_s).strftime("%a %H:%M") for unix_s in (lease.since_unix_s, lease.until_unix_s)
    )
    comment = f" ({in_one_line(lease.comment)})" if lease.comment else ""
    return f"{lease.holder}, since {since} until {until}{comment}"


def size(count: int) -> str:
    """Bytes in decimal units."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def revision(hash: str) -> str:
    """Enough of a hash for people; a dash for none."""
    return hash[:10] or "-"
