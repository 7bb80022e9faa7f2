"""Carries out `grange status`, `show` and `story`: one question, one answer."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from grange.client import AsyncFarm, Status
from grange.client.home import resolve_home
from grange.client.values import as_json as to_json
from grange.core.errors import Unavailable, UnknownMember
from grange.core.selectors import parse
from grange.proto.log_lines import local_stamp

from .plain import in_one_line
from .shell import print_json, tell
from .text import console
from .tree import EXPANDED_PROCESSES_MAX, part, whole

if TYPE_CHECKING:
    from grange.client import MemberPage

_FARM_WORD = "farm"  # what a story calls the farm itself, so it can be asked for by that too
_ALL_LEVELS = 3  # sub-farms, nodes, processes


def show_status(home: Path | None, path: str, depth: int | None, *, as_json: bool) -> None:
    async def ask() -> Status:
        async with AsyncFarm(home) as farm:
            return await farm.status(path, await fitting_depth(farm, path) if depth is None else depth)

    status = asyncio.run(ask())
    if as_json:
        print_json(to_json(status))
    else:
        console().print(whole(status) if parse(path).is_path else part(status))


async def fitting_depth(farm: AsyncFarm, path: str) -> int:
    """How deep to look when nobody said: down to the processes while they fit on a screen or two, else one level."""
    selector = parse(path)
    if not selector.is_path:
        return 0 if selector.role else 1
    counts = (await farm.status(path, 0)).member.counts
    processes = sum(count.processes for count in counts)
    return _ALL_LEVELS if processes <= EXPANDED_PROCESSES_MAX else 1


def show_page(home: Path | None, path: str, lines: int, *, as_json: bool) -> None:
    try:
        page = asyncio.run(_page(home, path, lines))
    except Unavailable as error:
        if not Path(resolve_home(home).database).exists():
            raise
        from .page_offline import offline_page  # the database and all that it needs, only when nobody answers

        page = offline_page(home, path, lines, error)
    if as_json:
        print_json(to_json(page))
    else:
        from importlib.metadata import version  # status does without both

        from .page import whole_page

        console().print(whole_page(page, version("grange")))


async def _page(home: Path | None, path: str, lines: int) -> "MemberPage":
    """From the farm's controller; without it, from that of the sub-farm. Raises the farm's `Unavailable`."""
    try:
        async with AsyncFarm(home) as farm:
            return await farm.show(path, lines)
    except Unavailable as error:
        if path:
            with contextlib.suppress(Unavailable):
                address = resolve_home(home).sub_farm_address(path.split("/")[0])
                async with AsyncFarm(address=address) as sub_farm:
                    page = await sub_farm.show(path, lines)
                return replace(page, trouble=f"{error.reason}: this is told by the sub-farm's own")
        raise


def show_story(home: Path | None, path: str, *, as_json: bool) -> None:
    async def ask() -> Status:
        async with AsyncFarm(home) as farm:
            try:
                return await farm.story(path)
            except UnknownMember:
                if path != _FARM_WORD:
                    raise
                return await farm.story()

    story = asyncio.run(ask()).story
    if as_json:
        print_json([to_json(line) for line in story])
        return
    for line in story:
        tell(in_one_line(f"{local_stamp(line.at_unix_s)}  {line.member or _FARM_WORD}  {line.text}"))
