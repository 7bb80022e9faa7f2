"""Carries out `grange logs`: what a process has written, and what the programs of the farm have to say.

The programs' logs are read from the home, because they matter most when their program does not answer. So are those of
the processes while no controller answers, as far as they have run on this host.
"""

import asyncio
import sys
from abc import ABC, abstractmethod
from contextlib import aclosing
from pathlib import Path

from grange.client import AsyncFarm
from grange.client.home import demand_farm, resolve_home
from grange.core.errors import DeadlinePassed, GrangeError, InvalidInput, Refused, Unavailable
from grange.core.home import Home
from grange.core.names import Kind
from grange.core.problems import Problem
from grange.core.selectors import parse
from grange.supervisor.output import follow

from .log_files import NODE_PARTS, existing_program_log, logged_processes, process_log
from .shell import print_json_line, say, tell


def show_output(
    home: Path | None, path: str, lines: int, *, keeper: bool = False, on: bool = False, as_json: bool = False
) -> None:
    """The last lines, and when `on` what comes."""
    where = resolve_home(home)
    demand_farm(where)
    if parse(path).is_path:
        printer: _Printer = _JsonLines(path) if as_json else _AsItIs()
        _show_one(where, path, lines, printer, keeper=keeper, on=on)
        printed = printer.end()
    else:
        printed = asyncio.run(_copy_several(where, path, lines, on, as_json))
    if not printed and lines and not on:
        say("(nothing written yet)")


def _show_one(where: Home, path: str, lines: int, printer: "_Printer", *, keeper: bool, on: bool) -> None:
    parts = path.split("/") if path else []
    if keeper and len(parts) != NODE_PARTS:
        raise InvalidInput(
            [Problem("--keeper", f"{path or 'the farm'} is no node: only a node has a keeper")],
            "Such as: grange logs sf01/hlt017 --keeper",
        )
    if len(parts) > NODE_PARTS:
        asyncio.run(_copy_output(where, path, lines, on, printer))
    else:
        asyncio.run(_copy_log(existing_program_log(where, parts, keeper=keeper), lines, on, printer))


async def _copy_log(log: Path, lines: int, on: bool, printer: "_Printer") -> None:
    async with aclosing(follow(log, lines, on=on)) as pieces:
        async for piece in pieces:
            printer.write(piece)


async def _copy_output(home: Home, path: str, lines: int, on: bool, printer: "_Printer") -> None:
    """From the process's agent, or while that cannot be asked, from the file that the process writes."""
    try:
        async with AsyncFarm(home.root) as farm, aclosing(farm.output(path, lines, follow=on)) as pieces:
            async for piece in pieces:
                printer.write(piece)
    except (Unavailable, DeadlinePassed, Refused) as error:
        log = process_log(home, path)
        if log is None:
            raise
        if not isinstance(error, Refused):
            _say_from_files(error)
        await _copy_log(log, lines, on, printer)


async def _copy_several(home: Home, selector: str, lines: int, on: bool, as_json: bool) -> bool:
    """The output of all processes that are selected, each line with its process; as it comes, or one after another."""
    try:
        async with AsyncFarm(home.root) as farm:
            members = (await farm.status(selector, 0)).members
        paths, answers = [member.path for member in members if member.kind is Kind.PROCESS], True
    except (Unavailable, DeadlinePassed) as error:
        paths, answers = logged_processes(home, parse(selector)), False
        if not paths:
            raise
        _say_from_files(error)
    if not paths:
        raise InvalidInput(
            [Problem(selector, "no process is selected, and only processes are shown together")],
            "Select processes, such as sf01/@psa or 'sf01/hlt017/*', or name one program",
        )
    width = max(map(len, paths))
    printers: dict[str, _Printer] = {
        path: _JsonLines(path) if as_json else _NamedLines(path.ljust(width)) for path in paths
    }

    async def copy(path: str) -> None:
        if answers:
            await _copy_output(home, path, lines, on, printers[path])
        elif (log := process_log(home, path)) is not None:
            await _copy_log(log, lines, on, printers[path])

    printed = False
    if on:
        await asyncio.gather(*map(copy, paths))
        return True
    for path in paths:
        await copy(path)
        printed = printers[path].end() or printed
    return printed


def _say_from_files(error: GrangeError) -> None:
    say(f"{error.reason}: this is what lies in the files on this host")


class _Printer(ABC):
    """Prints what comes of one log, and knows whether there was anything."""

    def __init__(self) -> None:
        self._anything = False

    def write(self, piece: bytes) -> None:
        """What comes next, which may end in the middle of a line."""
        self._anything = self._anything or bool(piece)
        self._write(piece)

    def end(self) -> bool:
        """Nothing comes any more; whether anything came."""
        return self._anything

    @abstractmethod
    def _write(self, piece: bytes) -> None:
        """Prints a piece that is not empty, or keeps it."""


class _AsItIs(_Printer):
    """As it was written, whatever its encoding."""

    def _write(self, piece: bytes) -> None:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


class _Lines(_Printer):
    """Whole lines of one process; what is begun waits for its end, or that of all."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._rest = b""

    def _write(self, piece: bytes) -> None:
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for line in whole:
            self._print(line.decode(errors="replace"))

    def end(self) -> bool:
        if self._rest:
            self._write(b"\n")
        return super().end()

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
        tell(f"{self._name} | {line}")
