"""A whole farm on this machine, as the benchmarks use it: real controllers, keepers, agents and processes.

It lives in a directory of its own and is commanded through the client, as a script would. Whatever happens, leaving
the context manager ends every program of it, by the state machine when that works, otherwise by its process id.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from grange.client import AsyncFarm, View
from grange.core.errors import GrangeError, InvalidInput, Unavailable
from grange.core.home import Home
from grange.core.names import Command

UP_LIMIT_S = 60.0  # until the farm controller answers, on a busy machine
COMMAND_LIMIT_S = 90.0
END_LIMIT_S = 20.0
# What a program is, by what its command line contains; the first that fits.
_PROGRAMS = {
    "grange.cli": "farm controller",
    "grange.controllers.subfarm": "sub-farm controller",
    "supervisor/keeper.py": "keeper",
    "grange.supervisor.agent": "agent",
    "grange.actors.run": "actor",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """How many of everything: nodes in each sub-farm, processes on each node."""

    sub_farms: int = 3
    nodes: int = 8
    processes: int = 2

    @property
    def all_processes(self) -> int:
        return self.sub_farms * self.nodes * self.processes

    def __str__(self) -> str:
        return f"{self.sub_farms} sub-farms × {self.nodes} nodes × {self.processes} processes"


@dataclass(frozen=True, slots=True)
class Memory:
    """Of all programs of a kind together, in bytes; what they share is counted in full in `resident`, once in `own`."""

    programs: int
    resident_bytes: int
    own_bytes: int  # proportional set size


def actors(shape: Shape, **more: Any) -> str:
    """The configuration of a farm of Python actors that do nothing but what they are told; `more` of their role."""
    return _configuration(shape, {"actor": "grange.actors.actor:Actor", **more})


def plain_processes(shape: Shape, **more: Any) -> str:
    """The configuration of a farm of executables that know nothing of grange; `more` of their role."""
    return _configuration(shape, {"command": ["sleep", "100000"], "ready": "settle", "settle_time_s": 0.1, **more})


def _configuration(shape: Shape, role: dict[str, Any]) -> str:
    sub_farms = {
        f"sf{number + 1:02}": {
            "nodes": [f"n[{number * shape.nodes + 1:03}-{(number + 1) * shape.nodes:03}]"],
            "roles": ["worker"],
        }
        for number in range(shape.sub_farms)
    }
    roles = {"worker": {**role, "per": "node", "count": shape.processes, "boot_timeout_s": 120.0}}
    return json.dumps({"farm": {"name": "bench"}, "sub_farms": sub_farms, "roles": roles})


class BenchFarm:
    """A farm in `home`, its controller up and nothing else; an async context manager."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._controller: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, psutil.Process] = {}
        self._client = AsyncFarm(home, label="bench")

    @property
    def address(self) -> str:
        """Of the farm controller, for clients of another kind."""
        return Home(str(self._home)).farm_address

    async def __aenter__(self) -> Self:
        self._start()
        try:
            async with asyncio.timeout(UP_LIMIT_S):
                await self._answers()
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    async def _answers(self) -> None:
        while True:
            try:
                await self._client.status(depth=0)
                return
            except (Unavailable, InvalidInput):  # there is nothing of a farm yet, or nobody who answers
                await asyncio.sleep(0.1)

    def _start(self) -> None:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        argv = [sys.executable, "-P", "-m", "grange.cli", "--home", str(self._home), "up"]
        with open(self._home / "up.log", "ab") as log:
            # in a session of its own: Ctrl-C ends the bench, which takes its farm down, and needs its controller for it
            self._controller = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def start_again(self) -> None:
        """Its controller was killed: once that is gone, another one is started."""
        assert self._controller is not None
        self._controller.wait(END_LIMIT_S)
        self._start()

    @property
    def client(self) -> AsyncFarm:
        """What it is commanded through."""
        return self._client

    async def use(self, configuration: str) -> None:
        """What the next command takes."""
        await self._client.import_configuration(configuration, "json", source="bench")

    async def do(self, command: Command) -> float:
        """Seconds from Execute to Outcome, at the client. Raises `CommandFailed` when it is not done."""
        began_s = time.perf_counter()
        await self._client.execute(command, timeout_s=COMMAND_LIMIT_S)
        return time.perf_counter() - began_s

    def watch(self, depth: int) -> AsyncGenerator[View, None]:
        """What a client sees that watches the farm."""
        return self._client.watch("", depth)

    # ---- what its programs take -------------------------------------------------------------------------------------

    def programs(self) -> dict[str, list[psutil.Process]]:
        """All that run now, by what they are."""
        assert self._controller is not None
        controller = psutil.Process(self._controller.pid)
        found: dict[str, list[psutil.Process]] = defaultdict(list)
        for process in [controller, *controller.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                words = " ".join(process.cmdline())
                kind = next((name for mark, name in _PROGRAMS.items() if mark in words), "plain process")
                found[kind].append(process)
                self._seen[process.pid] = process
        return found

    def memory(self) -> dict[str, Memory]:
        """By kind of program."""
        found = {}
        for kind, processes in self.programs().items():
            figures = [process.memory_full_info() for process in processes]
            own_bytes = sum(figure.pss for figure in figures)
            found[kind] = Memory(len(processes), sum(figure.rss for figure in figures), own_bytes)
        return found

    def processor_s(self) -> dict[str, float]:
        """Processor seconds taken since their start, by kind of program."""
        return {
            kind: sum(sum(process.cpu_times()[:2]) for process in processes)
            for kind, processes in self.programs().items()
        }

    # ---- the end ----------------------------------------------------------------------------------------------------

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self.programs()  # so that they are known even when their parents end first
        try:
            with contextlib.suppress(GrangeError, TimeoutError):
                await self._client.go("absent", timeout_s=END_LIMIT_S)
            with contextlib.suppress(GrangeError, TimeoutError):
                await self._client.down()
            await self._client.close()
            await asyncio.to_thread(self._end)
        finally:
            for process in self._seen.values():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()  # psutil looks at the start time first: never another process with the same number

    def _end(self) -> None:
        assert self._controller is not None
        try:
            self._controller.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._controller.kill()
            self._controller.wait()
        psutil.wait_procs(list(self._seen.values()), timeout=END_LIMIT_S)
