"""How long a farm takes to get over the end of one of its programs: from `kill -9` until its status is right again.

Right means that the new program has been heard and the farm takes data and is well. Each has beside it what nobody can
do without: the start of an interpreter with the same imports; of a process, the time that its program takes until it is
ready. A farm controller's time begins when it is started again, for nobody here does that by itself. The last row is a
process that hangs, with the heartbeat's default: until the farm says so.

Kills go round the farm's nodes and sub-farms, so that none comes so soon after the last that a back-off makes it wait.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from grange.client import Status
from grange.controllers.parent import STABLE_S
from grange.core.errors import GrangeError
from grange.core.home import Home
from grange.core.names import Command, Health, State
from grange.supervisor.belongings import belongings, serving

from .bench_farm import BenchFarm, Shape, actors, plain_processes
from .bench_figures import Samples, table

ROUNDS = 20
STARTS = 5  # of each bare interpreter
HANGS = 3
FARM = Shape(sub_farms=2, nodes=3, processes=1)
SETTLE_TIME_S = 0.1  # of each process: its own start
LIMIT_S = 60.0
LOOK_EVERY_S = 0.005
PAUSE_S = 1.0  # between two kills, so that each finds a quiet farm
FARM_PAUSE_S = (
    STABLE_S + 0.5
)  # there is but one: so long, and who dials it again does not take it for one that drops links
JUST_AFTER_S = 0.02  # what was on its way when the program was killed has come by then
_RESTARTED = {"policy": "restart", "restart_most": 1000, "restart_delay_s": 0.0, "settle_time_s": SETTLE_TIME_S}
_UNATTENDED = {"policy": "ignore", "quorum": 1}


@dataclass(slots=True)
class Recovery:
    """One kind of program: how long it takes, beside the bare start of what it imports, and what is wanted."""

    farm: Samples
    bare_s: float  # 0: nothing has to be started
    target_s: float
    beyond_start: bool = False  # the target is meant beyond the bare start

    def as_json(self) -> dict[str, object]:
        return {**self.farm.as_json(), "bare_start_s": self.bare_s, "target_s": self.target_s}


async def rows(farm: BenchFarm, home: Path) -> list[Recovery]:
    """Every kind of program, on a farm that is set up here and left with its processes hanging or dead."""
    bench = _Bench(farm, Home(str(home)))
    await farm.use(plain_processes(FARM, **_RESTARTED))
    await farm.do(Command.SETUP)
    await _run(farm)
    nodes = [f"sf{1 + number // FARM.nodes:02}/n{number + 1:03}" for number in range(FARM.sub_farms * FARM.nodes)]
    processes = [member.path for member in (await farm.client.status()).members if member.role]
    found = [
        Recovery(await bench.kills("process", processes, bench.is_replaced), SETTLE_TIME_S, 0.3, beyond_start=True),
        Recovery(
            await bench.kills("agent", [f"agent {node}" for node in nodes], bench.is_heard),
            await _bare_s("grange.supervisor.agent"),
            1.0,
        ),
        Recovery(
            await bench.kills("keeper", [f"keeper {node}" for node in nodes], bench.has_keeper),
            await _bare_s("", "-I", "-S"),
            1.0,
        ),
        Recovery(
            await bench.kills("sub-farm controller", ["sf01", "sf02"], bench.is_heard),
            await _bare_s("grange.controllers.subfarm"),
            1.5,
        ),
        Recovery(
            await bench.kills("farm controller", ["farm"], bench.answers),
            await _bare_s("grange.cli.main, grange.controllers.farm"),
            1.5,
        ),
    ]
    for command in (Command.STOP, Command.UNCONFIGURE, Command.UNLOAD, Command.SHUTDOWN):
        await farm.do(command)
    await farm.use(actors(FARM, **_UNATTENDED))
    await _run(farm)
    return [*found, Recovery(await bench.hangs(), 0.0, 6.0)]


def recovery_table(found: Sequence[Recovery]) -> str:
    """For people."""
    cells = [
        (
            row.farm.name,
            f"{row.farm.median_s:.2f} s",
            f"{row.farm.p90_s:.2f} s",
            f"{row.bare_s:.2f} s" if row.bare_s else "-",
            f"{row.target_s:.1f} s" + (" more" if row.beyond_start else ""),
        )
        for row in found
    ]
    return table(("from kill -9 to a right farm", "median", "p90", "bare start", "wanted"), cells)


async def _run(farm: BenchFarm) -> None:
    for command in (Command.BOOT, Command.LOAD, Command.CONFIGURE, Command.START):
        await farm.do(command)


async def _bare_s(imports: str, *options: str) -> float:
    """The median start of an interpreter that imports these modules and ends."""
    samples = Samples("bare")
    argv = [sys.executable, *(options or ("-P",)), "-c", f"import {imports}" if imports else "pass"]
    for _ in range(STARTS):
        began_s = time.perf_counter()
        await asyncio.to_thread(subprocess.run, argv, check=True, stdin=subprocess.DEVNULL)
        samples.add(time.perf_counter() - began_s)
    return samples.median_s


async def _until(look: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await look():
            return
        await asyncio.sleep(LOOK_EVERY_S)


class _Bench:
    """Kills, and when each is over."""

    def __init__(self, farm: BenchFarm, home: Home) -> None:
        self._farm = farm
        self._home = home

    async def kills(
        self, name: str, targets: Sequence[str], is_over: Callable[[str, int, float, Status], Awaitable[bool]]
    ) -> Samples:
        """Kill one target after the other; `is_over` is asked with the target, its old process id, and when."""
        samples = Samples(name)
        for target in islice(cycle(targets), ROUNDS):
            await asyncio.sleep(FARM_PAUSE_S if target == "farm" else PAUSE_S)
            pid = await asyncio.to_thread(self._pid, target)
            killed_unix_s, began_s = time.time(), time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            if target == "farm":
                self._farm.start_again()
                began_s = time.perf_counter()
            try:
                async with asyncio.timeout(LIMIT_S):
                    await _until(partial(self._is_right, target, pid, killed_unix_s + JUST_AFTER_S, is_over))
            except TimeoutError:
                raise RuntimeError(f"{LIMIT_S:.0f} s after {target} was killed the farm is not right yet") from None
            samples.add(time.perf_counter() - began_s)
        return samples

    async def _is_right(
        self,
        target: str,
        pid: int,
        since_unix_s: float,
        is_over: Callable[[str, int, float, Status], Awaitable[bool]],
    ) -> bool:
        try:
            status = await self._farm.client.status()
            member = status.member
            if member.state is not State.TAKING or member.health is not Health.OK:
                return False
            return await is_over(target, pid, since_unix_s, status)
        except GrangeError:
            return False

    async def is_replaced(self, target: str, pid: int, since_unix_s: float, status: Status) -> bool:
        (member,) = (member for member in status.members if member.path == target)
        return member.pid not in (0, pid) and member.state is State.TAKING and member.health is Health.OK

    async def is_heard(self, target: str, pid: int, since_unix_s: float, status: Status) -> bool:
        path = target.removeprefix("agent ")
        below = [member for member in status.members if member.path == path or member.path.startswith(f"{path}/")]
        return all(one.state is State.TAKING for one in below) and below[0].heard_unix_s > since_unix_s

    async def has_keeper(self, target: str, pid: int, since_unix_s: float, status: Status) -> bool:
        node = (await self._farm.client.show(target.removeprefix("keeper "))).node
        return node is not None and node.keeper_pid not in (0, pid)

    async def answers(self, target: str, pid: int, since_unix_s: float, status: Status) -> bool:
        return all(member.state is State.TAKING for member in status.members)

    def _pid(self, target: str) -> int:
        found = belongings(self._home)
        if target in (served := serving(self._home, found)):
            return served[target].pid
        for one in found:
            if one.what == target and one.leads:
                return one.pid
        raise RuntimeError(f"{target} is not there to be killed")

    async def _is_ill(self, path: str) -> bool:
        return (await self._farm.client.status(path, 0)).member.health is not Health.OK

    async def hangs(self) -> Samples:
        """Stop one process after the other; each goes on when the farm has said that it hangs."""
        samples = Samples("a process that hangs, seen")
        members = [member for member in (await self._farm.client.status()).members if member.role]
        for member in members[:HANGS]:
            await asyncio.sleep(PAUSE_S)
            began_s = time.perf_counter()
            os.kill(member.pid, signal.SIGSTOP)
            try:
                async with asyncio.timeout(LIMIT_S):
                    await _until(partial(self._is_ill, member.path))
                samples.add(time.perf_counter() - began_s)
            finally:
                os.kill(member.pid, signal.SIGCONT)
        return samples
