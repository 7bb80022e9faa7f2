"""Carries out `grange logs`: what a process has written, and what the programs of the farm have to say.

The programs' logs are read from the home, because they matter most when their program does not answer.
"""

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import typer

from grange.client import AsyncFarm
from grange.client.home import demand_farm, resolve_home
from grange.core.errors import InvalidInput, Refused, Unavailable
from grange.core.home import Home
from grange.core.names import Kind
from grange.core.problems import Problem
from grange.core.selectors import parse
from grange.supervisor.node_directory import NodeDirectory
from grange.supervisor.output import follow

from .shell import print_json_line, say

_NODE_PARTS = 2  # of a node's path: sub-farm and node


def show_output(
    home: Path | None, path: str, lines: int, *, keeper: bool = False, on: bool = False, as_json: bool = False
) -> None:
    """The last lines, and when `on` what comes."""
    where = resolve_home(home)
    demand_farm(where)
    if not parse(path).is_path:
        asyncio.run(_copy_several(where, path, lines, on, as_json))
        return
    printed = _Noted(_JsonLines(path) if as_json else _print_as_it_is)
    _show_one(where, path, lines, printed, keeper=keeper, on=on)
    if not printed.anything and lines and not on:
        say("(nothing written yet)")


def _show_one(
    where: Home, path: str, lines: int, print_piece: Callable[[bytes], None], *, keeper: bool, on: bool
) -> None:
    parts = path.split("/") if path else []
    if keeper and len(parts) != _NODE_PARTS:
        raise InvalidInput([Problem("--keeper", f"{path or 'the farm'} is no node: only a node has a keeper")])
    if len(parts) > _NODE_PARTS:
        asyncio.run(_copy_output(where, path, lines, on, print_piece))
        return
    log = program_log(where, parts, keeper=keeper)
    if not log.exists():
        raise InvalidInput([Problem(path or "farm", _missing(log, parts))], "Look with: grange status")
    asyncio.run(_copy_log(log, lines, on, print_piece))


def program_log(home: Home, parts: list[str], *, keeper: bool = False) -> Path:
    """The log of the program that stands behind a member."""
    if not parts:
        return Path(home.farm_log)
    if len(parts) < _NODE_PARTS:
        return Path(home.sub_farm_log(parts[0]))
    directory = NodeDirectory(Path(home.node_directory(*parts)))
    return directory.keeper_log if keeper else directory.agent_log


def process_log(home: Home, path: str) -> Path | None:
    """Where a process writes, or has written last; None when it never has on this host."""
    sub_farm, node, slot = path.split("/")[-3:]
    directory = NodeDirectory(Path(home.node_directory(sub_farm, node)))
    return directory.newest_log(slot) if (directory.root / "logs").is_dir() else None


def _missing(log: Path, parts: list[str]) -> str:
    if parts:
        return f"no program of this name was ever started in this home: {log} does not exist"
    return f"its controller was never started in the background: {log} does not exist"


async def _copy_log(log: Path, lines: int, on: bool, print_piece: Callable[[bytes], None]) -> None:
    async with aclosing(follow(log, lines, on=on)) as pieces:
        async for piece in pieces:
            print_piece(piece)


async def _copy_output(home: Home, path: str, lines: int, on: bool, print_piece: Callable[[bytes], None]) -> None:
    """From the process's agent, or while that cannot be asked, from the file that the process writes."""
    try:
        async with AsyncFarm(home.root) as farm, aclosing(farm.output(path, lines, follow=on)) as pieces:
            async for piece in pieces:
                print_piece(piece)
    except (Unavailable, Refused):
        log = process_log(home, path)
        if log is None:
            raise
        await _copy_log(log, lines, on, print_piece)


async def _copy_several(home: Home, selector: str, lines: int, on: bool, as_json: bool) -> None:
    """The output of all processes that are selected, each line with its process; as it comes, or one after another."""
    async with AsyncFarm(home.root) as farm:
        members = (await farm.status(selector, 0)).members
    paths = [member.path for member in members if member.kind is Kind.PROCESS]
    if not paths:
        raise InvalidInput([Problem(selector, "no process is selected, and only processes are shown together")])
    width = max(map(len, paths))
    copies = [
        _copy_output(home, path, lines, on, _JsonLines(path) if as_json else _NamedLines(path.ljust(width)))
        for path in paths
    ]
    if on:
        await asyncio.gather(*copies)
        return
    for copy in copies:
        await copy


def _print_as_it_is(piece: bytes) -> None:
    """As it was written, whatever its encoding."""
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


class _Noted:
    """Prints, and knows whether there was anything to print."""

    def __init__(self, print_piece: Callable[[bytes], None]) -> None:
        self._print_piece = print_piece
        self.anything = False

    def __call__(self, piece: bytes) -> None:
        self.anything = self.anything or bool(piece)
        self._print_piece(piece)


class _Lines(ABC):
    """Whole lines of one process; the rest of a piece waits for its end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""

    def __call__(self, piece: bytes) -> None:
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for line in whole:
            self._print(line.decode(errors="replace"))

    @abstractmethod
    def _print(self, line: str) -> None:
        """One line, without its end."""


class _JsonLines(_Lines):
    """Each as an object."""

    def _print(self, line: str) -> None:
        print_json_line({"member": self._name, "line": line})


class _NamedLines(_Lines):
    """Each behind the name of its process."""

    def _print(self, line: str) -> None:
        typer.echo(f"{self._name} | {line}")
