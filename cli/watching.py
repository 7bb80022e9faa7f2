"""Carries out `grange watch`: the live tree, or JSON lines.

A controller that goes away is not the end: the last view stays, marked as old, and the watch dials again until it is
back or Ctrl-C.
"""

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from grange.client import AsyncFarm, View
from grange.client.values import as_json as to_json
from grange.core.errors import Unavailable

from .shell import print_json_line
from .showing import fitting_depth
from .text import clock, console, lease_words
from .tree import busy_text, causes_lines, headline, tree

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
        screen: RenderableType = Text("")
        terminal = console()
        with Live(screen, console=terminal, auto_refresh=False, screen=terminal.is_terminal) as live:
            while True:
                try:
                    async with aclosing(farm.watch(path, depth)) as views:
                        async for view in views:
                            screen = _screen(view, path)
                            live.update(screen, refresh=True)
                except Unavailable as error:
                    live.update(
                        Group(screen, Text(f"\nlast known; {error.reason}; dialling again", "red")), refresh=True
                    )
                    await asyncio.sleep(_REDIAL_INTERVAL_S)


def _screen(view: View, path: str) -> RenderableType:
    top = view.members.get(path)
    parts: list[RenderableType] = []
    if top is not None:
        parts.append(headline(top).append(f"   {clock(time.time())}", style="dim"))
        if view.lease is not None:
            parts.append(Text(f"lease: {lease_words(view.lease)}"))
        if top.busy is not None:
            parts.append(busy_text(top.busy))
        parts.append("")
    told = {cause.reason for cause in view.causes}
    return Group(*parts, *causes_lines(view.causes, top), tree(view.members.values(), told))
