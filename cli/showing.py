"""Carries out `grange status` and `story`: one question, one answer."""

import asyncio
from pathlib import Path

import typer

from grange.client import AsyncFarm, Status
from grange.client.values import as_json as to_json

from .shell import print_json
from .text import clock, console
from .tree import EXPANDED_PROCESSES_MAX, whole

_ALL_LEVELS = 3  # sub-farms, nodes, processes


def show_status(home: Path | None, path: str, depth: int | None, *, as_json: bool) -> None:
    async def ask() -> Status:
        async with AsyncFarm(home) as farm:
            return await farm.status(path, await fitting_depth(farm, path) if depth is None else depth)

    status = asyncio.run(ask())
    if as_json:
        print_json(to_json(status))
    else:
        console().print(whole(status))


async def fitting_depth(farm: AsyncFarm, path: str) -> int:
    """How deep to look when nobody said: down to the processes while they fit on a screen or two, else one level."""
    counts = (await farm.status(path, 0)).member.counts
    processes = sum(count.processes for count in counts)
    return _ALL_LEVELS if processes <= EXPANDED_PROCESSES_MAX else 1


def show_story(home: Path | None, path: str, *, as_json: bool) -> None:
    async def ask() -> Status:
        async with AsyncFarm(home) as farm:
            return await farm.story(path)

    story = asyncio.run(ask()).story
    if as_json:
        print_json([to_json(line) for line in story])
        return
    for line in story:
        typer.echo(f"{clock(line.at_unix_s)}  {line.member or 'farm'}  {line.text}")
