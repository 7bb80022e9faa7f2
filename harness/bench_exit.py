"""How long it takes until a person sees that a process has died, beside the moment at which the kernel can tell it.

bare pidfd       `sleep`, a child of this process, killed: until its pidfd wakes this process's event loop
Watch stream     `sleep` of a farm, killed: keeper, agent, sub-farm controller, farm controller, until a client that
                 watches the farm has the process's row that says so
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from grange.client import View
from grange.core.names import Command, State

from .bench_farm import BenchFarm, Shape, plain_processes
from .bench_figures import Samples, table

ROUNDS = 24
FARM = Shape(sub_farms=2, nodes=2, processes=8)  # more processes than rounds: none of those killed comes back
DEPTH = 3  # down to processes
PAUSE_S = 0.2  # so that each finds a quiet farm, and nothing of the one before is still on its way
LIMIT_S = 20.0


async def exit_rows(farm: BenchFarm, rounds: int = ROUNDS) -> list[Samples]:
    """Seconds from `kill -9`: bare pidfd, Watch stream. The farm is set up and left with processes that are dead."""
    rows = [Samples("a bare pidfd"), Samples("a watcher of the farm")]
    await farm.use(plain_processes(FARM, quorum=1, policy="ignore"))
    await farm.do(Command.SETUP)
    await farm.do(Command.BOOT)
    async with aclosing(farm.watch(DEPTH)) as views:
        async with asyncio.timeout(LIMIT_S):
            pids = await _pids(views)
        for path, pid in list(pids.items())[:rounds]:
            await asyncio.sleep(PAUSE_S)
            rows[0].add(await _bare_s())
            await asyncio.sleep(PAUSE_S)
            async with asyncio.timeout(LIMIT_S):
                rows[1].add(await _watched_s(views, path, pid))
    return rows


def exit_table(rows: Sequence[Samples]) -> str:
    """For people."""
    cells = [(row.name, f"{1000 * row.median_s:.2f} ms", f"{1000 * row.p90_s:.2f} ms") for row in rows]
    return table(("from kill -9 until it is known to", "median", "p90"), cells)


async def _pids(views: AsyncGenerator[View, None]) -> dict[str, int]:
    """All processes of the farm, once it has told them all."""
    async for view in views:
        pids = {path: member.pid for path, member in view.members.items() if member.pid and member.role}
        if len(pids) == FARM.all_processes:
            return pids
    raise RuntimeError("the farm ended the watch")


async def _bare_s() -> float:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    process = _sleep()
    pidfd = os.pidfd_open(process.pid)
    loop.add_reader(pidfd, ended.set)
    try:
        await asyncio.sleep(PAUSE_S)
        began_s = time.perf_counter()
        os.kill(process.pid, signal.SIGKILL)
        await ended.wait()
        return time.perf_counter() - began_s
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        process.kill()
        process.wait()


def _sleep() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", "1000"])


async def _watched_s(views: AsyncGenerator[View, None], path: str, pid: int) -> float:
    began_s = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    async for view in views:
        member = view.members.get(path)
        if member is not None and member.state is State.INITIAL:
            return time.perf_counter() - began_s
    raise RuntimeError("the farm ended the watch")
