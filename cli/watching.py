"""Carries out `grange watch`: the live tree, or JSON lines.

A controller that goes away is not the end: the last view stays, below a first line that says so in red, and the watch
dials again until it is back or Ctrl-C. What does not fit on the screen is counted in its last line.
"""

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from grange.client import AsyncFarm, View
from grange.client.values import as_json as to_json
from grange.core.errors import Unavailable

from .shell import print_json_line
from .showing import fitting_depth
from .text import console, lease_words, moment
from .tree import busy_text, causes_lines, headline, own_sentence, tree

_REDIAL_INTERVAL_S = 1.0


def show_changes(home: Path | None, path: str, depth: int | None, *, as_json: bool) -> None:
    """Until Ctrl-C; raises `Unavailable` when nobody answered at the beginning."""
    asyncio.run(_lines(home, path, depth) if as_json else _live(home, path, depth))


async def _lines(home: Path | None, path: str, depth: int | None) -> None:
    async with AsyncFarm(home) as farm:
        if depth is None:
            depth = await fitting_depth(farm, path)
        async with aclosing(farm.watch(path, depth)) as views:
            async for view in views:
                change = {
                    "changed": [to_json(view.members[member]) for member in view.changed],
                    "removed": view.removed,
                    "exceptions": [member.path for member in view.exceptions],
                    "causes": [to_json(cause) for cause in view.causes],
                    "lease": to_json(view.lease) if view.lease is not None else None,
                }
                print_json_line(change)


async def _live(home: Path | None, path: str, depth: int | None) -> None:
    async with AsyncFarm(home) as farm:
        if depth is None:
            depth = await fitting_depth(farm, path)
        screen, heard_unix_s = Screenful(Group(), Group()), 0.0
        terminal = console()
        with Live(screen, console=terminal, auto_refresh=False, screen=terminal.is_terminal) as live:
            while True:
                try:
                    async with aclosing(farm.watch(path, depth)) as views:
                        async for view in views:
                            screen, heard_unix_s = _screen(view, path), time.time()
                            live.update(screen, refresh=True)
                except Unavailable as error:
                    live.update(_last_known(screen, heard_unix_s, error), refresh=True)
                    await asyncio.sleep(_REDIAL_INTERVAL_S)


class Screenful:
    """A head and rows of one line each; on a terminal too small for all rows the last line says how many more."""

    def __init__(self, head: RenderableType, rows: RenderableType) -> None:
        self.head, self.rows = head, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        freely = options.reset_height()
        head = console.render_lines(self.head, freely, pad=False)
        rows = console.render_lines(self.rows, freely, pad=False)
        more = len(head) + len(rows) - options.max_height
        if console.is_terminal and more > 0:
            head = head[: options.max_height - 1]
            kept = options.max_height - 1 - len(head)
            end = Text(f"… {len(rows) - kept} more", "yellow")
            rows = [*rows[:kept], *console.render_lines(end, freely, pad=False)]
        for line in (*head, *rows):
            yield from line
            yield Segment.line()


def _screen(view: View, path: str) -> Screenful:
    top = view.members.get(path)
    told = {cause.reason for cause in view.causes}
    head: list[RenderableType] = []
    if top is not None:
        head.append(headline(top).append(f"   {moment(time.time())}", style="dim"))
        if view.lease is not None:
            head.append(Text(f"lease: {lease_words(view.lease)}"))
        if top.busy is not None:
            head.append(busy_text(top.busy))
        elif sentence := own_sentence(top, told):
            head.append(sentence)
            told.add(top.status)
        head.append("")
    returning = any(member.returning for member in view.members.values())
    return Screenful(
        Group(*head, *causes_lines(view.causes, top, returning=returning)),
        tree(view.members.values(), told, one_line=True),
    )


def _last_known(screen: Screenful, heard_unix_s: float, error: Unavailable) -> Screenful:
    """What was seen last, below what it is."""
    since = f" since {moment(heard_unix_s)}" if heard_unix_s else ""
    gone = Text(f"NOT LIVE{since}: {error.reason}; dialling again", "bold red")
    return Screenful(Group(gone, screen.head), screen.rows)
